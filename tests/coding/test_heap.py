"""What the C library does with freed memory."""

import platform
import subprocess
import sys
from pathlib import Path

import codec

ROUNDS, ARRAYS, PAGE = 5, 16, 4096
CODE = f"""
import resource
import numpy as np
from codec.coding import heap

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range({ROUNDS}):
        kept = [np.ones(3 << 20, np.uint8) for _ in range({ARRAYS})]
        kept.clear()
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

faults()
before = faults()
heap.keep()
faults()
print(before, faults())
"""


def test_pages_are_fetched_once():
    """48 MB, made and freed again and again."""
    root = Path(codec.__file__).parent.parent
    done = subprocess.run([sys.executable, "-c", CODE], cwd=root, capture_output=True, text=True, check=True)
    before, after = map(int, done.stdout.split())
    if platform.libc_ver()[0] == "glibc":
        assert before > ROUNDS * ARRAYS * (3 << 20) / PAGE / 2
        before //= 50
    assert after <= before
