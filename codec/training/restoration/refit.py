"""A semantic decoder for the latents of another perceptual model: python -m codec.training.restoration.refit --latents DIR --base RUN/last.pt --weights NAME-OLD.safetensors --out NAME-NEW.safetensors

The network stays as it is; the scales it works in (of the residual by quality, and of the latents) are measured again on the new latents. For a perceptual model
that was only trained on: where the validation of a training that begins with these weights does not fall, this is all there is to do. Class labels have no scales and are copied.
manifest.json beside the weights gets the record of the old network, and which it was.
"""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path

import torch

from codec.models.semantic import Semantic
from codec.training.base.adapt import load_adapted
from codec.training.restoration.restore import Store
from codec.training.shipping.manifest import write_manifest
from codec.zoo import read_semantic, write_semantic


def refit(old: Semantic, store: Store) -> Semantic:
    """-> a network with the parameters of ``old`` and the scales of the store's latents. Raises SystemExit for a model of another shape."""
    net = Semantic(old.network.config, store.anchors, store.vqvae.tokens.codebook.shape[1])
    try:
        net.load_state_dict(old.state_dict())
    except RuntimeError:
        raise SystemExit("the network is for a perceptual model of another shape") from None
    store.fit(net)
    return net


def main() -> None:
    ap = argparse.ArgumentParser(prog="codec.training.restoration.refit", description=__doc__.split(":")[0])
    ap.add_argument("--latents", type=Path, required=True, help="folder made by codec.training.restoration.latents")
    ap.add_argument("--base", type=Path, required=True, help="last.pt of the run of codec.training.base.adapt that the latents are of")
    ap.add_argument("--weights", type=Path, required=True, help="the decoder's weights for the old model, with its entry in manifest.json beside it")
    ap.add_argument("--out", type=Path, required=True, help="weights file for the new model")
    args = ap.parse_args()
    torch.set_num_threads(1)
    before = json.loads((args.weights.parent / "manifest.json").read_text())["semantic"].get(args.weights.stem)
    if before is None:
        raise SystemExit(f"manifest.json says nothing of {args.weights.stem}")
    if "labels_of" in before:
        shutil.copyfile(args.weights, args.out)
    else:
        write_semantic(args.out, refit(read_semantic(args.weights), Store(args.latents, load_adapted(args.base)[0])).eval())
    write_manifest(args.out, "semantic", args.out.stem, {k: v for k, v in before.items() if k not in ("file", "sha256")} | {"model": int(args.out.stem.rpartition("-")[2]), "refitted_from": args.weights.stem})
    print(f"{args.out}: {args.out.stat().st_size} bytes")


if __name__ == "__main__":
    main()
