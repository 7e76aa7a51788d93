"""One process of the memory test: `python -m tests.support.memory_worker encode|decode FILE WIDTH HEIGHT`. Prints its
peak memory in bytes.

FILE is written by encode and read by decode. The picture is a photograph laid out as tiles, each in another
brightness, so that no two parts are alike.
"""

from __future__ import annotations

import resource
import sys
from pathlib import Path

import matplotlib.cbook
import numpy as np
from PIL import Image

import codec


def picture(width: int, height: int) -> np.ndarray:
    """uint8 (height, width, 3)."""
    with Image.open(matplotlib.cbook.get_sample_data("grace_hopper.jpg", asfileobj=False)) as image:
        photo = np.asarray(image.convert("RGB"))
    out, rng = np.empty((height, width, 3), np.uint8), np.random.default_rng(0)
    for y in range(0, height, 600):
        for x in range(0, width, 512):
            part = out[y : y + 600, x : x + 512]
            part[:] = photo[: part.shape[0], : part.shape[1]] * rng.uniform(0.4, 1)
    return out


def peak_bytes() -> int:
    """Largest resident size of this process. Linux's own counter, where there is one: getrusage may tell that of the
    parent."""
    status = Path("/proc/self/status")
    if status.is_file():
        return next(int(line.split()[1]) for line in status.read_text().splitlines() if line.startswith("VmHWM")) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def main(what: str, path: Path, width: int, height: int) -> None:
    one = codec.load(threads=1)
    if what == "encode":
        path.write_bytes(one.encode(picture(width, height)))
    else:
        assert one.decode(path.read_bytes()).size == (width, height)
    print(peak_bytes())


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]))
