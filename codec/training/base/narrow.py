"""The prior's networks in narrow arithmetic: the last stage of the base, of its prior alone.

    python -m codec.training.base.narrow --data DIR --base FILE --out DIR [NAME=VALUE ...]

FILE: last.pt of a run of codec.training.base.adapt, adapted.pt of codec.training.base, or a weights file. Codes of
crops are made once, with the prior as it is. Networks that round and clip like the exact arithmetic then learn to say
of each latent what its networks say: the loss is what the difference costs, as a share of the rate. Killed and started
again with the same --out, it goes on where it was.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from tqdm import tqdm

from codec.layers.block import leaky
from codec.models.config import VQVAEConfig
from codec.models.exact import NARROW
from codec.models.narrow import Layer, NarrowNet
from codec.models.prior import ContextNet, Prior, PriorOutput
from codec.models.transforms import level_features
from codec.models.vqvae import VQVAE
from codec.told import told
from codec.training.base.adapt import Sender, codes, make_sender
from codec.training.base.train import LEVELS, load_base
from codec.training.config import configure, options
from codec.training.cuda_graph import Recorded
from codec.training.data.cache import check_run, data_options
from codec.training.data.packs import Mixture, Packs, fine_option, open_packs
from codec.training.data.photos import to_tensor
from codec.training.data.shards import Shard, networks
from codec.training.loop import Done, Every, Loop, Stage
from codec.training.processes import place
from codec.training.run import Run, leave
from codec.zoo import read_model

HELD_OUT = 8  # photographs to validate with
UNIFORM = 1 / 12  # variance of a uniform error of a step: what is finer than that is not worth bits
REACHED = 0.9998  # share of the values between two layers that are not clipped at first
HEADROOM = 1.25  # of the largest running sum that was seen


@dataclass(frozen=True)
class NarrowConfig(Mixture):
    """steps, seconds, batch, warmup, ema, bf16, validate, save, seed: as in TrainConfig; crops: how many are coded;
    crop: their side in pixels; lr: of Adam, in units of a weight."""

    steps: int = 3000
    seconds: float = 0.0
    batch: int = 4
    crops: int = 800
    crop: int = 256
    lr: float = 0.004
    warmup: int = 50
    ema: float = 0.99
    bf16: bool = True
    validate: int = 500
    save: int = 250
    seed: int = 3


@dataclass(frozen=True)
class Codes(Shard):
    """Of N crops: tokens (N, h/2, w/2) int16, v_hat (N, C, h, w) float32 in steps, what the prior said of them: error
    (N, C, h, w) float16, v_hat less mu, and log2_sigma (N, C, h, w) float16; level (N,) float32: position among the
    anchors, bits (N,) float32 of the latents."""

    tokens: np.ndarray
    v_hat: np.ndarray
    error: np.ndarray
    log2_sigma: np.ndarray
    level: np.ndarray
    bits: np.ndarray


Pictures = Iterable[tuple[torch.Tensor, torch.Tensor]]  # x (B, 3, S, S) in 0..1 and level (B,), batch by batch


def code(model: VQVAE, sender: Sender, pictures: Pictures) -> Codes:
    """Pictures -> their codes by the prior of the model. The sender's counts are as before."""
    parts, device, held = [], model.sd.device, sender.state()
    for x, level in tqdm(pictures, desc="codes", disable=None):
        tokens, out, bits = codes(model, sender, x.to(device), level.to(device))
        found = tokens.short(), out.v_hat, (out.v_hat - out.mu).half(), out.log2_sigma.half(), level, bits.float()
        parts.append(Codes(*(t.cpu().numpy() for t in found)))
    sender.restore(held)
    return Codes.join(parts)


@dataclass(frozen=True)
class Batch:
    """What a prior sees of some crops, the mu and log2_sigma it said of them, and bits (B,) that they are taken to
    have."""

    v_hat: torch.Tensor
    mu: torch.Tensor
    log2_sigma: torch.Tensor
    spread: torch.Tensor
    values: torch.Tensor
    powers: torch.Tensor
    bits: torch.Tensor


class Known:
    """Codes where the training is."""

    def __init__(self, model: VQVAE, found: Codes) -> None:
        self._model, self.count, device = model, len(found.level), model.sd.device
        self.tokens = torch.from_numpy(found.tokens.astype(np.int64)).to(device)
        arrays = found.v_hat, found.error, found.log2_sigma, found.level
        self._v_hat, self._error, self._log2_sigma, self.level = (torch.from_numpy(a).to(device) for a in arrays)
        self.bits = torch.from_numpy(usual(found.level, found.bits)).float().to(device)

    @torch.no_grad()
    def batch(self, at: np.ndarray | slice) -> Batch:
        where = at if isinstance(at, slice) else torch.from_numpy(at).to(self.level.device)
        model, level = self._model, self.level[where]
        values = model.tokens.values(self.tokens[where], model.sd)
        powers = level_features(level, model.config.anchors)
        v_hat = self._v_hat[where]
        mu, log2_sigma = v_hat - self._error[where].float(), self._log2_sigma[where].float()
        return Batch(v_hat, mu, log2_sigma, model.spread(level), values, powers, self.bits[where])


def usual(level: np.ndarray, bits: np.ndarray) -> np.ndarray:
    """Mean bits of the crops of about the level of each."""
    near = np.rint(level).astype(int)
    count = np.bincount(near)
    mean = np.bincount(near, bits) / np.maximum(count, 1)
    there = np.flatnonzero(count)
    return np.exp(np.interp(level, there, np.log(mean[there] + 1)))


def expect(prior: Prior, seen: Batch) -> PriorOutput:
    """What a prior says of latents that are known."""

    def known(part: torch.Tensor, mu: torch.Tensor, ls: torch.Tensor, group: Any, mask: torch.Tensor) -> torch.Tensor:
        return part * mask

    return prior(seen.v_hat, seen.spread, seen.values, seen.powers, known)


def excess(seen: Batch, found: PriorOutput) -> torch.Tensor:
    """Bits (B,) that latents cost more if what was found of them is used instead of what was said: the divergence of
    Gaussians that a uniform error of a step has widened. Where sigma is small that is what the error of mu costs in
    distortion, at the exchange rate of a uniform quantiser."""
    a, b = (torch.exp2(2 * out.log2_sigma.clamp(-4, 9)) + UNIFORM for out in (seen, found))
    nats = 0.5 * (torch.log(b / a) + (a + (seen.mu - found.mu).square()) / b - 1)
    return nats.sum((1, 2, 3)) / math.log(2)


def reached(net: ContextNet, x: torch.Tensor, share: float) -> list[torch.Tensor]:
    """features (B, inputs, h, w) -> magnitudes (channels,) of the running sum, and of a, d and f of every block those
    that this share of the values does not exceed."""

    def of(v: torch.Tensor, share: float = share) -> torch.Tensor:
        return torch.quantile(v.transpose(0, 1).flatten(1).abs(), share, dim=1)

    x, found = leaky(net.stem(x)), []
    most = of(x, 1.0)
    for block in net.body:
        a = leaky(block.a(x))
        d = leaky(block.d(a.clone()))
        x = x + block.b(d)
        most = torch.maximum(most, of(x, 1.0))
        f = leaky(block.f(x))
        found += [of(a), of(d), of(f)]
        x = x + block.g(f)
        most = torch.maximum(most, of(x, 1.0))
    return [most, *found]


def take(narrow: NarrowNet, net: ContextNet, inputs: torch.Tensor, limits: list[torch.Tensor]) -> None:
    """Sets a narrow network to what comes nearest to another one. inputs (inputs,): units of the features; limits:
    magnitudes that activations are to hold, as of ``reached``."""
    whole = NARROW.clip / (HEADROOM * limits[0]).clamp(min=1e-3)
    rest = iter(NARROW.hidden / limit.clamp(min=1e-3) for limit in limits[1:])

    def layer(to: Layer, of: nn.Module, before: torch.Tensor, after: torch.Tensor | float) -> None:
        w, after = of.weight, torch.as_tensor(after, device=of.weight.device).expand(len(of.weight))
        to.take(
            w * after[:, None, None, None] / before.view(-1 if to.groups > 1 else 1, w.shape[1], 1, 1), of.bias * after
        )

    layer(narrow.stem, net.stem, inputs, whole)
    for to, of in zip(narrow.body, net.body, strict=True):
        a, d, f = next(rest), next(rest), next(rest)
        layer(to.a, of.a, whole, a), layer(to.d, of.d, a, d), layer(to.b, of.b, d, whole)
        layer(to.f, of.f, whole, f), layer(to.g, of.g, f, whole)
    layer(narrow.head, net.head, whole, 2.0**NARROW.head)


@torch.no_grad()
def narrowed(prior: Prior, known: Known, batches: int = 4, size: int = 8, share: float = REACHED) -> Prior:
    """A prior of narrow networks that come nearest to those of another one, by what it sees in some codes."""
    config = dataclasses.replace(prior.config, arithmetic="narrow")
    out, limits = Prior(config).to(known.level.device), []

    def look(number: int):
        def hook(net: ContextNet, given: tuple[torch.Tensor, ...]) -> None:
            found = reached(net, given[0], share)
            if number == len(limits):
                limits.append(found)
            else:
                limits[number] = [torch.maximum(a, b) for a, b in zip(limits[number], found, strict=True)]

        return hook

    hooks = [net.register_forward_pre_hook(look(i)) for i, net in enumerate(prior.nets)]
    for k in range(batches):
        expect(prior, known.batch(np.arange(k, known.count, max(1, known.count // size))[:size]))
    for hook in hooks:
        hook.remove()
    for i, (to, of) in enumerate(zip(out.nets, prior.nets, strict=True)):
        take(to, of, units(config, of.stem.in_channels).to(known.level.device), limits[i])
    out.smooth.load_state_dict(prior.smooth.state_dict())
    return out


def units(config: VQVAEConfig, inputs: int) -> torch.Tensor:
    """(inputs,): integers in one of what a network sees, in the order of ``Prior.features``."""
    tokens, rest = config.token_channels, 4
    out = torch.full((inputs,), 2.0**NARROW.seen)
    out[inputs - rest - tokens : inputs - rest] = 2.0**NARROW.tokens
    out[inputs - rest :] = 2.0**NARROW.powers
    return out


class NarrowStage(Stage):
    """The networks of a narrow prior, on what another one says of some codes."""

    def __init__(self, config: NarrowConfig, prior: Prior, known: Known, held_out: Known) -> None:
        self._config, self.module = config, prior
        self._known, self._held_out = known, held_out
        prior.smooth.requires_grad_(False)
        moved = [p for p in prior.parameters() if p.requires_grad]
        self.optimisers = [torch.optim.Adam(moved, lr=config.lr, betas=(0.9, 0.98), fused=True)]
        self.optimisers[0].param_groups[0]["peak"] = config.lr
        self._gradients = Recorded(self._backward, record=known.level.device.type == "cuda")
        self.facts = {"narrow": dataclasses.asdict(prior.config)}

    def rate(self, done: Done) -> float:
        return min(1.0, (done.steps + 1) / self._config.warmup) * (1 - done.share)

    def forget(self) -> None:
        self._gradients.forget()

    def _share(self, seen: Batch) -> torch.Tensor:
        """What the narrow networks cost of each crop (B,), as a share of its bits."""
        return excess(seen, expect(self.module, seen)) / seen.bits

    def _backward(self, *seen: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Leaves gradients -> loss."""
        self.module.zero_grad(set_to_none=True)
        with torch.autocast(seen[0].device.type, dtype=torch.bfloat16, enabled=self._config.bf16):
            loss = self._share(Batch(*seen)).mean()
        loss.backward()
        return (loss.detach(),)

    def step(self, done: Done, rng: np.random.Generator) -> dict[str, torch.Tensor]:
        some = rng.permutation(self._known.count)[: self._config.batch]
        (loss,) = self._gradients(*vars(self._known.batch(some)).values())
        return {"loss": loss}

    @torch.no_grad()
    def validate(self) -> Iterator[dict[str, float]]:
        shares, size = [], max(1, self._config.batch)
        for k in range(0, self._held_out.count, size):
            shares.append(self._share(self._held_out.batch(slice(k, k + size))))
        share, level = torch.cat(shares).cpu().numpy(), self._held_out.level.cpu().numpy()
        for value in np.unique(level):
            yield {"level": float(value), "excess_percent": 100 * float(share[level == value].mean())}


def narrow(
    config: NarrowConfig, model: VQVAE, sender: Sender, packs: Packs, folder: Path, stop_at: int | None = None
) -> VQVAE:
    """Runs or resumes a training -> ``model``, whose prior then has narrow networks; nothing else changes. Raises
    SystemExit where it has them already."""
    if model.config.arithmetic != "wide":
        raise SystemExit("the prior of this model is narrow already")
    run = Run(folder, config, True, model.sd.device)
    known, held_out = (Known(model, found) for found in coded(config, model, sender, packs, folder))
    torch.manual_seed(config.seed)
    prior = narrowed(model.prior, known)
    loop = Loop(NarrowStage(config, prior, known, held_out), run, config, model.sd.device)
    loop.run(Every(config.validate), Every(config.save), stop_at)
    return with_prior(model, prior)


def coded(config: NarrowConfig, model: VQVAE, sender: Sender, packs: Packs, folder: Path) -> list[Codes]:
    """Codes of crops for training, and of held-out crops at LEVELS; made once."""
    out, device, made_by = [], model.sd.device, networks(model)
    size = 64 if device.type == "cuda" else 8

    def drawn() -> Pictures:
        rng = np.random.default_rng((config.seed, 1))
        for k in range(0, config.crops, size):
            yield packs.batch(rng, min(size, config.crops - k), config.crop, device, model.config)[:2]

    def held_out() -> Pictures:
        for x in to_tensor(packs.photos.validation_crops(HELD_OUT, config.crop)):
            yield x.expand(len(LEVELS), -1, -1, -1), torch.tensor(LEVELS).clamp(max=model.config.anchors - 1)

    for name, pictures in (("train", drawn), ("validation", held_out)):
        path = folder / f"codes-{name}.safetensors"
        if not path.exists():
            code(model, sender, pictures()).save(path, made_by)
        out.append(Codes.load(path, made_by))
    return out


def with_prior(model: VQVAE, prior: Prior) -> VQVAE:
    """The model with another prior, whose weights are integers then, and a configuration that says so."""
    for layer in (m for m in prior.modules() if isinstance(m, Layer)):
        layer.settle()
    model.config, model.prior = dataclasses.replace(model.config, arithmetic=prior.config.arithmetic), prior
    return model


def load(path: Path, device: torch.device | str) -> tuple[VQVAE, Sender, str]:
    """Weights file, or what an adaptation left -> model, what quantises like its encoder, and the trellis of both."""
    if path.suffix != ".pt":
        base = read_model(path, 0, device)
        return base.vqvae, Sender(base.coder.trellis, base.coder.latent, device), base.coder.trellis.name
    model, state = load_base(path)
    sender = make_sender(state["quantizer"], device)
    if not isinstance(sender, Sender):
        raise SystemExit(f"no file holds latents of the quantiser {state['quantizer']}")
    sender.restore(state["sender"])
    return model.to(device), sender, state["quantizer"]


@told
def main() -> None:
    ap = options("base.narrow", __doc__)
    data_options(ap)
    fine_option(ap)
    ap.add_argument(
        "--base", type=Path, required=True, help="last.pt or adapted.pt of an adaptation, or a weights file"
    )
    args = ap.parse_args()
    check_run(args.out, args.data)
    config = configure(NarrowConfig(), args.config, args.settings)
    with place(args.threads, alone="codec.training.base.narrow") as device:
        model, sender, quantizer = load(args.base, device)
        packs = open_packs(args.data, args.fine, args.cache or args.out / "cache", config)
        narrow(config, model, sender, packs, args.out, args.stop_at)
    leave(args.out, "narrow", model, {"quantizer": quantizer, "sender": sender.state()})


if __name__ == "__main__":
    main()
