"""Our files through imageio: with this import, imageio.v3 reads and writes the suffix .ldc, by its plugin for Pillow.

    import codec.imageio_plugin
    import imageio.v3 as iio
    array = iio.imread("photo.ldc")                  # uint8 (H, W), (H, W, 2), (H, W, 3) or (H, W, 4)
    iio.imwrite("small.ldc", array, quality=40)      # the options of Image.save

imageio has no group of entry points: a list of suffixes is what it offers. It is the extra `imageio`.
"""

from __future__ import annotations

from imageio.config import known_extensions
from imageio.config.extensions import FileExtension

import codec.pillow_plugin  # noqa: F401  tells Pillow about our files
from codec.bitstream.container import NAME, SUFFIX


def register() -> None:
    """Tell imageio about the suffix; the import does it."""
    entry = FileExtension(name=NAME, description="Neural image codec", extension=SUFFIX, priority=["pillow"])
    known_extensions[SUFFIX] = [entry]


register()
