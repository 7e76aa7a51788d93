"""What a batch is drawn from: photographs, and beside them a second pack of finer ones and of drawn pictures."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from codec.models.config import VQVAEConfig
from codec.training.data.cache import check_cache, check_outside, check_run
from codec.training.data.photos import Entry, Photos, to_device
from codec.training.shipping.manifest import check_id

DRAWINGS = "drawn"  # shards and folders of the second pack whose names begin so hold drawn pictures
ATTRACTION = 0.5  # of the range of levels: how far chance moves a fine crop's place among them


@dataclass(frozen=True)
class Mixture:
    """Shares of a batch: fine (from the second pack's photographs), drawings (from its drawn pictures); upper: share
    of the draws at the upper 60 % of the levels (0.6: spread evenly). The settings of the base's trainings have these
    too."""

    fine: float = 0.0
    drawings: float = 0.0
    upper: float = 0.6


class Packs:
    """photos: of --data; fine: of --fine, if there is one."""

    def __init__(self, photos: Photos, fine: Photos | None, mixture: Mixture) -> None:
        """Raises SystemExit for shares of a pack that is not there or holds nothing of the kind."""
        self.photos, self.fine, self.mixture = photos, fine, mixture
        self._drawn = [e for e in fine.train if is_drawn(e)] if fine else []
        self._fine = [e for e in fine.train if not is_drawn(e)] if fine else []
        for name, entries in (("fine", self._fine), ("drawings", self._drawn)):
            if getattr(mixture, name) and not entries:
                raise SystemExit(f"the setting {name} needs --fine with a pack that has such pictures")
        if not 0 <= mixture.fine + mixture.drawings <= 1 or not 0 < mixture.upper < 1:
            raise SystemExit("fine and drawings are shares of a batch, upper is a share between 0 and 1")

    def batch(
        self, rng: np.random.Generator, count: int, size: int, device: torch.device, model: VQVAEConfig
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Crops (count, 3, size, size) in 0..1, then levels and lambdas (count,), all on the device. Fine crops get
        the higher levels, by chance more than by rule."""
        fine, drawn = (int(share * count + rng.random()) for share in (self.mixture.fine, self.mixture.drawings))
        fine, drawn = min(fine, count), min(drawn, count - min(fine, count))
        parts = [self.photos.batch(rng, count - fine - drawn, size, device)] if count > fine + drawn else []
        for number, entries in ((drawn, self._drawn), (fine, self._fine)):
            if number:
                assert self.fine is not None
                parts.append(self.fine.batch(rng, number, size, device, entries))
        level, lam = draw_levels(rng, count, model, self.mixture.upper)
        if fine:
            high = torch.from_numpy(level.numpy() / (model.anchors - 1) + ATTRACTION * rng.random(count)).argsort()
            order = torch.cat(
                [high[: count - fine][torch.from_numpy(rng.permutation(count - fine))], high[count - fine :]]
            )
            level, lam = level[order], lam[order]
        x = torch.cat(parts).contiguous(memory_format=torch.channels_last) if len(parts) > 1 else parts[0]
        return x, to_device(level, device), to_device(lam, device)

    def describe(self) -> str:
        """For the record of a model."""
        second = "" if self.fine is None else f"; a second pack of {self.fine.describe()}"
        return self.photos.describe() + second


def fine_option(ap: argparse.ArgumentParser) -> None:
    ap.add_argument("--fine", type=Path, help="folder of a second pack, of finer photographs and drawings; only read")


def open_packs(data: Path, fine: Path | None, cache: Path, mixture: Mixture) -> Packs:
    """The second pack's cache lies beside that of the first, with ``-fine`` at the end of its name. Raises SystemExit
    where either would lie among photographs."""
    check_caches(cache, data, fine)
    return Packs(Photos(data, cache), Photos(fine, _second(cache)) if fine else None, mixture)


def check_caches(cache: Path, data: Path, fine: Path | None) -> None:
    """Raises SystemExit where the caches of packs would lie among photographs, or in folders of other files."""
    for folder in (cache, _second(cache)) if fine else (cache,):
        check_outside(folder, data, fine)
        check_cache(folder)


def check_places(args: argparse.Namespace) -> Path:
    """Of a command with --data, --fine, --out, --cache, --weights and --id -> where its cache lies. Raises SystemExit
    where it would write among photographs, into folders of other files, or weights of an id that is the project's."""
    cache = args.cache or args.out / "cache"
    check_run(args.out, args.data, args.fine)
    check_caches(cache, args.data, args.fine)
    if args.weights:
        check_outside(args.weights, args.data, args.fine)
        check_id(args.id, args.weights.parent)
    return cache


def _second(cache: Path) -> Path:
    return cache.with_name(f"{cache.name}-fine")


def is_drawn(entry: Entry) -> bool:
    return entry.name.startswith(DRAWINGS)


def draw_levels(
    rng: np.random.Generator, count: int, model: VQVAEConfig, upper: float = 0.6
) -> tuple[torch.Tensor, torch.Tensor]:
    """-> quality levels (count,) in 0..anchors-1, in random order, and their lambdas (count,). upper: share of them in
    the upper 60 % of the range, spread evenly there and below."""
    place = (np.arange(count) + rng.random(count)) / count
    below = 1 - upper
    place = np.where(place < below, 0.4 * place / below, 0.4 + 0.6 * (place - below) / upper)
    level = place[rng.permutation(count)] * (model.anchors - 1)
    lam = np.exp(np.interp(level, np.arange(model.anchors), np.log(model.lambdas())))
    return torch.from_numpy(level).float(), torch.from_numpy(lam).float()
