"""A file made under any instruction set, number of threads and convolution library decodes to the same codes under
every other."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import codec

pytestmark = pytest.mark.slow

ROOT = Path(codec.__file__).parent.parent
LEVELS = ("default", "avx2", "avx512")
#: the same choice for the libraries that torch calls for matrix products and convolutions
LIBRARIES = {
    "default": {"MKL_ENABLE_INSTRUCTIONS": "SSE4_2", "ONEDNN_MAX_CPU_ISA": "SSE41"},
    "avx2": {"MKL_ENABLE_INSTRUCTIONS": "AVX2", "ONEDNN_MAX_CPU_ISA": "AVX2"},
    "avx512": {},
}


def available() -> list[str]:
    """Those of LEVELS that this processor can run; one that it cannot would end in an illegal instruction."""
    best = torch.backends.cpu.get_cpu_capability().lower()
    return list(LEVELS[: LEVELS.index(best) + 1]) if best in LEVELS else ["default"]


def test_codes_are_the_same_under_every_configuration(tmp_path):
    """One process for each instruction set; within it all numbers of threads and oneDNN on and off. All pairs of
    configurations."""
    workers = {}
    # what was set for this process must not set it for the others
    plain = {
        k: v
        for k, v in os.environ.items()
        if k
        not in (
            "ATEN_CPU_CAPABILITY",
            "MKL_ENABLE_INSTRUCTIONS",
            "ONEDNN_MAX_CPU_ISA",
            "OMP_NUM_THREADS",
            "MKL_NUM_THREADS",
        )
    }
    try:
        for level in available():
            command = [sys.executable, "-m", "tests.support.portable_worker", str(tmp_path), level]
            env = {**plain, **LIBRARIES[level], "ATEN_CPU_CAPABILITY": level}
            workers[level] = subprocess.Popen(
                command, env=env, cwd=ROOT, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
            )
            assert workers[level].stdout.readline() == "ready\n"  # one after the other: they share the cores
        meant = {path.stem: path.read_text() for path in tmp_path.glob("*.codes")}
        assert len(meant) == len(workers) * 4 * 2 == len(list(tmp_path.glob("*.ldc")))
        for level, worker in workers.items():
            told = json.loads(worker.communicate("go\n")[0])
            assert told["capability"].lower() == level or level == "default"
            assert len(told["found"]) == 4
            for configuration, found in told["found"].items():
                assert found == meant, f"{configuration} reads other codes than were written"
            assert worker.returncode == 0
    finally:
        for worker in workers.values():
            worker.kill()
            worker.communicate()
    assert len(set(meant.values())) >= 2  # the digest tells files apart
