"""A folder of weights with a small untrained model, as a user's own training makes it."""

import hashlib
import json
from pathlib import Path

import torch

from codec.zoo import write_model, write_restorer
from tests.support.small import network, small_coder, small_model

ID = 1000


def weights_folder(path: Path) -> Path:
    """path: an empty folder -> itself, with a model of id ID and its decoder ldm."""
    model = small_model()
    with torch.no_grad():
        for name, p in model.g_s.named_parameters():
            if "lapped" not in name:  # also where training starts at 0
                p.add_(torch.randn_like(p) * 0.02)
    coder, arrays = small_coder(model)
    file = path / "model.safetensors"
    write_model(file, model, "tcq128", {**arrays, **coder.latent.flat(), **coder.tokens.flat()})
    entry = {"file": file.name, "sha256": hashlib.sha256(file.read_bytes()).hexdigest()}
    write_restorer(path / "ldm.safetensors", network())
    restorer = {"file": "ldm.safetensors", "model": ID, "decoder": "ldm"}
    (path / "manifest.json").write_text(json.dumps({"models": {str(ID): entry}, "semantic": {"ldm": restorer}}))
    return path
