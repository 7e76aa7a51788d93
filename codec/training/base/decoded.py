"""Decoded pictures for the filter, computed once: python -m codec.training.base.decoded --data DIR --out DIR
[--shards N]

Every shard holds random crops of training photographs and what g_s makes of their streams, at random qualities.
Shards that exist are left alone; those of another model are refused.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from codec import zoo
from codec.bitstream.container import MAX_LEVEL
from codec.coding.model import Base
from codec.models.transforms import level_features
from codec.told import told
from codec.training.data.cache import SHARD_FILES, check_cache, check_ours, check_outside, data_options
from codec.training.data.photos import Photos
from codec.training.data.shards import CROP, VALIDATION, Shard, check, networks, stream

SHARDS = "decoded pictures"


@dataclass(frozen=True)
class Decoded(Shard):
    """N crops of S x S pixels: x (N, 3, S, S) uint8; x_hat (N, 3, S, S) float16 in 0..1 before the filter, features
    (N, C, S/8, S/8) float16 of g_s, level (N,) float32 (0 .. anchors - 1)."""

    x: np.ndarray
    x_hat: np.ndarray
    features: np.ndarray
    level: np.ndarray


@torch.no_grad()
def describe(model: Base, pixels: np.ndarray, level: int) -> Decoded:
    """One crop (S, S, 3) uint8 through the stream of an integer level -> Decoded with N = 1."""
    net, sent = model.vqvae, stream(model, pixels, level)
    features = net.g_s.features(sent.y_hat / net.sd, level_features(sent.position, net.config.anchors))
    x_hat = net.g_s.picture(sent.y_hat, features) + 0.5
    return Decoded(
        pixels.transpose(2, 0, 1)[None], x_hat.half().numpy(), features.half().numpy(), sent.position.numpy()
    )


def shard(model: Base, photos: Photos, seed: tuple[int, ...], count: int) -> Decoded:
    """``count`` random crops of training photographs, qualities spread evenly."""
    rng = np.random.default_rng(seed)
    crops = photos.crops(rng, count, CROP)
    levels = rng.permutation(MAX_LEVEL * (np.arange(count) + rng.random(count)) / count)
    return Decoded.join([describe(model, c, int(level)) for c, level in zip(crops, levels, strict=True)])


@told
def main() -> None:
    ap = argparse.ArgumentParser(prog="codec.training.base.decoded", description=__doc__.split("\n\n")[0])
    data_options(ap)
    ap.add_argument("--out", type=Path, required=True)
    ap.add_argument("--model", default="default", help="perceptual model: an id or a file")
    ap.add_argument("--shards", type=int, default=70)
    ap.add_argument("--size", type=int, default=32, help="crops in each shard")
    ap.add_argument("--first", type=int, default=0, help="number of the first shard: two processes may share the work")
    args = ap.parse_args()
    torch.set_num_threads(1)
    check_outside(args.out, args.data)
    check_ours(args.out, SHARD_FILES, "shards")
    cache = args.cache or args.out / "cache"
    check_outside(cache, args.data)
    check_cache(cache)
    args.out.mkdir(parents=True, exist_ok=True)
    model, photos = zoo.load(args.model), Photos(args.data, cache)
    made_by = networks(model.vqvae)
    check(sorted(args.out.glob("*.safetensors")), made_by, SHARDS)
    if not (args.out / VALIDATION).exists():
        crops = photos.validation_crops(48, 256)
        Decoded.join(
            [describe(model, c, int(level)) for c in crops for level in np.linspace(0.05, 0.9, 6) * MAX_LEVEL]
        ).save(args.out / VALIDATION, made_by)
    for number in tqdm(range(args.first, args.shards), disable=None):
        path = args.out / f"shard-{number:03d}.safetensors"
        if not path.exists():
            shard(model, photos, (model.model_id, 6, number), args.size).save(path, made_by)


if __name__ == "__main__":
    main()
