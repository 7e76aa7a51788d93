"""Latents for the semantic stage, computed once: python -m codec.training.latents --data DIR --out DIR [--shards N]

Every shard holds random crops of training photographs: pixels, latents, and what two degraded versions of each leave of them (the stream of a
random quality, decoded; the picture made smaller and enlarged again). Shards that exist are left alone, so the command can be repeated
with a larger number. Validation crops come from held-out photographs.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from tqdm import tqdm

from codec import zoo
from codec.bitstream.container import MAX_LEVEL
from codec.models.semantic import UPSCALES, thumbnail
from codec.training.data import Photos
from codec.training.shards import CROP, VALIDATION, Shard, stream, to_float

LEVEL_POWER = 1.3  # qualities are drawn as u ** LEVEL_POWER: more of the low ones, where the semantic decoder matters


@dataclass(frozen=True)
class Latents(Shard):
    """N crops of S x S pixels, h = S / 16. Float16 unless said otherwise.

    x (N, S, S, 3) uint8; y (N, C, h, h): latents at the top level; decoded (N, C, h, h): those of the decoded picture, whose stream had quality
    ``level`` (N,) float32 (0 .. anchors - 1); tokens (N, h/2, h/2) int32; bits_per_dim (N,) float32 of that stream; enlarged (N, C, h, h): latents of the picture that was
    made smaller by ``factor`` (N,) int32 and enlarged again; thumbnail (N, 48, h/2, h/2): what its conditioner sees.
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


def enlarge(pixels: np.ndarray, factor: int) -> np.ndarray:
    """(H, W, 3) uint8 made smaller by ``factor`` and enlarged again, both bicubic, as ``codec upscale`` gets it."""
    picture = Image.fromarray(pixels)
    small = picture.resize((picture.width // factor, picture.height // factor), Image.Resampling.BICUBIC)
    return np.asarray(small.resize(picture.size, Image.Resampling.BICUBIC))


@torch.no_grad()
def describe(model: zoo.PerceptualModel, pixels: np.ndarray, level: int, factor: int) -> Latents:
    """One crop (S, S, 3) uint8, integer level of its stream, factor of its enlargement -> Latents with N = 1."""
    net, top, sent = model.vqvae, torch.tensor([model.config.anchors - 1.0]), stream(model, pixels, level)
    x_hat = (net.synthesise(sent.y_hat, sent.position).clamp(0, 1) * 255).round() / 255
    bigger = to_float(enlarge(pixels, factor))
    at_top = [net.analyse(p, top)[0].half().numpy() for p in (to_float(pixels), x_hat, bigger)]
    return Latents(
        x=pixels[None], y=at_top[0], decoded=at_top[1], level=sent.position.numpy(), tokens=sent.tokens.int().numpy(),
        bits_per_dim=np.array([sent.bits / pixels.size], np.float32), enlarged=at_top[2], factor=np.array([factor], np.int32), thumbnail=thumbnail(bigger).half().numpy(),
    )


def shard(model: zoo.PerceptualModel, photos: Photos, seed: tuple[int, ...], count: int) -> Latents:
    """``count`` random crops of training photographs."""
    rng = np.random.default_rng(seed)
    crops = photos.crops(rng, count, CROP)
    levels = MAX_LEVEL * ((np.arange(count) + rng.random(count)) / count) ** LEVEL_POWER
    return Latents.join([describe(model, c, int(level), UPSCALES[k % len(UPSCALES)]) for k, (c, level) in enumerate(zip(crops, rng.permutation(levels), strict=True))])


def main() -> None:
    ap = argparse.ArgumentParser(prog="codec.training.latents", description=__doc__.split("\n")[0])
    ap.add_argument("--data", type=Path, required=True, help="folder of tar shards or of photographs")
    ap.add_argument("--out", type=Path, required=True)
    ap.add_argument("--model", default="default", help="perceptual model: an id or a file")
    ap.add_argument("--shards", type=int, default=40)
    ap.add_argument("--size", type=int, default=64, help="crops in each shard")
    ap.add_argument("--first", type=int, default=0, help="number of the first shard: two processes may share the work")
    args = ap.parse_args()
    torch.set_num_threads(1)
    args.out.mkdir(parents=True, exist_ok=True)
    model, photos = zoo.load(args.model), Photos(args.data, args.out.parent / "data")
    if not (args.out / VALIDATION).exists():
        crops = photos.validation_crops(48, CROP)
        levels = np.linspace(0.02, 0.8, len(crops)) * MAX_LEVEL
        Latents.join([describe(model, c, int(level), UPSCALES[k % len(UPSCALES)]) for k, (c, level) in enumerate(zip(crops, levels, strict=True))]).save(args.out / VALIDATION)
    for number in tqdm(range(args.first, args.shards), disable=None):
        path = args.out / f"shard-{number:03d}.safetensors"
        if not path.exists():
            shard(model, photos, (model.model_id, 5, number), args.size).save(path)


if __name__ == "__main__":
    main()
