"""Networks of the semantic stage into a folder of weights: python -m codec.training.restoration.ship --runs RUN ...
--out DIR/NAME-ID.safetensors

RUN ...: the folders of one network's trainings in order, each begun from the one before; the averaged weights of the
last one are written, and the record of all goes into manifest.json beside the file. NAME is ldm, gan, perceptual or
label (a run of codec.training.restoration.labels), ID the number of the perceptual model.
"""

from __future__ import annotations

import argparse
import csv
import json
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import load_file

from codec.models.context import ClassConditioner
from codec.models.denoiser import DenoiserConfig
from codec.models.painter import PainterConfig
from codec.models.restorer import Restorer
from codec.told import told
from codec.training.restoration.parts import FIRST, load_parts
from codec.training.shipping.manifest import check_id, write_manifest
from codec.zoo import Labels, write_labels, write_restorer


def meta(folder: Path) -> dict[str, str]:
    """What a run wrote beside its averaged weights."""
    path = folder / FIRST
    if not (folder / "log.csv").exists():
        raise SystemExit(f"there is no run in {folder}")
    if not path.exists():
        raise SystemExit(f"the run in {folder} has not ended: it has no averaged weights")
    with safe_open(path, "pt") as f:
        return f.metadata()


def restorer(folder: Path) -> Restorer:
    """Averaged weights of a run -> network."""
    said, state = meta(folder), load_parts(folder)
    config = json.loads(said["config"])
    net = Restorer(
        PainterConfig(**config["painter"]),
        DenoiserConfig(**config["denoiser"]),
        int(said["anchors"]),
        state["net.hyper.project.weight"].shape[1],
    )
    net.load_state_dict({k.removeprefix("net."): v for k, v in state.items() if k.startswith("net.")})
    return net.eval().requires_grad_(False)


def labels(folder: Path) -> Labels:
    """Averaged weights of a run of labels -> names and conditioner."""
    tokens = load_file(folder / FIRST)["tokens"].float()
    conditioner = ClassConditioner(*tokens.shape)
    conditioner.load_state_dict({"tokens": tokens})
    return Labels(tuple(json.loads(meta(folder)["names"])), conditioner)


def stage(folder: Path) -> dict[str, Any]:
    """What the manifest says of one run: settings, steps, seconds, hardware, and its loss curve."""
    said = meta(folder)
    with open(folder / "log.csv", newline="") as f:
        rows = list(csv.DictReader(f))
    curve = rows[:: max(1, len(rows) // 40)]
    machines = folder / "hardware.json"
    return {
        "command": f"python -m codec.training.restoration.{'labels' if 'names' in said else 'train ' + said['stage']}",
        "config": json.loads(said["config"]),
        "steps": int(said["step"]),
        "seconds": float(said["seconds"]),
        "hardware": json.loads(machines.read_text()) if machines.exists() else [],
        "loss_curve": [[int(r["step"]), float(r["loss"])] for r in curve],
    }


@told
def main() -> None:
    ap = argparse.ArgumentParser(prog="codec.training.restoration.ship", description=__doc__.split("\n\n")[0])
    ap.add_argument("--runs", type=Path, nargs="+", required=True)
    ap.add_argument("--out", type=Path, required=True)
    ap.add_argument("--photographs", default="", metavar="TEXT", help="what it was trained on, for the record")
    args = ap.parse_args()
    name, _, number = args.out.stem.rpartition("-")
    if not number.isdigit():
        ap.error("the name of --out is NAME-ID.safetensors")
    check_id(int(number), args.out.parent)
    args.out.parent.mkdir(parents=True, exist_ok=True)
    if "names" in meta(args.runs[-1]):
        found = labels(args.runs[-1])
        write_labels(args.out, found)
        kind, parameters = {"labels_of": "ldm"}, found.conditioner.tokens.numel()
    else:
        net = restorer(args.runs[-1])
        write_restorer(args.out, net)
        kind, parameters = (
            {"decoder": name},
            sum(p.numel() for part in (net.denoiser, net.painter, net.hyper, net.picture) for p in part.parameters()),
        )
    record = {
        "model": int(number),
        **kind,
        "parameters": parameters,
        **({"data": args.photographs} if args.photographs else {}),
        "stages": [stage(run) for run in args.runs],
    }
    write_manifest(args.out, "semantic", args.out.stem, record)
    print(f"{args.out}: {args.out.stat().st_size} bytes, {parameters} parameters that decode")


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
