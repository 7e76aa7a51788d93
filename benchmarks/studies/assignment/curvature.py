"""How far the synthesis is from an orthonormal one: python -m benchmarks.studies.assignment.curvature --data DIR
--cache DIR [--count N] [--out results]

Around what effort 1 sends of crops of training photographs, filter included. Writes OUT/assignment_curvature.csv: for
each level and group of channels `curvature`, the squared length of a small change of a latent in the picture, in that
of an orthonormal synthesis (the diagonal of J^T J, by random signs in the picture: Hutchinson 1990), and `answer`, what
a squared step of the error that the quantiser really makes is worth, in the same unit: the slope of the squared error
of the picture along v_hat, by least squares on v_hat - mu, v - mu and mu.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from tqdm import tqdm

from benchmarks.harness.frames import write_frame
from benchmarks.harness.told import count, told
from codec import zoo
from codec.bitstream.tables import UNIT
from codec.coding.model import Base
from codec.training.data.cache import check_outside, data_options
from codec.training.data.photos import Photos, to_tensor

LEVELS = (800, 1600, 2880, 4480, 5888)
SIZE, PROBES = 256, 2


def around(base: Base, crop: np.ndarray, level: int) -> list[tuple[float, np.ndarray, np.ndarray]]:
    """crop (S, S, 3) uint8 -> of each group the curvature, and of its coded latents, (3, N) and (N,): v_hat - mu, v -
    mu and mu in steps; half the slope of the squared error over the squared step."""
    net, x = base.vqvae, to_tensor(crop[None])
    asked = base.to_steps(x, level)
    v = asked.v[0].numpy()
    sent, v_hat = base.coder.quantise(v, asked.tokens[0].numpy(), level, asked.weight)
    mu, coded = np.zeros_like(v), np.zeros(v.shape, bool)
    for one in sent:
        g, p = base.config.groups[one.asked.group], one.asked
        mu[g.start : g.stop, p.rows, p.columns] = p.mu.T / UNIT
        coded[g.start : g.stop, p.rows, p.columns] = p.scale.T > 0
    y_hat = base.from_steps(v_hat, level).requires_grad_(True)
    with torch.enable_grad():
        x_hat = net.synthesise(y_hat, asked.position)
        lengths = torch.zeros_like(y_hat)
        for _ in range(PROBES):
            signs = torch.randint(0, 2, x_hat.shape).mul(2).sub(1).to(x_hat)
            lengths += torch.autograd.grad(x_hat, y_hat, signs, retain_graph=True)[0].square() / PROBES
        (slope,) = torch.autograd.grad((x_hat - x).square().sum(), y_hat)
    step = torch.exp2(net.interpolate(net.log2_igain, asked.position))
    half = (slope / (2 * step))[0].numpy()
    out = []
    for g in base.config.groups:
        part = slice(g.start, g.stop)
        on, expected = coded[part], mu[part]
        terms = np.stack([a[on] for a in (v_hat[part] / UNIT - expected, v[part] - expected, expected)])
        out.append((lengths[0, part].mean().item(), terms, half[part][on]))
    return out


def measure(base: Base, crops: np.ndarray) -> pd.DataFrame:
    """-> level, group, coded (share of the latents), curvature, answer (empty where next to nothing is coded)."""
    rows, groups = [], base.config.groups
    for level in tqdm(LEVELS, disable=None):
        found = [around(base, crop, level) for crop in crops]
        for number, g in enumerate(groups):
            curvature = np.mean([one[number][0] for one in found])
            terms, half = (np.concatenate([one[number][k] for one in found], -1) for k in (1, 2))
            answer = np.linalg.lstsq(terms.T, half, rcond=None)[0][0] if len(half) > 1000 else np.nan
            share = len(half) / (len(crops) * (g.stop - g.start) * (SIZE // 16) ** 2)
            rows.append({"level": level, "group": f"{g.start}-{g.stop - 1}", "coded": share, "curvature": curvature, "answer": answer})  # fmt: skip
    return pd.DataFrame(rows)


@told
def main() -> None:
    ap = argparse.ArgumentParser(prog="benchmarks.studies.assignment.curvature", description=__doc__.split(":")[0])
    data_options(ap, default=None)
    ap.add_argument("--count", type=count, default=6, help="crops")
    ap.add_argument("--out", type=Path, default=Path("results"))
    args = ap.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    check_outside(args.out, args.data)
    crops = Photos(args.data, args.cache).crops(np.random.default_rng(77), args.count, SIZE)
    found = measure(zoo.load(), crops)
    args.out.mkdir(parents=True, exist_ok=True)
    write_frame(found, args.out / "assignment_curvature.csv", float_format="%.3f")
    print(found.to_string(index=False))


if __name__ == "__main__":
    main()
