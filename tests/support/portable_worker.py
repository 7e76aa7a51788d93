"""One process of the portability test: `python -m tests.support.portable_worker FOLDER NAME`, environment chosen by
the caller.

Writes a file of every picture for each of its configurations (1 or 2 threads, oneDNN on or off) into FOLDER, with the
codes that the encoder meant; says "ready"; waits for a line; then decodes all files that lie in FOLDER under each
configuration. It ends with one line of
JSON: the instruction set that torch uses, and for every configuration and file the digest of the decoded codes.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import matplotlib.cbook
import numpy as np
import torch
from PIL import Image, ImageOps

import codec
from tests.support.codes import decoded_codes, digest

QUALITIES = (35.0, 85.0)


def pictures() -> list[np.ndarray]:
    """A photograph and noise, which drives the networks into their clipping."""
    with Image.open(matplotlib.cbook.get_sample_data("grace_hopper.jpg", asfileobj=False)) as image:
        photo = np.asarray(ImageOps.fit(image.convert("RGB"), (144, 112)))
    return [photo, np.random.default_rng(3).integers(0, 256, (64, 64, 3), np.uint8)]


def configurations() -> Iterator[tuple[str, codec.Codec]]:
    """Name and codec, with the settings in force as long as the caller holds the item."""
    for threads in (1, 2):
        one = codec.load(threads=threads)
        for mkldnn in (True, False):
            with torch.backends.mkldnn.flags(enabled=mkldnn):
                torch.set_num_threads(threads)
                yield f"threads{threads}-onednn{int(mkldnn)}", one


def main(folder: Path, name: str) -> None:
    for configuration, one in configurations():
        coder, meant = one._model.coder, []

        def spy(v, tokens, *rest, keep, encode=coder.encode, meant=meant):
            encoded = encode(v, tokens, *rest)
            meant.append(digest(tokens, encoded.v_hat))
            return encoded

        coder.encode = spy
        for k, picture in enumerate(pictures()):
            stem = folder / f"{name}-{configuration}-{k}"
            stem.with_suffix(".ldc").write_bytes(one.encode(picture, quality=QUALITIES[k]))
            stem.with_suffix(".codes").write_text(meant.pop())
        del coder.encode  # the method of the class is back
    print("ready", flush=True)
    sys.stdin.readline()
    found = {
        f"{name}-{configuration}": {
            path.stem: digest(*decoded_codes(one, path.read_bytes())) for path in sorted(folder.glob("*.ldc"))
        }
        for configuration, one in configurations()
    }
    print(json.dumps({"capability": torch.backends.cpu.get_cpu_capability(), "found": found}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
