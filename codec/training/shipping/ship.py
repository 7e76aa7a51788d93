"""Third stage: frozen tables counted from real encodes, weights file and manifest.

python -m codec.training.shipping.ship --data DIR --adapted RUN/last.pt --out codec/weights/vqvae-5.safetensors --id 5
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from codec.bitstream.container import MAX_LEVEL
from codec.coding.latents import LatentCoder
from codec.coding.model import Base, to_steps
from codec.coding.trellis import TRELLISES, Trellis
from codec.models import integer_export
from codec.models.vqvae import VQVAE
from codec.training.base.tables import Counts, analytic_tables, token_classes, token_tables
from codec.training.base.train import load_base
from codec.training.data.cache import check_outside, data_options
from codec.training.data.photos import Photos
from codec.training.run import described
from codec.training.shipping.manifest import check_id, write_manifest
from codec.training.told import told
from codec.zoo import read_model, write_model


@torch.no_grad()
def sort_codewords(model: VQVAE, seed: int) -> np.ndarray:
    """Orders the codebook by class, in place -> class of each codeword (K,)."""
    cls = token_classes(model.tokens.codebook.double().numpy(), np.random.default_rng((seed, 3)))
    order = torch.from_numpy(np.argsort(cls, kind="stable"))
    model.tokens.codebook.copy_(model.tokens.codebook[order])
    model.tokens.bits.copy_(model.tokens.bits[order])
    return cls[order.numpy()]


@torch.no_grad()
def token_pictures(model: VQVAE, photos: Photos) -> list[np.ndarray]:
    """Tokens (H/32, W/32) of every training photograph."""
    out = []
    for e in tqdm([e for e in photos.train if e.scale == 1.0], desc="tokens", disable=None):
        x = (
            torch.from_numpy(photos.pixels(e)[: e.height // 32 * 32, : e.width // 32 * 32].copy())
            .permute(2, 0, 1)[None]
            .float()
            / 255
            - 0.5
        )
        out.append(model.tokens.assign(model.g_a.linear(x), model.sd)[0].numpy())
    return out


@torch.no_grad()
def count(
    model: VQVAE,
    trellis: Trellis,
    integers: dict[str, np.ndarray],
    classes: np.ndarray,
    pictures: list[np.ndarray],
    photos: Photos,
    crops: int,
    rounds: int,
    seed: int,
) -> tuple[dict[str, np.ndarray], LatentCoder]:
    """Encodes crops of training photographs at random qualities, ``rounds`` times with better tables -> all integer
    arrays."""
    latent, token = analytic_tables(), token_tables(classes, pictures)
    for turn in range(rounds):
        coder, counts = LatentCoder(model.config, trellis, integers, latent, token), Counts()
        rng = np.random.default_rng((seed, 4, turn))
        for _ in tqdm(range(crops), desc=f"tables {turn + 1}", disable=None):
            x = torch.from_numpy(photos.crops(rng, 1, 256)).permute(0, 3, 1, 2).float() / 255
            level = int(rng.integers(MAX_LEVEL + 1))
            asked = to_steps(model, x, level)
            for sent in coder.quantise(asked.v[0].numpy(), asked.tokens[0].numpy(), level, asked.weight)[0]:
                counts.add(sent.table, sent.symbols, sent.r)
        latent = counts.tables()
    coder = LatentCoder(model.config, trellis, integers, latent, token)
    return {**integers, **latent.flat(), **token.flat()}, coder


def ship(adapted: Path, data: Path, cache: Path, out: Path, crops: int = 200, rounds: int = 3, seed: int = 0) -> Base:
    """Checkpoint of codec.training.base.adapt -> weights file; returns the model as it is read back."""
    model, state = load_base(adapted)
    model.eval()
    if state["quantizer"] not in TRELLISES:
        raise SystemExit(f"no file holds latents of the quantiser {state['quantizer']}")
    trellis = TRELLISES[state["quantizer"]]
    photos = Photos(data, cache)
    classes = sort_codewords(model, seed)
    integers = integer_export.export(model.prior, model.tokens, model.sd, model.log2_gain)
    arrays, _ = count(model, trellis, integers, classes, token_pictures(model, photos), photos, crops, rounds, seed)
    write_model(out, model, trellis.name, arrays)
    return read_model(out, 0)


@told
def main() -> None:
    ap = argparse.ArgumentParser(prog="codec.training.shipping.ship", description=__doc__.split("\n\n")[0])
    data_options(ap, "cache in the folder of --adapted")
    ap.add_argument(
        "--adapted",
        type=Path,
        required=True,
        help="last.pt of a run of codec.training.base.adapt, or adapted.pt of codec.training.base",
    )
    ap.add_argument("--report", type=Path, help="report.json of codec.training.base, for the record, instead of --base")
    ap.add_argument(
        "--base", type=Path, nargs="*", default=[], help="folders of the runs before it, in order, for the record"
    )
    ap.add_argument(
        "--begun-from",
        metavar="ID",
        help="model in the manifest whose weights the first of them began with: its stages are put before, for the record",
    )
    ap.add_argument("--out", type=Path, required=True)
    ap.add_argument(
        "--id", type=int, default=0, help="model id for the manifest beside the file, 1000 or more (0: no manifest)"
    )
    ap.add_argument("--crops", type=int, default=200)
    ap.add_argument(
        "--photographs",
        default="",
        metavar="TEXT",
        help="where the photographs are from and under which licences, for the record",
    )
    args = ap.parse_args()
    torch.set_num_threads(1)
    check_outside(args.out, args.data)
    check_id(args.id, args.out.parent)
    args.out.parent.mkdir(parents=True, exist_ok=True)
    cache = args.cache or args.adapted.parent / "cache"
    model = ship(args.adapted, args.data, cache, args.out, args.crops)
    print(f"{args.out}: {args.out.stat().st_size} bytes, table hash {model.table_hash:08x}")
    if args.id:
        record(args, Photos(args.data, cache).describe())


def record_filter(weights: Path, model_id: int, folder: Path) -> None:
    """Notes in manifest.json that a model has the filter of a run: its hash, and the run as the last stage."""
    entry = json.loads((weights.parent / "manifest.json").read_text())["models"][str(model_id)]
    found = described(folder)
    entry["stages"] = [s for s in entry["stages"] if s["command"] != found["command"]] + [found]
    write_manifest(weights, "models", str(model_id), {k: v for k, v in entry.items() if k not in ("file", "sha256")})


def record(args: argparse.Namespace, photographs: str) -> None:
    """Writes manifest.json beside the weights: file, hash, what it was trained on, and of each stage its recipe,
    steps, hardware and loss curve."""
    if args.report:
        stages = json.loads(args.report.read_text())["stages"]
    else:
        stages = [described(folder) for folder in (*args.base, args.adapted.parent)]
    if args.begun_from:
        stages = (
            json.loads((args.out.parent / "manifest.json").read_text())["models"][args.begun_from]["stages"] + stages
        )
    write_manifest(
        args.out,
        "models",
        str(args.id),
        {"data": photographs, **({"source": args.photographs} if args.photographs else {}), "stages": stages},
    )


if __name__ == "__main__":
    main()
