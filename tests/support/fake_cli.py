"""The command line over a codec without a network, also in worker processes: `python tests/support/fake_cli.py encode
...`

What a picture does to the process that encodes it depends on its colour at the top left: RED kills it, as the system
does when memory runs out; GREEN kills it the first time only; BLUE takes FAKE_SECONDS of the environment, and when it
begins leaves a file in the folder FAKE_BEGUN, where one is named.
"""

import os
import signal
import sys
import time
from pathlib import Path

IMPORTED = __name__ == "tests.support.fake_cli"  # by a test, for the colours: then nothing is replaced
if not IMPORTED:
    sys.path[0] = str(Path(__file__).resolve().parents[2])

import codec.cli.commands
from codec.batch import backend
from codec.cli import main
from tests.support.fake_codec import SHIPPED, FakeCodec

RED, GREEN, BLUE = (255, 0, 0), (0, 255, 0), (0, 0, 255)


class Mortal(FakeCodec):
    """A codec that dies of some pictures."""

    model_id = SHIPPED

    def encode(self, image, *, progress=None, **options):
        colour = tuple(image.rgb[0, 0])
        mark = Path(os.environ.get("FAKE_MARK", os.devnull))
        if colour == RED or (colour == GREEN and not mark.exists()):
            mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        if colour == BLUE:
            if "FAKE_BEGUN" in os.environ:
                Path(os.environ["FAKE_BEGUN"], str(os.getpid())).touch()
            end = time.monotonic() + float(os.environ["FAKE_SECONDS"])
            while time.monotonic() < end:
                time.sleep(0.01)
                if progress is not None:
                    progress(0.5)
        return super().encode(image, progress=progress, **options)


if not IMPORTED:  # worker processes, which import this file as __mp_main__, have them too
    codec.cli.commands.PRELOAD = ()
    backend.load_codec = lambda settings, model: Mortal()

if __name__ == "__main__":
    sys.exit(main())
