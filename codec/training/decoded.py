"""Decoded pictures for the filter, computed once: python -m codec.training.decoded --data DIR --out DIR [--shards N]

Every shard holds random crops of training photographs and what g_s makes of their streams, at random qualities. Shards that exist are left alone.
"""

from __future__ import annotations

import argparse
import os
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import torch
from safetensors.numpy import load_file, save_file
from tqdm import tqdm

from codec import zoo
from codec.bitstream.container import MAX_LEVEL
from codec.models.ratecontrol import error_weight
from codec.models.transforms import level_features
from codec.models.vqvae import VQVAE
from codec.training.data import Photos

CROP = 384
VALIDATION = "validation.safetensors"


@dataclass(frozen=True)
class Decoded:
    """N crops of S x S pixels: x (N, 3, S, S) uint8; x_hat (N, 3, S, S) float16 in 0..1 before the filter, features (N, C, S/8, S/8) float16 of g_s, level (N,) float32 (0 .. anchors - 1)."""

    x: np.ndarray
    x_hat: np.ndarray
    features: np.ndarray
    level: np.ndarray

    def save(self, path: Path) -> None:
        save_file({f.name: np.ascontiguousarray(getattr(self, f.name)) for f in fields(self)}, path.with_suffix(".new"))
        os.replace(path.with_suffix(".new"), path)

    @classmethod
    def load(cls, path: Path) -> Decoded:
        return cls(**load_file(path))

    @classmethod
    def join(cls, parts: list[Decoded]) -> Decoded:
        return cls(**{f.name: np.concatenate([getattr(p, f.name) for p in parts]) for f in fields(cls)})


@torch.no_grad()
def synthesise(net: VQVAE, pixels: np.ndarray, v_hat: np.ndarray, position: torch.Tensor) -> Decoded:
    """One crop (S, S, 3) uint8 and its v_hat (C, S/16, S/16) int32 in 1/256 step, position (1,) -> Decoded with N = 1."""
    y_hat = torch.from_numpy(v_hat)[None].float() / 256 * torch.exp2(net.interpolate(net.log2_igain, position))
    features = net.g_s.features(y_hat / net.sd, level_features(position, net.config.anchors))
    x_hat = net.g_s.picture(y_hat, features) + 0.5
    return Decoded(pixels.transpose(2, 0, 1)[None], x_hat.half().numpy(), features.half().numpy(), position.numpy())


@torch.no_grad()
def describe(model: zoo.PerceptualModel, pixels: np.ndarray, level: int) -> Decoded:
    """One crop (S, S, 3) uint8 through the stream of an integer level."""
    net, position = model.vqvae, torch.tensor([level / MAX_LEVEL * (model.config.anchors - 1)])
    y, tokens = net.analyse(torch.from_numpy(np.array(pixels)).permute(2, 0, 1)[None].float() / 255, position)
    v = y * torch.exp2(net.interpolate(net.log2_gain, position))
    return synthesise(net, pixels, model.coder.measure(v[0].numpy(), tokens[0].numpy(), level, error_weight(net, position))[1], position)


def shard(model: zoo.PerceptualModel, photos: Photos, seed: tuple[int, ...], count: int) -> Decoded:
    """``count`` random crops of training photographs, qualities spread evenly."""
    rng = np.random.default_rng(seed)
    crops = photos.crops(rng, count, CROP)
    levels = rng.permutation(MAX_LEVEL * (np.arange(count) + rng.random(count)) / count)
    return Decoded.join([describe(model, c, int(level)) for c, level in zip(crops, levels, strict=True)])


def main() -> None:
    ap = argparse.ArgumentParser(prog="codec.training.decoded", description=__doc__.split("\n")[0])
    ap.add_argument("--data", type=Path, required=True, help="folder of tar shards or of photographs")
    ap.add_argument("--out", type=Path, required=True)
    ap.add_argument("--model", default="default", help="perceptual model: an id or a file")
    ap.add_argument("--shards", type=int, default=70)
    ap.add_argument("--size", type=int, default=32, help="crops in each shard")
    ap.add_argument("--first", type=int, default=0, help="number of the first shard: two processes may share the work")
    args = ap.parse_args()
    torch.set_num_threads(1)
    args.out.mkdir(parents=True, exist_ok=True)
    model, photos = zoo.load(args.model), Photos(args.data, args.out.parent / "data")
    if not (args.out / VALIDATION).exists():
        crops = photos.validation_crops(48, 256)
        Decoded.join([describe(model, c, int(level)) for c in crops for level in np.linspace(0.05, 0.9, 6) * MAX_LEVEL]).save(args.out / VALIDATION)
    for number in tqdm(range(args.first, args.shards), disable=None):
        path = args.out / f"shard-{number:03d}.safetensors"
        if not path.exists():
            shard(model, photos, (model.model_id, 6, number), args.size).save(path)


if __name__ == "__main__":
    main()
