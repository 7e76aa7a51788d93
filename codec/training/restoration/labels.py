"""Trains class labels of the ldm decoder: python -m codec.training.restoration.labels --data DIR ... --crops DIR
--weights FILE --out DIR --vgg FILE --heads FILE [NAME=VALUE ...]

The network stays as it is; what is learned is a few context tokens for each label, found through the frozen network
(as words are in textual inversion, Gal et al. 2022). --data are the folders that the crops were made from, in the
same order: they say which photograph is which.
"""

from __future__ import annotations

import argparse
import csv
import dataclasses
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file

from codec import zoo
from codec.models.context import ClassConditioner
from codec.models.restorer import Condition, Restorer
from codec.told import told
from codec.training.config import configure
from codec.training.data.shards import VALIDATION
from codec.training.loop import Done, Every, Loop, Stage, warm_hold_fall
from codec.training.processes import place
from codec.training.restoration.batches import Batch, Store
from codec.training.restoration.config import FLOOR
from codec.training.restoration.crops import check_model, every
from codec.training.restoration.parts import FIRST
from codec.training.restoration.perception import VGG16, Perception
from codec.training.run import Run

SUBJECTS = Path(__file__).parents[1] / "recipe" / "subjects.csv"


@dataclass(frozen=True)
class LabelConfig:
    """One run."""

    seconds: float = 600.0  # of training
    steps: int = 0  # at most so many; 0: the time alone decides
    batch: int = 4  # crops a step
    window: int = 192  # pixels a side of a crop
    lr: float = 0.01  # of Adam
    warmup: int = 20  # steps
    hold: float = 0.5  # share of the time after which the learning rate falls
    ema: float = 0.98  # decay of the averaged tokens
    tokens: int = 4  # context tokens of a label
    mse: float = 0.1  # weight of the relative squared error beside LPIPS
    every: float = 300.0  # seconds between validations
    seed: int = 0


def subjects(path: Path, names: list[str]) -> tuple[tuple[str, ...], torch.Tensor]:
    """CSV with a photograph (the end of its path is its name) and its subject in each row -> names of the labels in
    alphabetical order, and the label (N,) int64 of each name, -1 for none."""
    try:
        with open(path, newline="") as f:
            subject = {Path(row["photograph"]).name: row["subject"] for row in csv.DictReader(f)}
    except (KeyError, TypeError, UnicodeDecodeError, csv.Error):
        raise SystemExit(f"{path} is not a table with columns photograph and subject") from None
    labels = tuple(sorted(set(subject.values())))
    found = [labels.index(subject[name]) if (name := Path(n).name) in subject else -1 for n in names]
    if max(found, default=-1) < 0:
        raise SystemExit(f"{path} says nothing of these photographs")
    return labels, torch.tensor(found)


class LabelStage(Stage):
    """Tokens of the labels, their step and their validation."""

    def __init__(
        self,
        config: LabelConfig,
        net: Restorer,
        store: Store,
        held_out: Store,
        label: torch.Tensor,
        count: int,
        vgg: Perception,
        centroids: torch.Tensor,
        folder: Path,
    ) -> None:
        self.config, self.net, self.store, self.held_out, self.label, self.vgg, self.centroids = (
            config,
            net,
            store,
            held_out,
            label,
            vgg,
            centroids,
        )
        torch.manual_seed(config.seed)
        self.conditioner = ClassConditioner(count, config.tokens, net.denoiser.config.context).to(store.device)
        self.module, self.folder = self.conditioner, folder
        self.optimisers = [
            torch.optim.Adam([{"params": self.conditioner.parameters(), "peak": config.lr}], lr=config.lr)
        ]
        self.loop = Loop(self, Run(folder, config, True, store.device), config, store.device)

    def rate(self, done: Done) -> float:
        return warm_hold_fall(done, self.config.warmup, self.config.hold)

    def labelled(self, batch: Batch, label: torch.Tensor) -> Condition:
        """What is known of the batch, with the tokens of ``label`` (B,)."""
        condition = batch.condition(self.net, self.centroids)
        return dataclasses.replace(condition, context=condition.context.joined(self.conditioner(label)))

    def loss(self, batch: Batch, condition: Condition) -> torch.Tensor:
        """LPIPS and relative squared error (B,) of what the decoder makes at once."""
        z = torch.randn(
            len(batch.x), len(self.net.scale), batch.x.shape[2] // 16, batch.x.shape[3] // 16, device=batch.x.device
        )
        with torch.autocast(batch.x.device.type, dtype=torch.bfloat16):
            x_hat = self.net.paint(self.net.generate(z, condition), condition)
            distance = self.vgg(x_hat, batch.x)
        plain = (batch.x - batch.x_c).square().mean((1, 2, 3))
        return distance + self.config.mse * (x_hat - batch.x).square().mean((1, 2, 3)) / (plain + FLOOR)

    def step(self, done: Done, rng: np.random.Generator) -> dict[str, torch.Tensor]:
        which = rng.permutation(np.flatnonzero((self.label[self.store.photo] >= 0).numpy()))[: self.config.batch]
        batch = self.store.draw(rng, len(which), self.config.window, 0.0, which)
        loss = self.loss(
            batch, self.labelled(batch, self.label[self.store.photo[torch.from_numpy(which)]].to(self.store.device))
        ).mean()
        self.conditioner.zero_grad(set_to_none=True)
        loss.backward()
        return {"loss": loss}

    @torch.no_grad()
    def validate(self) -> Iterator[dict[str, float]]:
        """Change of the loss by labels, in percent, on held-out crops: the right ones, and others."""
        totals = np.zeros(3)
        for first in range(0, len(self.held_out), 4):
            batch = self.held_out.whole(first, first + 4)
            right = self.label[self.held_out.photo[first : first + 4]].to(self.store.device)
            if (right < 0).any():
                continue
            wrong = (right + 1) % len(self.conditioner.tokens)
            for k, condition in enumerate(
                (batch.condition(self.net, self.centroids), self.labelled(batch, right), self.labelled(batch, wrong))
            ):
                torch.manual_seed(first)
                totals[k] += self.loss(batch, condition).sum().item()
        yield {
            "right": 100 * (totals[1] / max(totals[0], 1e-9) - 1),
            "wrong": 100 * (totals[2] / max(totals[0], 1e-9) - 1),
        }

    def run(self, names: tuple[str, ...]) -> None:
        every = Every(seconds=self.config.every)
        self.loop.run(every, every)
        said = {
            "names": json.dumps(names),
            "config": json.dumps(dataclasses.asdict(self.config)),
            "step": str(self.loop.steps),
            "seconds": f"{self.loop.spent:.1f}",
        }
        save_file(
            {"tokens": self.conditioner.tokens.detach().cpu().contiguous()},
            self.folder / FIRST,
            said,
        )


@told
def main() -> None:
    ap = argparse.ArgumentParser(prog="codec.training.restoration.labels", description=__doc__.split("\n\n")[0])
    ap.add_argument(
        "--data",
        type=Path,
        nargs="+",
        required=True,
        help="folders that the crops were made from; only their names are read",
    )
    ap.add_argument("--crops", type=Path, required=True, help="folder made by codec.training.restoration.crops")
    ap.add_argument("--weights", type=Path, required=True, help="weights file of the ldm decoder")
    ap.add_argument("--model", default="default", help="id or file of the perceptual model")
    ap.add_argument("--subjects", type=Path, default=SUBJECTS, help="CSV with photograph and subject")
    ap.add_argument("--out", type=Path, required=True, help="folder of the run; one found there is resumed")
    ap.add_argument("--vgg", type=Path, required=True, help="safetensors file with VGG16's features")
    ap.add_argument("--heads", type=Path, required=True, help="safetensors file with the heads of LPIPS")
    ap.add_argument("--config", type=Path, help="TOML file with settings")
    ap.add_argument("--threads", type=int, default=1)
    ap.add_argument("settings", nargs="*", metavar="NAME=VALUE")
    args = ap.parse_intermixed_args()
    config = configure(LabelConfig(), args.config, args.settings)
    check_model([args.crops / name for name in ("train.safetensors", VALIDATION)], args.model)
    names, label = subjects(args.subjects, [name for name, _ in every(args.data)])
    with place(args.threads, "codec.training.restoration.labels") as device:
        model = zoo.load(args.model, device)
        net = zoo.read_restorer(args.weights, device)
        store, held_out = (
            Store([args.crops / name], model.config.anchors, device) for name in ("train.safetensors", VALIDATION)
        )
        centroids = model.vqvae.tokens.centroids(model.vqvae.sd).float()
        vgg = Perception(VGG16, args.vgg, args.heads).to(device)
        LabelStage(config, net, store, held_out, label, len(names), vgg, centroids, args.out).run(names)


if __name__ == "__main__":
    main()
