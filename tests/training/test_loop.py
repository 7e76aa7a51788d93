"""The training loop with a stage of one weight: going back, giving up, time, interrupts."""

import dataclasses
import os
import signal
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from codec.told import told
from codec.training.loop import Done, Every, Loop, Stage, duration, warm_hold_fall
from codec.training.run import Run


@dataclass(frozen=True)
class Config:
    steps: int = 1200
    seconds: float = 0.0
    ema: float = 0.9
    seed: int = 0


class Counting(Stage):
    """Its weight is the number of steps; ``loss(step, weight)`` may be set."""

    def __init__(self, loss=lambda step, rate: 1.0):
        self.module = nn.Linear(1, 1, bias=False)
        opt = torch.optim.SGD(self.module.parameters(), lr=0.1)
        opt.param_groups[0]["peak"] = 0.1
        self.optimisers, self.loss, self.shares, self.rates = [opt], loss, [], []

    def rate(self, done):
        return 1.0

    def step(self, done, rng):
        self.shares.append(done.share)
        self.rates.append(self.optimisers[0].param_groups[0]["lr"])
        self.module.zero_grad()
        with torch.no_grad():
            self.module.weight.fill_(float(done.steps))
        return {"loss": torch.tensor(self.loss(done.steps, self.rates[-1]))}

    def validate(self):
        yield {"weight": self.module.weight.item()}


def loop(stage, folder, **settings) -> Loop:
    config = dataclasses.replace(Config(), **settings)
    return Loop(stage, Run(folder, config, True), config, "cpu")


def test_a_loss_that_runs_away_goes_back_and_on_at_half_the_rate(tmp_path):
    stage = Counting(lambda step, rate: float("nan") if 310 <= step < 350 and rate == 0.1 else 1.0)
    loop(stage, tmp_path / "run").run(Every(), Every())
    assert stage.rates[0] == 0.1 and stage.rates[-1] == 0.05
    state = torch.load(tmp_path / "run" / "last.pt", weights_only=True)
    assert state["step"] == 1200 and state["damping"] == 0.5
    assert state["model"]["weight"].item() == 1199


def test_it_goes_back_to_weights_from_before(tmp_path):
    seen = []
    stage = Counting(lambda step, rate: float("nan") if step == 449 and rate == 0.1 else 1.0)
    stage.after = lambda steps: seen.append(stage.module.weight.item())
    run = loop(stage, tmp_path / "run", steps=450)
    run.run(Every(), Every())
    assert run._good["model"]["weight"].item() == 399  # of the eighth row of the log
    assert seen[-1] == 449 and run.ema.mean[0].item() == 399  # where the live weights are after the run


def test_a_loss_that_keeps_running_away_ends_the_run(tmp_path):
    stage = Counting(lambda step, rate: 1.0 if step < 50 else float(step) ** 3)
    with pytest.raises(SystemExit, match="ran away 6 times"):
        loop(stage, tmp_path / "run").run(Every(), Every())


def test_a_run_for_a_given_time_ends_by_the_clock_and_its_share_rises(tmp_path, monkeypatch):
    ticks = count()  # of a clock that is as fast on every machine
    monkeypatch.setattr("codec.training.loop.time", SimpleNamespace(perf_counter=lambda: next(ticks) / 1000))
    stage = Counting()
    run = loop(stage, tmp_path / "run", steps=0, seconds=0.3)
    run.run(Every(), Every(seconds=0.1))
    assert 0.3 <= run.spent < 0.35 and stage.shares == sorted(stage.shares) and stage.shares[0] < 0.01
    assert len(set(stage.shares)) == run.steps > 100
    assert f"\n{run.steps}," in (tmp_path / "run" / "log.csv").read_text()
    assert (tmp_path / "run" / "validation.csv").read_text().count("\n") == 2  # header and the end


def test_an_interrupt_saves_the_run_and_says_how_to_go_on(tmp_path):
    def interrupted(step, rate):
        if step == 70:
            os.kill(os.getpid(), signal.SIGINT)
        return 1.0

    with pytest.raises(SystemExit, match="stopped after step 71; the same command goes on from there"):
        loop(Counting(interrupted), tmp_path / "run").run(Every(), Every())
    again = Counting()
    loop(again, tmp_path / "run").run(Every(), Every())
    assert len(again.shares) == 1200 - 71
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_validations_and_checkpoints_come_as_often_as_asked(tmp_path):
    run = loop(Counting(), tmp_path / "run", steps=100)
    run.run(Every(30), Every(40))
    rows = (tmp_path / "run" / "validation.csv").read_text().splitlines()[1:]
    assert [int(r.split(",")[0]) for r in rows] == [30, 60, 90, 100]


def test_a_run_that_was_killed_logs_no_step_twice(tmp_path):
    def killed(step, rate):
        if step == 320:
            raise MemoryError
        return 1.0

    folder = tmp_path / "run"
    for _ in range(2):  # before the first checkpoint, all of it is done again
        with pytest.raises(MemoryError):
            loop(Counting(killed), folder, steps=400).run(Every(100), Every(1000))
    with pytest.raises(MemoryError):
        loop(Counting(killed), folder, steps=400).run(Every(100), Every(200))
    with open(folder / "log.csv", "a") as file:
        file.write("35")  # cut off
    loop(Counting(), folder, steps=400).run(Every(100), Every(200))
    for name, each in (("log", 50), ("validation", 100)):
        rows = (folder / f"{name}.csv").read_text().splitlines()[1:]
        assert [int(row.split(",")[0]) for row in rows] == list(range(each, 401, each))


@pytest.mark.parametrize(
    "name, data", [("last.pt", b""), ("last.pt", b"PK"), ("config.json", b""), ("hardware.json", b"[")]
)
def test_a_damaged_file_of_a_run_is_one_sentence(name, data, tmp_path):
    folder = tmp_path / "run"
    loop(Counting(), folder, steps=50).run(Every(), Every())
    (folder / name).write_bytes(data)
    with pytest.raises(SystemExit, match=f"{name} is "):
        loop(Counting(), folder, steps=50)
    assert (folder / name).read_bytes() == data


@pytest.mark.parametrize("name", ["last.pt", "config.json", "hardware.json", "log.csv"])
def test_a_file_of_a_run_is_whole_or_as_it_was(name, tmp_path, monkeypatch):
    """What was begun and not finished is no reason to refuse the folder, and goes with the next run."""
    folder, rename = tmp_path / "run", os.replace
    loop(Counting(), folder, steps=50).run(Every(), Every())
    with open(folder / "log.csv", "a") as file:
        file.write("60,1,1\n")
    (folder / "hardware.json").write_text("[]")
    before = (folder / name).read_bytes()

    def fail(part, target):
        if Path(target).name == name:
            assert Path(part).stat().st_size
            raise KeyboardInterrupt
        rename(part, target)

    with monkeypatch.context() as here:
        here.setattr(os, "replace", fail)
        with pytest.raises(KeyboardInterrupt):
            loop(Counting(), folder, steps=100).run(Every(), Every())
    assert (folder / name).read_bytes() == before
    (folder / f".{name}.123.part").write_bytes(b"of a kill")
    loop(Counting(), folder, steps=100).run(Every(), Every())
    assert not list(folder.glob(".*"))


def test_the_rate_rises_holds_and_falls_to_nothing():
    assert warm_hold_fall(Done(0, 0.0), 10, 0.5) == 0.1 and warm_hold_fall(Done(100, 0.4), 10, 0.5) == 1.0
    assert warm_hold_fall(Done(100, 0.75), 10, 0.5) == pytest.approx(0.5)
    assert warm_hold_fall(Done(100, 1.0), 10, 0.5) == pytest.approx(0.0)
    assert warm_hold_fall(Done(100, 0.99), 10, 1.0) == 1.0


def test_a_run_does_not_go_on_with_other_settings(tmp_path):
    loop(Counting(), tmp_path / "run", steps=100).run(Every(), Every())
    loop(Counting(), tmp_path / "run", steps=120).run(Every(), Every())  # longer is allowed
    with pytest.raises(SystemExit, match="begun with ema = 0.9, not 0.5; give the same"):
        loop(Counting(), tmp_path / "run", ema=0.5)


def test_a_run_of_so_many_steps_says_how_long_it_takes(tmp_path, monkeypatch, capfd):
    """The first steps, which compile and warm up, do not count, and a run that goes on counts what is left."""
    now = [0.0]
    monkeypatch.setattr("codec.training.loop.time", SimpleNamespace(perf_counter=lambda: now[0]))

    def slow(step, rate):
        now[0] += 100 if step < 3 else 7
        return 1.0

    loop(Counting(slow), tmp_path / "run", steps=1000).run(Every(), Every(), stop_at=20)
    assert "the 10 steps that are left take about 70 s here, 7 s each; validations" in capfd.readouterr().err
    loop(Counting(slow), tmp_path / "run", steps=1000).run(Every(), Every(), stop_at=930)
    assert "the 900 steps that are left take about 1 h 45 min here" in capfd.readouterr().err
    loop(Counting(slow), tmp_path / "other", steps=0, seconds=300).run(Every(), Every())
    assert "steps that are left" not in capfd.readouterr().err
    assert [duration(s) for s in (45, 91, 3600, 12000)] == ["45 s", "2 min", "1 h 0 min", "3 h 20 min"]


def test_an_interrupt_before_the_first_step_is_one_sentence():
    @told
    def reads_photographs():
        os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(SystemExit, match="^interrupted; the same command"):
        reads_photographs()
