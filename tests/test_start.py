"""The start of a process: what it loads, and that it leaves Python as it was."""

import gc
import subprocess
import sys
from pathlib import Path

import codec
from codec import _start

HEAVY = {
    "scipy",
    "sympy",
    "pandas",
    "matplotlib",
    "compressai",
    "torchvision",
    "pytorch_msssim",
    "numba",
    "torch._dynamo",
}
PROGRAM = f"""
import gc, sys
import codec
collections = []
gc.callbacks.append(lambda phase, info: collections.append(phase))
codec.load
print(len(collections), gc.isenabled(), "torch" in sys.modules)
picture = __import__("numpy").zeros((32, 32, 3), "uint8")
codec.decode(codec.encode(picture))
print(*sorted({HEAVY} & set(sys.modules)))
"""


def test_the_collector_rests_while_torch_is_imported_and_only_what_is_needed_is_loaded():
    command = [sys.executable, "-c", PROGRAM]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=Path(codec.__file__).parent.parent)
    assert done.stdout.splitlines() == ["0 True True", ""]


def test_a_collector_that_was_off_stays_off():
    gc.disable()
    try:
        assert _start.api() is sys.modules["codec.api"] and not gc.isenabled()
    finally:
        gc.enable()
    assert _start.api() is sys.modules["codec.api"] and gc.isenabled()
