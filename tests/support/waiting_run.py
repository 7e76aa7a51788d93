"""benchmarks/rd_curve.py with a WebP encoder that waits: `python tests/support/waiting_run.py FOLDER ARGUMENTS...`

Each process that encodes makes FOLDER/PID.waits and goes on when there is FOLDER/go.
"""

import os
import sys
import time
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parents[2])

from benchmarks.codecs.pillow_codecs import WebP
from benchmarks.rd_curve import main

FOLDER = Path(sys.argv[1])


def waiting(self, image, setting, encode=WebP.encode):
    (FOLDER / f"{os.getpid()}.waits").touch()
    while not (FOLDER / "go").exists():
        time.sleep(0.01)
    return encode(self, image, setting)


WebP.encode = waiting  # here, so that worker processes, which import this file, have it too

if __name__ == "__main__":
    sys.exit(main(sys.argv[2:]))
