"""Crops for the semantic stage, made once: python -m codec.training.restoration.crops --data DIR [DIR ...] --out DIR

A shard holds crops of photographs, their streams' pictures and hyper tokens at random qualities. Photographs that are held out (``recipe/held_out.txt``, by name) make the validation shard only.
"""

from __future__ import annotations

import argparse
import io
import multiprocessing
import os
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Self

import numpy as np
import torch
from PIL import Image
from safetensors.numpy import load_file, save_file
from tqdm import tqdm

from codec import zoo
from codec.coding.trellis import TRELLISES
from codec.models.vqvae import VQVAE
from codec.training.base.adapt import Sender, send
from codec.training.data.photos import to_tensor
from codec.training.processes import place

CROP = 384
VALIDATION = "validation.safetensors"
LEVEL_POWER = 1.5  # qualities are drawn as u ** LEVEL_POWER: more of the low ones, where the semantic decoders matter
HELD_OUT = Path(__file__).parents[1] / "recipe" / "held_out.txt"
VALIDATION_LEVELS = (0.35, 1.2, 2.0, 3.0, 5.0)  # positions among the anchors


@dataclass(frozen=True)
class Crops:
    """N crops: x and x_c (N, S, S, 3) uint8, level (N,) float32: position of the stream among the anchors, tokens (N, S/32, S/32) int16."""

    x: np.ndarray
    x_c: np.ndarray
    level: np.ndarray
    tokens: np.ndarray

    def save(self, path: Path) -> None:
        save_file({f.name: np.ascontiguousarray(getattr(self, f.name)) for f in fields(self)}, path.with_suffix(".new"))
        os.replace(path.with_suffix(".new"), path)

    @classmethod
    def load(cls, path: Path) -> Self:
        return cls(**load_file(path))


def held_out() -> set[str]:
    """Names of the photographs that no training sees."""
    return set(HELD_OUT.read_text().split())


def members(folders: list[Path]) -> Iterator[tuple[str, bytes]]:
    """(name, bytes) of every picture in the tar shards of some folders, sorted by shard; the small sample shards (``mini``) are left out."""
    for folder in folders:
        for shard in sorted(s for s in folder.glob("*.tar") if "mini" not in s.name):
            with tarfile.open(shard) as tar:
                for member in tar:
                    if member.isfile() and member.name.endswith(".avif"):
                        yield Path(member.name).name, tar.extractfile(member).read()


def cut(job: tuple[str, bytes, float, int]) -> list[np.ndarray]:
    """(name, bytes, crops for a megapixel, seed) -> crops (CROP, CROP, 3) of the picture; one in three is of the picture made smaller; mirrored half the time."""
    name, data, density, seed = job
    rng = np.random.default_rng((seed, int.from_bytes(name.encode()[-12:], "little")))
    picture = Image.open(io.BytesIO(data)).convert("RGB")
    out = []
    for _ in range(int(density * picture.width * picture.height / 1e6 + rng.random())):
        scale = rng.uniform(0.55, 0.95) if rng.random() < 1 / 3 else 1.0
        scale = max(scale, CROP / min(picture.size))
        if scale > 1:
            break
        size = tuple(max(CROP, round(n * scale)) for n in picture.size)
        pixels = np.asarray(picture if scale == 1 else picture.resize(size, Image.Resampling.LANCZOS))
        i, j = int(rng.integers(size[1] - CROP + 1)), int(rng.integers(size[0] - CROP + 1))
        crop = pixels[i : i + CROP, j : j + CROP]
        out.append(np.ascontiguousarray(crop[:, ::-1] if rng.random() < 0.5 else crop))
    return out


def middle(job: tuple[str, bytes]) -> np.ndarray | None:
    """The middle of a picture, None of one that is too small."""
    picture = Image.open(io.BytesIO(job[1])).convert("RGB")
    if min(picture.size) < CROP:
        return None
    i, j = (picture.height - CROP) // 2, (picture.width - CROP) // 2
    return np.asarray(picture)[i : i + CROP, j : j + CROP]


@torch.no_grad()
def describe(model: VQVAE, sender: Sender, crops: np.ndarray, level: np.ndarray, batch: int) -> Crops:
    """Crops (N, S, S, 3) uint8 and the levels (N,) of their streams -> Crops."""
    x_c, codes, device = np.empty_like(crops), [], model.sd.device
    for k in tqdm(range(0, len(crops), batch), disable=None):
        part = slice(k, k + batch)
        position = torch.from_numpy(level[part]).float().to(device)
        tokens, y_hat, _ = send(model, sender, to_tensor(crops[part]).to(device), position)
        x_hat = model.synthesise(y_hat, position).clamp(0, 1).mul(255).round().to(torch.uint8)
        x_c[part] = x_hat.permute(0, 2, 3, 1).cpu().numpy()
        codes.append(tokens.cpu().numpy().astype(np.int16))
    return Crops(crops, x_c, level.astype(np.float32), np.concatenate(codes))


def base(device: torch.device | str, model: str = "default") -> tuple[VQVAE, Sender]:
    """Shipped perceptual model, and what quantises like its encoder."""
    loaded = zoo.load(model, device)
    return loaded.vqvae, Sender(TRELLISES[loaded.coder.trellis.name], loaded.coder.latent, device)


def training_crops(folders: list[Path], density: float, seed: int, processes: int) -> np.ndarray:
    """(N, CROP, CROP, 3) uint8 of all photographs that are not held out, in random order."""
    kept = held_out()
    jobs = ((name, data, density, seed) for name, data in members(folders) if name not in kept)
    with multiprocessing.get_context("fork").Pool(processes) as pool:
        found = [c for part in pool.imap_unordered(cut, jobs, chunksize=4) for c in part]
    found.sort(key=lambda c: c[:4, :4].tobytes())  # the order in which the processes end says nothing
    order = np.random.default_rng(seed).permutation(len(found))
    return np.stack([found[k] for k in order])


def levels(rng: np.random.Generator, count: int, anchors: int) -> np.ndarray:
    """Positions (count,) among the anchors, spread evenly over u, in random order."""
    return rng.permutation((anchors - 1) * ((np.arange(count) + rng.random(count)) / count) ** LEVEL_POWER)


def main() -> None:
    ap = argparse.ArgumentParser(prog="codec.training.restoration.crops", description=__doc__.split("\n")[0])
    ap.add_argument("--data", type=Path, nargs="+", required=True, help="folders of tar shards")
    ap.add_argument("--out", type=Path, required=True)
    ap.add_argument("--density", type=float, default=11.0, help="crops for each megapixel")
    ap.add_argument("--seed", type=int, default=0)
    ap.add_argument("--name", default="train", help="of the shard")
    ap.add_argument("--validation", type=int, default=0, help="crops of held-out photographs in a validation shard")
    ap.add_argument("--processes", type=int, default=os.cpu_count())
    ap.add_argument("--batch", type=int, default=32)
    args = ap.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    crops = training_crops(args.data, args.density, args.seed, args.processes)
    print(f"{len(crops)} crops", flush=True)
    with place(1) as device:
        model, sender = base(device)
        rng = np.random.default_rng((args.seed, 1))
        describe(model, sender, crops, levels(rng, len(crops), model.config.anchors), args.batch).save(args.out / f"{args.name}.safetensors")
        if args.validation:
            kept = held_out()
            pictures = [m for m in (middle(job) for job in members(args.data) if job[0] in kept) if m is not None][: args.validation]
            level = np.resize(np.array(VALIDATION_LEVELS), len(pictures))
            describe(model, sender, np.stack(pictures), level, args.batch).save(args.out / VALIDATION)


if __name__ == "__main__":
    main()
