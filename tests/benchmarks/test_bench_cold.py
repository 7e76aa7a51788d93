"""benchmarks/speed/cold.py: its ratios, and one turn for real. No time is compared with anything."""

import csv
import json

import pytest
from PIL import Image

from benchmarks.harness.errors import BenchmarkError
from benchmarks.speed import cold

pytestmark = pytest.mark.slow


def test_ratios_are_medians_of_ratios_within_turns():
    torch = [cold.Run(4.0, 2.0, 300.0), cold.Run(9.0, 2.0, 300.0), cold.Run(6.0, 3.0, 300.0)]
    onnx = [cold.Run(2.0, 1.0, 100.0), cold.Run(3.0, 0.5, 110.0), cold.Run(6.0, 1.0, 120.0)]
    first, second = cold.rows({"torch": torch, "onnx": onnx}, threads=1)
    assert (first["wall_ratio"], first["processor_ratio"], first["wall_s"]) == (1, 1, 6)
    assert (second["wall_ratio"], second["processor_ratio"]) == (2, 3)
    assert (second["wall_s"], second["processor_s"], second["peak_mb"], second["threads"]) == (3, 1, 110, 1)


def test_one_turn(tmp_path, monkeypatch):
    monkeypatch.setattr(cold, "SIZE", (64, 48))
    Image.radial_gradient("L").convert("RGB").save(tmp_path / "a.png")
    assert cold.main(["--repeats", "1", "--out", str(tmp_path / "cold"), "--image", str(tmp_path / "a.png")]) == 0
    with open(tmp_path / "cold.csv") as file:
        torch, onnx = csv.DictReader(file)
    assert (torch["backend"], onnx["backend"]) == ("torch", "onnx") and int(onnx["largest_difference"]) <= 1
    assert float(torch["peak_mb"]) > float(onnx["peak_mb"]) > 30  # torch was not loaded
    assert json.loads((tmp_path / "cold.json").read_text())["packages"]["onnxruntime"]


def test_failures_are_told(tmp_path):
    with pytest.raises(BenchmarkError, match="decoding with onnx failed: .*No such file"):
        cold.run("onnx", tmp_path / "missing.ldc", tmp_path / "x.png", 1)
