"""The table of flat colours."""

import sys

import numpy as np
import pandas as pd

import codec
from benchmarks.studies import flat


class Dim:
    """A codec of `quality` bytes whose pictures are darker by 3 in the first row."""

    def __init__(self, version: str) -> None:
        self.version = version

    def decoder_id(self, decoder: str) -> str:
        return f"{self.version}, {decoder}"

    def encode(self, x: np.ndarray, *, quality: float, lossless: bool | None) -> bytes:
        assert lossless is False
        self.x = x
        return bytes(quality)

    def decode_array(self, data: bytes) -> np.ndarray:
        out = self.x.copy()
        out[0] = np.maximum(out[0], 3) - 3
        return out


def test_rows_of_other_weights_stay(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["flat", "--out", str(tmp_path)])
    for version in ("model 1", "model 2", "model 2"):
        monkeypatch.setattr(codec, "load", lambda threads, version=version: Dim(version))
        flat.main()
    rows = pd.read_csv(tmp_path / "flat.csv")
    assert len(rows) == 2 * len(flat.COLOURS) * len(flat.QUALITIES) and set(rows.version) == {
        "model 1, vq",
        "model 2, vq",
    }
    assert (rows.bytes == rows.quality).all()
    white, red, black = (rows[rows.colour == name].iloc[0] for name in ("white", "red", "black"))
    assert white.max_error == red.max_error == 3 and black.max_error == 0
    assert abs(white.rmse - 3 / flat.SIZE[0] ** 0.5) < 1e-3 and abs(red.rmse - white.rmse / 3**0.5) < 1e-3
