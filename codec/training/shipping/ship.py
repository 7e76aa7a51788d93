"""Third stage: frozen tables counted from real encodes, weights file and manifest.

python -m codec.training.shipping.ship --data DIR --adapted RUN/last.pt --out codec/weights/vqvae-6.safetensors --id 6
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
from codec.models import integer_export, token_net
from codec.models.vqvae import VQVAE
from codec.told import told
from codec.training.base import train_tokens
from codec.training.base.tables import Counts, analytic_tables
from codec.training.base.train import load_base
from codec.training.base.train_tokens import TokenTraining
from codec.training.config import configure
from codec.training.data.cache import check_outside, data_options
from codec.training.data.photos import Photos
from codec.training.run import described
from codec.training.shipping.manifest import check_id, write_manifest
from codec.zoo import read_model, write_model

TOKENS = "tokens"  # folder of the training of the token network, beside the checkpoint


@torch.no_grad()
def count(
    model: VQVAE,
    trellis: Trellis,
    integers: dict[str, np.ndarray],
    photos: Photos,
    crops: int,
    rounds: int,
    seed: int,
) -> dict[str, np.ndarray]:
    """Encodes crops of training photographs at random qualities, ``rounds`` times with better tables -> all integer
    arrays."""
    latent = analytic_tables()
    for turn in range(rounds):
        coder, counts = LatentCoder(model.config, trellis, integers, latent), Counts()
        rng = np.random.default_rng((seed, 4, turn))
        for _ in tqdm(range(crops), desc=f"tables {turn + 1}", disable=None):
            x = torch.from_numpy(photos.crops(rng, 1, 256)).permute(0, 3, 1, 2).float() / 255
            level = int(rng.integers(MAX_LEVEL + 1))
            asked = to_steps(model, x, level)
            for sent in coder.quantise(asked.v[0].numpy(), asked.tokens[0].numpy(), level, asked.weight)[0]:
                counts.add(sent.table, sent.symbols, sent.r)
        latent = counts.tables()
    return {**integers, **latent.flat()}


def ship(
    adapted: Path,
    data: Path,
    cache: Path,
    out: Path,
    crops: int = 200,
    rounds: int = 3,
    seed: int = 0,
    tokens: TokenTraining = TokenTraining(),  # noqa: B008  frozen
) -> Base:
    """Checkpoint of codec.training.base.adapt -> weights file; returns the model as it is read back. The network of the
    tokens is trained beside the checkpoint, and resumed there."""
    model, state = load_base(adapted)
    model.eval()
    if state["quantizer"] not in TRELLISES:
        raise SystemExit(f"no file holds latents of the quantiser {state['quantizer']}")
    trellis = TRELLISES[state["quantizer"]]
    photos = Photos(data, cache)
    net = train_tokens.train(tokens, model, [photos], adapted.parent / TOKENS)
    integers = integer_export.export(model.prior, model.tokens, model.sd, model.log2_gain) | token_net.export(net)
    write_model(out, model, trellis.name, count(model, trellis, integers, photos, crops, rounds, seed))
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
    ap.add_argument("--tokens", type=Path, help="TOML file with settings of the training of the token network")
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
    tokens = configure(TokenTraining(), args.tokens, [])
    model = ship(args.adapted, args.data, cache, args.out, args.crops, tokens=tokens)
    print(f"{args.out}: {args.out.stat().st_size} bytes, table hash {model.table_hash:08x}")
    if args.id:
        record(args, Photos(args.data, cache).describe())


def record(args: argparse.Namespace, photographs: str) -> None:
    """Writes manifest.json beside the weights: file, hash, what it was trained on, and of each stage its recipe,
    steps, hardware and loss curve."""
    if args.report:
        stages = json.loads(args.report.read_text())["stages"]
    else:
        stages = [described(folder) for folder in (*args.base, args.adapted.parent)]
    stages.append(described(args.adapted.parent / TOKENS))
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
