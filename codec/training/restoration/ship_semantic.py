"""Weights of the semantic decoders into the package: python -m codec.training.restoration.ship_semantic --runs RUN ... --out codec/weights/NAME-ID.safetensors

RUN ...: the folders of one network's trainings in order, each begun from the one before; the averaged weights of the last one are written, and the
recipe of all goes into manifest.json beside the file. NAME is ldm, gan, perceptual or label (a run of train_labels), ID the number of the perceptual model.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import torch

from codec.models.context import ClassConditioner
from codec.models.denoiser import DenoiserConfig
from codec.models.semantic import Semantic
from codec.training.data.shards import CROP
from codec.training.shipping.manifest import write_manifest
from codec.training.shipping.ship import stage
from codec.zoo import Labels, write_labels, write_semantic


@torch.no_grad()
def averaged(state: dict) -> Semantic | ClassConditioner:
    """Checkpoint of a run -> network, or conditioner of labels, with averaged weights."""
    net = ClassConditioner(*state["model"]["tokens"].shape) if "names" in state else Semantic(DenoiserConfig(**state["config"]), state["anchors"], state["codeword"])
    net.load_state_dict(state["model"])
    for p, mean in zip(net.parameters(), state["ema"], strict=True):
        p.copy_(mean)
    return net.eval()


def main() -> None:
    ap = argparse.ArgumentParser(prog="codec.training.restoration.ship_semantic", description=__doc__.split("\n")[0])
    ap.add_argument("--runs", type=Path, nargs="+", required=True)
    ap.add_argument("--begun-from", metavar="NAME-ID", help="network in the manifest whose weights the first of them began with: its stages are put before, for the record")
    ap.add_argument("--out", type=Path, required=True)
    args = ap.parse_args()
    state = torch.load(args.runs[-1] / "last.pt", weights_only=True, map_location="cpu")
    net = averaged(state)
    if "names" in state:
        write_labels(args.out, Labels(tuple(state["names"]), net))
    else:
        write_semantic(args.out, net)
    name, _, number = args.out.stem.rpartition("-")
    if not number.isdigit():
        ap.error("the name of --out is NAME-ID.safetensors")
    record = {
        "model": int(number),
        **({"labels_of": "ldm"} if "names" in state else {"decoder": name}),
        "parameters": sum(p.numel() for p in net.parameters()),
        "data": f"random {CROP}x{CROP} crops of the photographs of the base model, their latents under it",
        "stages": (json.loads((args.out.parent / "manifest.json").read_text())["semantic"][args.begun_from]["stages"] if args.begun_from else []) + [stage(run) for run in args.runs],
    }
    write_manifest(args.out, "semantic", args.out.stem, record)
    print(f"{args.out}: {args.out.stat().st_size} bytes, {record['parameters']} parameters")


if __name__ == "__main__":
    main()
