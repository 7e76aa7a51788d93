"""Weights files: how they are written, and how what the manifests list is loaded."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file
from torch import nn

from codec import manifest
from codec.bitstream.tables import LatentTables
from codec.coding.latents import LatentCoder
from codec.coding.model import Base
from codec.coding.stored import INTEGER, read_stored, smallest
from codec.coding.trellis import TRELLISES
from codec.errors import CodecError, UnsupportedError
from codec.manifest import Weights
from codec.models import integer_export, token_net
from codec.models.context import ClassConditioner
from codec.models.denoiser import DenoiserConfig
from codec.models.exact_bytes import fastest
from codec.models.filter import Filter
from codec.models.painter import PainterConfig
from codec.models.refiner import Refiner, RefinerConfig
from codec.models.restorer import Restorer
from codec.models.token_net import TokenNet
from codec.models.vqvae import VQVAE
from codec.whole import written

_FLOAT32 = ("lapped", "klt", "gain", "sd", "tokens")  # parts kept in float32; the other networks are float16
_EXACT = ("scale", "residual")  # parts of a restorer kept in float32
_FILTER = "g_s.filter."
_ROWS = ".rows"  # suffix of the scales of a matrix in 8 bits
_UNREADABLE = (OSError, KeyError, ValueError, TypeError, RuntimeError, SafetensorError)  # of a file that is no network


@dataclass(frozen=True)
class Labels:
    """Names of the class labels, and the conditioner that makes context tokens of their numbers."""

    names: tuple[str, ...]
    conditioner: ClassConditioner


def write_model(path: Path, model: VQVAE, trellis: str, integers: dict[str, np.ndarray]) -> None:
    """Stores float networks, integer arrays (prior and tables) and the configuration in one safetensors file."""
    arrays: dict[str, np.ndarray] = {}
    for name, value in model.state_dict().items():
        if not name.startswith("prior."):
            keep = any(part in name for part in _FLOAT32)
            arrays[name] = value.detach().cpu().contiguous().numpy().astype(np.float32 if keep else np.float16)
    for name, value in integers.items():
        arrays[INTEGER + name] = smallest(value)
    save_file(arrays, path, {"config": json.dumps(asdict(model.config)), "trellis": trellis})


def read_model(path: Path, model_id: int, device: torch.device | str = "cpu") -> Base:
    """Inverse of ``write_model``. Raises one of ``_UNREADABLE`` for a file that lacks an array or has another one."""
    stored = read_stored(path)
    model = VQVAE(stored.config)
    floats = {name: torch.from_numpy(value.astype(np.float32)) for name, value in stored.floats.items()}
    prior = {name: value for name, value in model.state_dict().items() if name.startswith("prior.")}
    model.load_state_dict({**floats, **prior})
    integer_export.restore(model.prior, stored.integers)
    model = model.to(device=device, memory_format=torch.channels_last).eval().requires_grad_(False)
    coder = LatentCoder(
        stored.config,
        TRELLISES[stored.trellis],
        stored.integers,
        LatentTables.from_flat(stored.integers),
        fastest(device, stored.config.arithmetic),
    )
    return Base(model_id, stored.table_hash, stored.config, model, coder)


def write_tokens(source: Path, out: Path, net: TokenNet) -> None:
    """Stores the model of ``source`` with another network for its tokens; everything else, and so every picture, stays
    as it is."""
    with safe_open(source, "numpy") as f:
        meta, arrays = (
            f.metadata(),
            {k: f.get_tensor(k) for k in f.keys() if not k.startswith(INTEGER + token_net.PREFIX)},
        )
    arrays |= {INTEGER + name: smallest(values) for name, values in token_net.export(net).items()}
    with written(out) as part:
        save_file(arrays, part, meta)


def write_filter(source: Path, out: Path, net: Filter) -> None:
    """Stores the model of ``source`` with another filter behind g_s; everything else, and so every file, stays as it
    is."""
    with safe_open(source, "numpy") as f:
        meta, arrays = f.metadata(), {k: f.get_tensor(k) for k in f.keys() if not k.startswith(_FILTER)}
    for name, value in net.state_dict().items():
        arrays[_FILTER + name] = value.detach().cpu().contiguous().numpy().astype(np.float16)
    config = {**json.loads(meta["config"]), "filter_width": net.stem.out_channels, "filter_blocks": len(net.body)}
    with written(out) as part:
        save_file(arrays, part, {**meta, "config": json.dumps(config)})


def quantised(w: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """float32 (n, ...) -> int8 of the same shape and float32 (n,): w is about the product, row by row; the error is
    at most half a step."""
    rows = np.abs(w.reshape(len(w), -1)).max(1) / 127
    rows = np.where(rows > 0, rows, 1).astype(np.float32)
    return np.rint(w / rows.reshape(-1, *[1] * (w.ndim - 1))).astype(np.int8), rows


def _in_bytes(net: nn.Module) -> dict[str, np.ndarray]:
    """Matrices in 8 bits with a scale for each row, the rest in half precision."""
    arrays: dict[str, np.ndarray] = {}
    for name, value in net.state_dict().items():
        w = value.detach().cpu().float().contiguous().numpy()
        if w.ndim >= 2 and w[0].size >= 16:
            arrays[name], arrays[name + _ROWS] = quantised(w)
        else:
            arrays[name] = w if name in _EXACT else w.astype(np.float16)
    return arrays


def _out_of_bytes(path: Path) -> dict[str, torch.Tensor]:
    """Inverse of ``_in_bytes``, float32."""
    arrays, rows = stored_restorer(path)
    state = {}
    for name, a in arrays.items():
        w = a.astype(np.float32)
        state[name] = torch.from_numpy(w * rows[name].reshape(-1, *[1] * (w.ndim - 1)) if a.dtype == np.int8 else w)
    return state


def write_restorer(path: Path, net: Restorer) -> None:
    """Stores a network of the semantic stage, in bytes."""
    meta = {
        "painter": asdict(net.painter.config),
        "denoiser": asdict(net.denoiser.config),
        "anchors": net.anchors,
        "codeword": net.hyper.project.in_features,
    }
    save_file(_in_bytes(net), path, {"restorer": json.dumps(meta)})


def stored_restorer(path: Path) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """What ``_in_bytes`` made: arrays, and the scales of the rows of those in 8 bits."""
    with safe_open(path, "numpy") as f:
        arrays = {k: f.get_tensor(k) for k in f.keys()}
    rows = {name.removesuffix(_ROWS): arrays.pop(name) for name in list(arrays) if name.endswith(_ROWS)}
    return arrays, rows


def read_restorer(path: Path, device: torch.device | str = "cpu") -> Restorer:
    """Inverse of ``write_restorer``. Raises CodecError for a file that is no such network."""
    try:
        with safe_open(path, "numpy") as f:
            meta = json.loads(f.metadata()["restorer"])
        net = Restorer(
            PainterConfig(**meta["painter"]), DenoiserConfig(**meta["denoiser"]), meta["anchors"], meta["codeword"]
        )
        net.load_state_dict(_out_of_bytes(path))
    except _UNREADABLE as error:
        raise CodecError(f"the weights {path.name} cannot be read: {error}") from error
    return net.to(device=device, memory_format=torch.channels_last).eval().requires_grad_(False)


def write_refiner(path: Path, net: Refiner) -> None:
    """Stores what lets an encoder look again, in bytes."""
    save_file(_in_bytes(net), path, {"refiner": json.dumps(asdict(net.config))})


def read_refiner(path: Path, device: torch.device | str = "cpu") -> Refiner:
    """Inverse of ``write_refiner``. Raises CodecError for a file that is no such network."""
    try:
        with safe_open(path, "numpy") as f:
            net = Refiner(RefinerConfig(**json.loads(f.metadata()["refiner"])))
        net.load_state_dict(_out_of_bytes(path))
    except _UNREADABLE as error:
        raise CodecError(f"the weights {path.name} cannot be read: {error}") from error
    return net.to(device=device, memory_format=torch.channels_last).eval().requires_grad_(False)


def weights_hash(weights: Weights, decoder: str, model_id: int) -> str:
    """First 8 hexadecimal digits of the SHA-256 of what a decoder uses: the base model's weights, then its own."""
    own = [] if decoder == "vq" else [weights.decoders[model_id][decoder]]
    paths = [weights.models[model_id], *own]
    return file_hash(*paths)


def file_hash(*paths: Path) -> str:
    """First 8 hexadecimal digits of the SHA-256 of files, one behind the other."""
    return hashlib.sha256(b"".join(path.read_bytes() for path in paths)).hexdigest()[:8]


def decoder_file(weights: Weights, name: str, model_id: int) -> Path:
    """Weights of a semantic decoder. Raises UnsupportedError where there are none for this model."""
    path = weights.decoders.get(model_id, {}).get(name)
    if path is None:
        raise UnsupportedError(
            f"model {model_id} has no decoder {name!r} (it has: {', '.join(weights.decoders_of(model_id))})"
        )
    return path


def load_restorer(weights: Weights, name: str, model_id: int, device: torch.device | str = "cpu") -> Restorer:
    """Network of a semantic decoder. Raises UnsupportedError where there are no weights for this model."""
    return read_restorer(decoder_file(weights, name, model_id), device)


def write_labels(path: Path, labels: Labels) -> None:
    """Stores a conditioner and the names of its labels."""
    save_file(
        {"tokens": labels.conditioner.tokens.detach().cpu().numpy().astype(np.float16)},
        path,
        {"names": json.dumps(labels.names)},
    )


def read_labels(path: Path, device: torch.device | str = "cpu") -> Labels:
    """Inverse of ``write_labels``. Raises CodecError for a file that is no such conditioner."""
    try:
        with safe_open(path, "numpy") as f:
            names, tokens = tuple(json.loads(f.metadata()["names"])), f.get_tensor("tokens").astype(np.float32)
        conditioner = ClassConditioner(len(names), *tokens.shape[1:])
        conditioner.load_state_dict({"tokens": torch.from_numpy(tokens)})
    except _UNREADABLE as error:
        raise CodecError(f"the labels {path.name} cannot be read: {error}") from error
    return Labels(names, conditioner.to(device).eval().requires_grad_(False))


def load_labels(weights: Weights, model_id: int, device: torch.device | str = "cpu") -> Labels:
    """Class labels of the ldm decoder. Raises UnsupportedError where there are none for this model."""
    if model_id not in weights.labels:
        raise UnsupportedError(f"there are no class labels for model {model_id}")
    return read_labels(weights.labels[model_id], device)


def find(model: str | int, weights: Weights) -> tuple[Path, int]:
    """File and id of a model; see ``load``."""
    if isinstance(model, str) and model != "default" and not model.isdigit():
        path = Path(model)
        if not path.is_file():
            raise CodecError(f"there is no model file {model}")
        return path, 0
    number = weights.number_of(model)
    return weights.models[number], number


def load(model: str | int = "default", device: torch.device | str = "cpu", weights: Weights | None = None) -> Base:
    """``model``: "default", an id, or the path of a file written by ``write_model`` (an experiment; its id is 0).

    ``weights``: what there is, by default in the package and the folders of LDC_WEIGHTS. Raises UnsupportedError for
    an id that is not there, CodecError for a file that is no model.
    """
    path, number = find(model, weights or manifest.read())
    try:
        return read_model(path, number, device)
    except _UNREADABLE as error:
        raise CodecError(f"the model file {path.name} cannot be read: {error}") from error
