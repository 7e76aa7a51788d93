"""Commands of the semantic stage say in a sentence what they cannot use."""

import importlib
import sys
from pathlib import Path

import pytest

REFUSALS = [
    ("nll", "--images empty --out new", "there are no pictures in empty"),
    ("nll", "--images bad --out new", "bad/x.png: "),
    ("ship", "--runs missing --out a-6000.safetensors", "there is no run in missing"),
]


@pytest.mark.parametrize(("command", "words", "sentence"), REFUSALS)
def test_refusals(command: str, words: str, sentence: str, tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "x.png").write_bytes(bytes(300))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", [command, *words.split()])
    with pytest.raises(SystemExit) as caught:
        importlib.import_module(f"codec.training.restoration.{command}").main()
    assert str(caught.value).startswith(sentence) and "\n" not in str(caught.value)
