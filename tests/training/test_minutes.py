"""The perceptual stage in a given time, rehearsed with a small model in seconds."""

import json
import sys

import matplotlib.cbook
import pytest
import torch
from PIL import Image

from codec.models.exact import NARROW
from codec.training.base import __main__ as minutes
from codec.training.base.train import load_base, load_begin, load_kept
from codec.training.config import TrainConfig, configure
from codec.training.run import LARGEST
from codec.training.shipping.ship import ship
from tests.support.tiny import CONFIG, TOKENS


@pytest.fixture
def words(tmp_path) -> list[str]:
    (tmp_path / "photos").mkdir()
    hopper = Image.open(matplotlib.cbook.get_sample_data("grace_hopper.jpg", asfileobj=False)).convert("RGB")
    for k in range(4):
        hopper.rotate(90 * k, expand=True).resize((320 + 16 * k, 300)).save(tmp_path / "photos" / f"{k}.png")
    (tmp_path / "config.toml").write_text(CONFIG)
    (tmp_path / "adapt.toml").write_text('batch = 2\ncrop = 64\nrefresh = 2\nquantizer = "tcq4"\nbf16 = false\n')
    (tmp_path / "narrow.toml").write_text("batch = 2\ncrops = 4\ncrop = 64\nbf16 = false\n")
    given = {
        "data": "photos",
        "out": "out",
        "leave": "left",
        "config": "config.toml",
        "adapt": "adapt.toml",
        "narrow": "narrow.toml",
    }
    return [word for name, value in given.items() for word in (f"--{name}", str(tmp_path / value))]


@pytest.mark.slow
def test_it_trains_anneals_adapts_and_leaves_what_the_next_run_needs(tmp_path, words, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["base", *words, "--minutes", "0.1"])
    minutes.main()
    left = tmp_path / "left"
    assert {p.name for p in left.iterdir()} == {"held.pt", "annealed.pt", "adapted.pt", "narrow.pt", "report.json"}
    assert all(p.stat().st_size <= LARGEST for p in left.iterdir())
    report = json.loads((left / "report.json").read_text())
    assert [s["command"].split(".")[-1] for s in report["stages"]] == ["train", "train", "adapt", "narrow"]
    assert all(s["steps"] > 0 and s["hardware"] for s in report["stages"])
    assert report["took"] < 60 and set(report["validation"]) == {"hold", "anneal", "adapt", "narrow"}
    assert all(v > 0 for v in report["megapixels_a_second"].values())
    held, annealed = (load_kept(left / f"{name}.pt")[0] for name in ("held", "annealed"))
    assert not torch.equal(held.g_a.stem.weight, annealed.g_a.stem.weight)
    adapted, facts = load_base(left / "adapted.pt")
    assert facts["quantizer"] == "tcq4" and torch.equal(adapted.g_a.klt.weight, annealed.g_a.klt.weight)
    narrow, facts = load_base(left / "narrow.pt")
    assert facts["quantizer"] == "tcq4" and torch.equal(narrow.g_s.stem.weight, adapted.g_s.stem.weight)
    state = torch.load(left / "narrow.pt", weights_only=True)["model"]
    assert {v.dtype for k, v in state.items() if k.startswith("prior.nets") and v.ndim == 1} == {torch.float32}
    assert all((v == v.round()).all() for k, v in state.items() if k.startswith("prior.nets") and v.ndim > 1)
    shares = [float(row["excess_percent"]) for row in report["validation"]["narrow"]]
    assert len(shares) == 8 and all(0 < share < 100 for share in shares)
    made = ship(
        left / "narrow.pt",
        tmp_path / "photos",
        tmp_path / "out" / "cache",
        tmp_path / "m.safetensors",
        2,
        1,
        tokens=TOKENS,
    )
    assert made.config.arithmetic == "narrow" and made.coder.prior.profile is NARROW
    with pytest.raises(SystemExit, match="in narrow arithmetic: begin with"):
        load_begin(left / "narrow.pt")
    for folder in ("out", "left"):
        monkeypatch.setattr(sys, "argv", ["base", *words, "--minutes", "0.1"])
        with pytest.raises(SystemExit, match="name a new folder"):
            minutes.main()
        (tmp_path / folder).rename(tmp_path / f"{folder}-first")
    begin = tmp_path / "left-first" / "held.pt"
    monkeypatch.setattr(sys, "argv", ["base", *words, "--minutes", "0.05", "--begin", str(begin)])
    minutes.main()
    capsys.readouterr()


class Fake:
    """A run whose step fails, or loses its numbers."""

    def __init__(self, loss):
        self.loss = loss

    def step(self, done):
        if self.loss is None:
            raise RuntimeError("no kernel for this")
        return {"loss": torch.tensor(self.loss)}


def test_variants_that_fail_are_not_taken(capsys, monkeypatch):
    assert minutes.timed(Fake(None), 0.01) == 0 and "no kernel" in capsys.readouterr().err
    assert minutes.timed(Fake(float("nan")), 0.01) == 0 and minutes.timed(Fake(1.0), 0.01) > 0
    monkeypatch.setattr(minutes, "timed", lambda loop, seconds: 0.0 if loop.bf16 else 3.0)
    monkeypatch.setattr(minutes, "BaseStage", lambda model, photos, config, device, run: config)
    monkeypatch.setattr(minutes, "Loop", lambda stage, run, config, device: config)
    model = torch.nn.Linear(1, 1)
    model.sd = torch.zeros(1)
    config, rates = minutes.fastest(model, None, configure(TrainConfig(), None, []), None, 1.0)
    assert not config.bf16 and rates == {"bf16": 0.0, "float32": 3.0}
