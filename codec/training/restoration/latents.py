"""Latents for the semantic stage, computed once: python -m codec.training.restoration.latents --data DIR --out DIR [--shards N]

The streams are those of the run's float prior and tables, so that no weights have to be shipped before. Every shard holds random crops of training photographs: pixels, latents, and what two degraded versions of each leave of them (the stream of a
random quality, decoded; the picture made smaller and enlarged again). Shards that exist are left alone, so the command can be repeated
with a larger number. Validation crops come from held-out photographs.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from tqdm import tqdm

from codec.models.semantic import UPSCALES, thumbnail
from codec.models.vqvae import VQVAE
from codec.training.base.adapt import Sender, load_adapted, send
from codec.training.data.cache import SHARD_FILES, check_ours, check_outside, data_options
from codec.training.data.photos import Photos, to_tensor
from codec.training.data.shards import CROP, VALIDATION, Shard
from codec.training.processes import place

BATCH = 32  # crops that go through the networks together
LEVEL_POWER = 1.3  # qualities are drawn as u ** LEVEL_POWER: more of the low ones, where the semantic decoder matters


@dataclass(frozen=True)
class Latents(Shard):
    """N crops of S x S pixels, h = S / 16. Float16 unless said otherwise.

    x (N, S, S, 3) uint8; y (N, C, h, h): latents at the top level; decoded (N, C, h, h): those of the decoded picture, whose stream had quality
    ``level`` (N,) float32 (0 .. anchors - 1); tokens (N, h/2, h/2) int32; bits_per_dim (N,) float32 of that stream; enlarged (N, C, h, h): latents of the picture that was
    made smaller by ``factor`` (N,) int32 and enlarged again; thumbnail (N, 48, h/2, h/2): what its conditioner sees; photo (N,) int32: number of the photograph.
    """

    x: np.ndarray
    y: np.ndarray
    decoded: np.ndarray
    level: np.ndarray
    tokens: np.ndarray
    bits_per_dim: np.ndarray
    enlarged: np.ndarray
    factor: np.ndarray
    thumbnail: np.ndarray
    photo: np.ndarray


def enlarge(pixels: np.ndarray, factor: int) -> np.ndarray:
    """(H, W, 3) uint8 made smaller by ``factor`` and enlarged again, both bicubic, as ``codec upscale`` gets it."""
    picture = Image.fromarray(pixels)
    small = picture.resize((picture.width // factor, picture.height // factor), Image.Resampling.BICUBIC)
    return np.asarray(small.resize(picture.size, Image.Resampling.BICUBIC))


@torch.no_grad()
def describe(model: VQVAE, sender: Sender, crops: np.ndarray, levels: np.ndarray, photos: np.ndarray) -> Latents:
    """Crops (N, S, S, 3) uint8, levels (N,) of their streams among the anchors, numbers (N,) of their photographs -> Latents; the factors of the enlargements take turns."""
    device, factors = model.sd.device, np.resize(np.array(UPSCALES, np.int32), len(crops))
    x, position = to_tensor(crops).to(device), torch.from_numpy(levels).float().to(device)
    bigger = to_tensor(np.stack([enlarge(c, int(f)) for c, f in zip(crops, factors, strict=True)])).to(device)
    tokens, y_hat, bits = send(model, sender, x, position)
    x_hat = (model.synthesise(y_hat, position).clamp(0, 1) * 255).round() / 255
    top = torch.full_like(position, model.config.anchors - 1)
    y, decoded, enlarged = (model.analyse(p, top)[0].half().cpu().numpy() for p in (x, x_hat, bigger))
    return Latents(
        x=crops, y=y, decoded=decoded, level=levels.astype(np.float32), tokens=tokens.int().cpu().numpy(), bits_per_dim=(bits / crops[0].size).float().cpu().numpy(),
        enlarged=enlarged, factor=factors, thumbnail=thumbnail(bigger).half().cpu().numpy(), photo=photos.astype(np.int32),
    )  # fmt: skip


def shard(model: VQVAE, sender: Sender, photos: Photos, seed: tuple[int, ...], count: int) -> Latents:
    """``count`` random crops of training photographs."""
    rng = np.random.default_rng(seed)
    places = photos.places(rng, count, CROP)
    crops, numbers = photos.cut(places, CROP), np.array([e.photo for e, *_ in places])
    levels = rng.permutation((model.config.anchors - 1) * ((np.arange(count) + rng.random(count)) / count) ** LEVEL_POWER)
    return Latents.join([describe(model, sender, *(a[k : k + BATCH] for a in (crops, levels, numbers))) for k in range(0, count, BATCH)])


def main() -> None:
    ap = argparse.ArgumentParser(prog="codec.training.restoration.latents", description=__doc__.split("\n")[0])
    data_options(ap)
    ap.add_argument("--base", type=Path, required=True, help="last.pt of a run of codec.training.base.adapt")
    ap.add_argument("--out", type=Path, required=True)
    ap.add_argument("--shards", type=int, default=40)
    ap.add_argument("--size", type=int, default=64, help="crops in each shard")
    ap.add_argument("--first", type=int, default=0, help="number of the first shard: two processes may share the work")
    args = ap.parse_args()
    check_outside(args.out, args.data)
    check_ours(args.out, SHARD_FILES, "shards")
    args.out.mkdir(parents=True, exist_ok=True)
    with place(1) as device:
        (model, sender), photos = load_adapted(args.base, device), Photos(args.data, args.cache or args.out / "cache")
        if not (args.out / VALIDATION).exists():
            crops, numbers = photos.validation_crops(48, CROP), np.array([e.photo for e in photos.validation_places(48, CROP)])
            levels = np.linspace(0.02, 0.8, len(crops)) * (model.config.anchors - 1)
            Latents.join([describe(model, sender, *(a[k : k + BATCH] for a in (crops, levels, numbers))) for k in range(0, len(crops), BATCH)]).save(args.out / VALIDATION)
        for number in tqdm(range(args.first, args.shards), disable=None):
            path = args.out / f"shard-{number:03d}.safetensors"
            if not path.exists():
                shard(model, sender, photos, (5, number), args.size).save(path)


if __name__ == "__main__":
    main()
