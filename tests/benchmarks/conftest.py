"""Small pictures for the benchmark tests, cut from a photograph that matplotlib brings."""

from pathlib import Path

import matplotlib
import numpy as np
import pytest
from PIL import Image


@pytest.fixture(scope="session")
def photo() -> np.ndarray:
    """A detailed 160x128 piece of a photograph, uint8 HWC."""
    path = Path(matplotlib.get_data_path(), "sample_data", "grace_hopper.jpg")
    with Image.open(path) as picture:
        return np.asarray(picture.convert("RGB"))[60:188, 170:330].copy()


@pytest.fixture
def folder(tmp_path: Path, photo: np.ndarray) -> Path:
    """A folder with two different pictures."""
    target = tmp_path / "pictures"
    target.mkdir()
    Image.fromarray(photo[:96, :120]).save(target / "a.png")
    Image.fromarray(photo[24:, 40:]).save(target / "b.png")
    return target
