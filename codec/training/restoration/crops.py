"""Crops for the semantic stage, made once: python -m codec.training.restoration.crops --data DIR [DIR ...] --out DIR

A shard holds crops of photographs, their streams' pictures and hyper tokens at random qualities, and says which model
made them. Photographs that are held out (``recipe/held_out.txt``, by name) make the validation shard only.
"""

from __future__ import annotations

import argparse
import io
import itertools
import multiprocessing
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from tqdm import tqdm

from codec import manifest, zoo
from codec.coding.trellis import TRELLISES
from codec.models.vqvae import VQVAE
from codec.told import told
from codec.training.base.adapt import Sender, send
from codec.training.data.cache import CROP_FILES, check_ours, check_outside
from codec.training.data.held_out import held_out, listed
from codec.training.data.photos import members, to_tensor
from codec.training.data.shards import CROP, VALIDATION, Shard, check
from codec.training.processes import place

LEVEL_POWER = 1.5  # qualities are drawn as u ** LEVEL_POWER: more of the low ones, where the semantic decoders matter
VALIDATION_LEVELS = (0.35, 1.2, 2.0, 3.0, 5.0)  # positions among the anchors


@dataclass(frozen=True)
class Crops(Shard):
    """N crops: x and x_c (N, S, S, 3) uint8, level (N,) float32: position of the stream among the anchors, tokens (N,
    S/32, S/32) int16, photo (N,) int32: number of the photograph, in the order in which they are read."""

    x: np.ndarray
    x_c: np.ndarray
    level: np.ndarray
    tokens: np.ndarray
    photo: np.ndarray


def model_hash(model: str) -> str:
    """First digits of the hash of the file of a perceptual model: "default", an id or a file."""
    return zoo.file_hash(zoo.find(model, manifest.read())[0])


def check_model(paths: list[Path], model: str) -> None:
    """Raises SystemExit for crops that another model made, or that do not say which."""
    check(paths, model_hash(model), "crops")


def every(folders: list[Path]) -> Iterator[tuple[str, Callable[[], bytes]]]:
    """``members`` of several folders, one after the other."""
    return itertools.chain.from_iterable(map(members, folders))


def opened(data: bytes) -> Image.Image | None:
    """None for bytes that are no picture of at least CROP pixels a side."""
    try:
        picture = Image.open(io.BytesIO(data)).convert("RGB")
    except OSError:
        return None
    return picture if min(picture.size) >= CROP else None


def cut(job: tuple[int, bytes, float, int]) -> list[tuple[int, np.ndarray]]:
    """(number, bytes, crops for a megapixel, seed) -> the number with each crop (CROP, CROP, 3) of the picture; one
    in three is of the picture made smaller; mirrored half the time."""
    number, data, density, seed = job
    rng, picture, out = np.random.default_rng((seed, number)), opened(data), []
    if picture is None:
        return []
    for _ in range(int(density * picture.width * picture.height / 1e6 + rng.random())):
        scale = max(rng.uniform(0.55, 0.95) if rng.random() < 1 / 3 else 1.0, CROP / min(picture.size))
        size = tuple(max(CROP, round(n * scale)) for n in picture.size)
        pixels = np.asarray(picture if scale == 1 else picture.resize(size, Image.Resampling.LANCZOS))
        i, j = int(rng.integers(size[1] - CROP + 1)), int(rng.integers(size[0] - CROP + 1))
        crop = pixels[i : i + CROP, j : j + CROP]
        out.append((number, np.ascontiguousarray(crop[:, ::-1] if rng.random() < 0.5 else crop)))
    return out


def middle(data: bytes) -> np.ndarray | None:
    """The middle of a picture, None of one that is too small."""
    picture = opened(data)
    if picture is None:
        return None
    i, j = (picture.height - CROP) // 2, (picture.width - CROP) // 2
    return np.asarray(picture)[i : i + CROP, j : j + CROP]


@torch.no_grad()
def describe(
    model: VQVAE, sender: Sender, crops: np.ndarray, level: np.ndarray, photo: np.ndarray, batch: int
) -> Crops:
    """Crops (N, S, S, 3) uint8, the levels (N,) of their streams, numbers (N,) of their photographs -> Crops."""
    x_c, codes, device = np.empty_like(crops), [], model.sd.device
    for k in tqdm(range(0, len(crops), batch), disable=None):
        part = slice(k, k + batch)
        position = torch.from_numpy(level[part]).float().to(device)
        tokens, y_hat, _ = send(model, sender, to_tensor(crops[part]).to(device), position)
        x_hat = model.synthesise(y_hat, position).clamp(0, 1).mul(255).round().to(torch.uint8)
        x_c[part] = x_hat.permute(0, 2, 3, 1).cpu().numpy()
        codes.append(tokens.cpu().numpy().astype(np.int16))
    return Crops(crops, x_c, level.astype(np.float32), np.concatenate(codes), photo.astype(np.int32))


def base(model: str, device: torch.device | str) -> tuple[VQVAE, Sender]:
    """A perceptual model ("default", an id or a file), and what quantises like its encoder."""
    loaded = zoo.load(model, device)
    return loaded.vqvae, Sender(TRELLISES[loaded.coder.trellis.name], loaded.coder.latent, device)


def levels(rng: np.random.Generator, count: int, anchors: int) -> np.ndarray:
    """Positions (count,) among the anchors, spread evenly over u, in random order."""
    return rng.permutation((anchors - 1) * ((np.arange(count) + rng.random(count)) / count) ** LEVEL_POWER)


@told
def main() -> None:
    ap = argparse.ArgumentParser(prog="codec.training.restoration.crops", description=__doc__.split("\n\n")[0])
    ap.add_argument(
        "--data",
        type=Path,
        nargs="+",
        required=True,
        help="folders of tar shards or of photographs; they are only read",
    )
    ap.add_argument("--out", type=Path, required=True)
    ap.add_argument(
        "--model", default="default", help="id or file of the perceptual model; default: the newest of the package"
    )
    ap.add_argument("--density", type=float, default=11.0, help="crops for each megapixel")
    ap.add_argument("--validation", type=int, default=40, help="crops of held-out photographs at most")
    ap.add_argument("--seed", type=int, default=0)
    ap.add_argument("--processes", type=int, default=os.cpu_count())
    ap.add_argument("--batch", type=int, default=32)
    args = ap.parse_args()
    for folder in args.data:
        check_outside(args.out, folder)
    check_ours(args.out, CROP_FILES, "crops")
    args.out.mkdir(parents=True, exist_ok=True)
    done, hash_of_model = args.out / VALIDATION, model_hash(args.model)
    if done.exists():
        check_model([done], args.model)
        return print(f"{args.out} has its crops")
    kept, held = held_out([name for name, _ in every(args.data)], listed()), []

    def jobs() -> Iterator[tuple[int, bytes, float, int]]:
        """Those to train on; the others go to ``held``."""
        for k, (name, read) in enumerate(every(args.data)):
            if name in kept:
                held.append((k, read()))
            else:
                yield k, read(), args.density, args.seed

    with multiprocessing.get_context("fork").Pool(args.processes) as pool:
        found = [c for part in pool.imap(cut, jobs(), chunksize=4) for c in part]
    pictures = [(k, x) for k, x in ((k, middle(data)) for k, data in held) if x is not None][: args.validation]
    if not found or not pictures:
        raise SystemExit(
            f"there are not enough photographs of at least {CROP} pixels a side ({len(found)} crops to train on, {len(pictures)} to validate on)"
        )
    rng = np.random.default_rng((args.seed, 1))
    found = [found[k] for k in rng.permutation(len(found))]
    print(f"{len(found)} crops", flush=True)
    with place(1, "codec.training.restoration.crops") as device:
        model, sender = base(args.model, device)
        for name, pairs, level in (
            ("train.safetensors", found, levels(rng, len(found), model.config.anchors)),
            (
                VALIDATION,
                pictures,
                np.resize(np.array(VALIDATION_LEVELS), len(pictures)),
            ),  # last: its file means that all is there
        ):
            numbers, pixels = (np.stack(part) for part in zip(*pairs, strict=True))
            describe(model, sender, pixels, level, numbers, args.batch).save(args.out / name, hash_of_model)


if __name__ == "__main__":
    main()
