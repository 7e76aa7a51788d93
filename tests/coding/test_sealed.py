"""What a caller set in torch changes nothing, and is there again after a call."""

import contextlib
import multiprocessing
import os
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import codec

pytestmark = pytest.mark.slow

ROOT = Path(codec.__file__).parent.parent
PIXELS = np.random.default_rng(1).integers(0, 256, (40, 56, 3)).astype(np.uint8)


@contextlib.contextmanager
def default_dtype():
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(torch.float32)


@contextlib.contextmanager
def default_device():
    torch.set_default_device("meta")
    try:
        yield
    finally:
        torch.set_default_device(None)


STATES = {
    "inference": torch.inference_mode,
    "no_grad": torch.no_grad,
    "dtype": default_dtype,
    "device": default_device,
    "autocast": lambda: torch.autocast("cpu", dtype=torch.bfloat16),
}


def state() -> tuple:
    return (
        torch.get_default_dtype(), torch.get_default_device(), torch.is_grad_enabled(), torch.is_inference_mode_enabled(),
        torch.is_autocast_enabled("cpu"), torch.get_num_threads(), torch.get_rng_state().sum().item(),
    )  # fmt: skip


@pytest.mark.parametrize("name", STATES)
@pytest.mark.parametrize("decoder", ["vq", "ldm"])
def test_state_of_the_caller_changes_nothing(shipped, name, decoder):
    def work(c: codec.Codec) -> tuple[bytes, bytes]:
        data = c.encode(PIXELS, quality=30, effort=2)
        return data, c.decode_array(data, decoder=decoder).tobytes()

    wanted = work(shipped)
    with STATES[name]():
        before = state()
        fresh = codec.load(threads=1)
        assert work(fresh) == wanted
        assert state() == before
    assert work(fresh) == wanted  # nothing that was made inside is spoilt


def test_a_codec_can_be_pickled(shipped):
    again = pickle.loads(pickle.dumps(shipped))
    assert again.encode(PIXELS) == shipped.encode(PIXELS)
    with pytest.raises(pickle.PicklingError, match="load"):
        pickle.dumps(codec.Codec(shipped._model, torch.device("cpu"), 1))


FORKED = """
import multiprocessing, sys
import numpy as np, torch
import codec
pixels = np.frombuffer(bytes(range(256)) * 48, np.uint8).reshape(64, 64, 3)

def work(c):
    data = c.encode(pixels, effort=2)
    return data, c.decode_array(data).tobytes()

if __name__ == "__main__":
    c = codec.load(threads=2)
    torch.randn(900, 900) @ torch.randn(900, 900)
    here = work(c)
    with multiprocessing.get_context(sys.argv[1]).Pool(2) as pool:
        assert pool.map(work, [c, c]) == [here, here]
"""


@pytest.mark.parametrize("method", sorted({"fork", "spawn"} & set(multiprocessing.get_all_start_methods())))
def test_pools_of_processes(method, tmp_path):
    (tmp_path / "program.py").write_text(FORKED)
    env = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"} | {"PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, tmp_path / "program.py", method], env=env, check=True, timeout=600)
