"""Variational bound of the semantic decoder in bits/dim: python -m codec.training.restoration.nll --images DIR --out
DIR [--quality 22 ...]

The stream is one code of the picture (its bytes are counted as they are), the chain of the diffusion model given the
stream a second, the pixels given the clean latents a third:

    -log2 p(x) <= bits(stream) + KL(q(s_T) || p) + sum_t KL(q(s_u | s_t, s) || p(s_u | s_t)) - log2 p(x | P(s + noise
    at sigma_min))

(Ho et al. 2020, eq. 5; Kingma et al. 2021, eq. 13.) nll.csv has the three parts for each picture; progressive.csv the
progressive lossy coding curve (Ho et al. 2020, figure 5): what a receiver can show after each section of the stream
(part "perceptual"), then after each level of the chain ("semantic").
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

import codec
from codec import manifest, zoo
from codec.bitstream.container import parse, read_header
from codec.coding.padding import SIDE
from codec.diffusion.elbo import chain
from codec.diffusion.noise import unit_noise
from codec.diffusion.precondition import Preconditioned
from codec.diffusion.schedule import log_uniform
from codec.errors import CodecError
from codec.image import read
from codec.models.restorer import Restorer
from codec.restoration import restore
from codec.told import told

SCALES = 2.0 ** np.arange(-2, 6, 0.25)  # of the pixel likelihood: a picture says which in 5 bits
LEVELS = 25


@dataclass(frozen=True)
class Point:
    """image, quality, part (perceptual or semantic), step (section or level), sigma (of the level, else 0),
    bits_per_dim from the beginning, rmse of what can be shown."""

    image: str
    quality: float
    part: str
    step: int
    sigma: float
    bits_per_dim: float
    rmse: float


@dataclass(frozen=True)
class Bound:
    """Bits/dim of a picture: of the stream, of the latents given it, of the pixels given those; their sum bounds its
    negative log likelihood."""

    image: str
    quality: float
    stream: float
    latents: float
    pixels: float
    total: float


def pixel_bits(x: np.ndarray, x_hat: np.ndarray) -> float:
    """uint8 pictures -> bits of x under a logistic around x_hat, integrated over the cell of each value; the tails
    belong to 0 and 255."""
    error, count = np.unique(np.stack([x.astype(np.int16) - x_hat, x], -1).reshape(-1, 2), axis=0, return_counts=True)
    d, value = error[:, 0].astype(np.float64), error[:, 1]
    costs = []
    for s in SCALES:
        upper = np.where(value == 255, 1.0, 1 / (1 + np.exp(-np.clip((d + 0.5) / s, -500, 500))))
        lower = np.where(value == 0, 0.0, 1 / (1 + np.exp(-np.clip((d - 0.5) / s, -500, 500))))
        costs.append(-(count * np.log2(np.maximum(upper - lower, 1e-300))).sum())
    return float(min(costs)) + np.log2(len(SCALES))


def rmse(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.sqrt(np.square(a.astype(np.float64) - b).mean()))


def stream_points(c: codec.Codec, name: str, x: np.ndarray, data: bytes, quality: float) -> Iterator[Point]:
    """Prefixes of the file that end with a section."""
    info = read_header(data)
    end = info.header_bytes
    for k, size in enumerate(info.section_bytes):
        end += size
        yield Point(name, quality, "perceptual", k, 0.0, 8 * end / x.size, rmse(x, c.decode_array(data, max_bytes=end)))


@torch.inference_mode()
def measure(
    c: codec.Codec, restorer: Restorer, name: str, x: np.ndarray, quality: float, seed: int = 0
) -> tuple[list[Point], Bound]:
    """restorer: of the decoder ldm. x (H, W, 3) uint8, H and W multiples of 32."""
    net = c.model.vqvae
    data = c.encode(x, quality=quality, lossless=False)
    points = list(stream_points(c, name, x, data, quality))
    header = parse(data).header
    tokens, _ = c.model.coder.decode(parse(data).sections, x.shape[0] // 16, x.shape[1] // 16, header.level)
    position = c.model.position(header.level)
    original, x_c = (torch.from_numpy(a.copy()).permute(2, 0, 1)[None].float() / 255 for a in (x, c.decode_array(data)))
    codewords = net.tokens.centroids(net.sd)[torch.from_numpy(tokens)].permute(2, 0, 1)[None]
    condition = restore.conditioned(restorer, x_c, float(position), codewords, restore.Options())
    denoise, s = Preconditioned(restorer), restorer.encode(original, condition)

    def noise(i: int) -> torch.Tensor:
        return unit_noise(seed, i, s.shape[1], (0, s.shape[2]), (0, s.shape[3]))[None]

    def shown(latent: torch.Tensor) -> np.ndarray:
        x_hat = restore.paint(restorer, latent, condition, lambda done: None)
        return x_hat[0].clamp(0, 1).mul(255).round().byte().permute(1, 2, 0).numpy()

    bits, sigmas = 8.0 * len(data), log_uniform(LEVELS, restore.SIGMA_MIN, restore.SIGMA_MAX)[:-1]
    for k, (sigma, part, denoised) in enumerate(
        chain(lambda z, level: denoise(z, level, condition=condition), s, sigmas, noise)
    ):
        bits += float(part)
        if k % 2 == 0:
            points.append(Point(name, quality, "semantic", k, sigma, bits / x.size, rmse(x, shown(denoised))))
    latents = (bits - 8 * len(data)) / x.size
    pixels = pixel_bits(x, shown(s + float(sigmas[-1]) * noise(LEVELS))) / x.size
    stream = 8 * len(data) / x.size
    return points, Bound(name, quality, stream, latents, pixels, stream + latents + pixels)


def write(path: Path, rows: list) -> None:
    with open(path, "w", newline="") as f:
        out = csv.DictWriter(f, [field.name for field in fields(rows[0])])
        out.writeheader()
        out.writerows({k: f"{v:.6g}" if isinstance(v, float) else v for k, v in asdict(row).items()} for row in rows)


def opened(path: Path) -> np.ndarray:
    """Pixels of a picture. Raises SystemExit for a file that is none, or too small."""
    try:
        x = read.load(path).rgb
    except CodecError as error:
        raise SystemExit(f"{path}: {error}") from None
    if min(x.shape[:2]) < SIDE:
        raise SystemExit(f"{path}: both sides need {SIDE} pixels")
    return x[: x.shape[0] // SIDE * SIDE, : x.shape[1] // SIDE * SIDE]


@told
def main() -> None:
    ap = argparse.ArgumentParser(prog="codec.training.restoration.nll", description=__doc__.split("\n\n")[0])
    ap.add_argument("--images", type=Path, required=True)
    ap.add_argument("--out", type=Path, required=True, help="folder for nll.csv and progressive.csv")
    ap.add_argument("--quality", type=float, nargs="+", default=[22.0])
    ap.add_argument("--limit", type=int, help="only so many pictures")
    ap.add_argument("--threads", type=int, default=1)
    args = ap.parse_args()
    paths = sorted(p for p in args.images.iterdir() if read.has_picture_suffix(p))[: args.limit]
    if not paths:
        raise SystemExit(f"there are no pictures in {args.images}")
    c = codec.load(threads=args.threads)
    restorer = zoo.load_restorer(manifest.read(), "ldm", c.model_id)
    args.out.mkdir(parents=True, exist_ok=True)
    points, bounds = [], []
    for path in tqdm(paths, disable=None):
        x = opened(path)
        for quality in args.quality:
            more, bound = measure(c, restorer, path.name, x, quality)
            points += more
            bounds.append(bound)
        write(args.out / "progressive.csv", points)
        write(args.out / "nll.csv", bounds)
    for quality in args.quality:
        values = [[b.stream, b.latents, b.pixels, b.total] for b in bounds if b.quality == quality]
        print(
            f"quality {quality:g}: stream {np.mean(values, 0)[0]:.4f} + latents {np.mean(values, 0)[1]:.4f} + pixels {np.mean(values, 0)[2]:.4f} = {np.mean(values, 0)[3]:.4f} bits/dim"
        )


if __name__ == "__main__":
    main()
