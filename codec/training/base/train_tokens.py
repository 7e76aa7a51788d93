"""Trains the network that the entropy coder of hyper tokens knows them by: python -m codec.training.base.train_tokens
--data DIR --out DIR [--weights FILE] [NAME=VALUE ...]

Everything else stays as it is, and so do all pictures: files are smaller, and readers need the new weights. Killed and
started again with the same --out, it goes on where it was.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from tqdm import tqdm

from codec import manifest, zoo
from codec.coding.precision import has_bfloat16
from codec.models.integer_tokens import bordered, neighbours
from codec.models.token_net import WIDTH, TokenNet
from codec.models.vqvae import VQVAE
from codec.told import told
from codec.training.config import configure, options
from codec.training.data.cache import data_options
from codec.training.data.packs import Mixture, check_places, fine_option, open_packs
from codec.training.data.photos import Entry, Photos
from codec.training.loop import Done, Every, Loop, Stage, warm_hold_fall
from codec.training.processes import place
from codec.training.run import Run
from codec.training.shipping.stages import check_listed, record_stage

SIDE = 32  # pixels of a token


@dataclass(frozen=True)
class TokenTraining:
    """steps, seconds, as in TrainConfig; batch (tokens), lr, decay (of weights), warmup, hold (share of the run after
    which the rate falls), ema, seed: of the optimiser; width: of the network; turns: how many times each photograph is
    taken, at other places of the grid and mirrored; validate, save: steps between."""

    steps: int = 8000
    seconds: float = 0.0
    batch: int = 2048
    lr: float = 2e-3
    decay: float = 0.01
    warmup: int = 100
    hold: float = 0.3
    ema: float = 0.998
    seed: int = 0
    width: int = WIDTH
    turns: int = 4
    validate: int = 2000
    save: int = 1000


@dataclass(frozen=True)
class Seen:
    """Tokens (N,) and what is known of each, (N, neighbours); int16."""

    tokens: np.ndarray
    known: np.ndarray

    @staticmethod
    def of(pictures: list[np.ndarray], codewords: int) -> Seen:
        """Pictures (h, w) of tokens."""
        known = []
        for tokens in pictures:
            held = bordered(*tokens.shape, codewords)
            held[2:, 2:-1] = tokens
            rows, columns = (n.ravel() for n in np.indices(tokens.shape))
            known.append(neighbours(held, rows, columns).astype(np.int16))
        return Seen(np.concatenate([tokens.ravel() for tokens in pictures]).astype(np.int16), np.concatenate(known))


@torch.no_grad()
def pictures(
    model: VQVAE, photos: Photos, entries: list[Entry], turns: int = 1, seed: int = 0, name: str = "tokens"
) -> list[np.ndarray]:
    """Tokens (h, w) of stored pictures; from the second turn on the grid lies elsewhere, and every other turn is
    mirrored. A part that makes no whole token is left out."""
    out, device = [], model.sd.device
    for number, entry in enumerate(tqdm(entries, desc=name, disable=None)):
        rng, pixels = np.random.default_rng((seed, number)), photos.pixels(entry)
        for turn in range(turns):
            i, j = rng.integers(SIDE, size=2) if turn else (0, 0)
            part = pixels[i:, j:]
            part = part[:, ::-1] if turn % 2 else part
            h, w = (n // SIDE * SIDE for n in part.shape[:2])
            if h and w:
                x = torch.from_numpy(part[:h, :w].copy()).to(device).permute(2, 0, 1)[None].float() / 255 - 0.5
                out.append(model.tokens.assign(model.g_a.linear(x), model.sd)[0].cpu().numpy())
    return out


class TokenStage(Stage):
    """The token network, by the bits that tokens take."""

    def __init__(self, config: TokenTraining, net: TokenNet, train: Seen, held_out: Seen, device: torch.device) -> None:
        self._config, self.module, self._train, self._held_out, self._device = config, net, train, held_out, device
        adam = torch.optim.AdamW(net.parameters(), lr=config.lr, betas=(0.9, 0.98), weight_decay=config.decay)
        adam.param_groups[0]["peak"] = config.lr
        self.optimisers = [adam]
        self.facts = {"tokens": asdict(config)}

    def rate(self, done: Done) -> float:
        return warm_hold_fall(done, self._config.warmup, self._config.hold)

    def _bits(self, seen: Seen, at: np.ndarray | slice) -> torch.Tensor:
        known, tokens = (torch.from_numpy(a[at].astype(np.int64)).to(self._device) for a in (seen.known, seen.tokens))
        fast = has_bfloat16(self._device)
        with torch.autocast(self._device.type, torch.bfloat16) if fast else contextlib.nullcontext():
            log2 = self.module(known)
        return F.cross_entropy(log2.float() * math.log(2), tokens) / math.log(2)

    def step(self, done: Done, rng: np.random.Generator) -> dict[str, torch.Tensor]:
        loss = self._bits(self._train, rng.integers(len(self._train.tokens), size=self._config.batch))
        self.module.zero_grad(set_to_none=True)
        loss.backward()
        return {"loss": loss}

    @torch.no_grad()
    def validate(self) -> Iterator[dict[str, float]]:
        n, bits = len(self._held_out.tokens), 0.0
        for start in range(0, n, 4096):
            part = slice(start, min(n, start + 4096))
            bits += self._bits(self._held_out, part).item() * (part.stop - part.start)
        yield {"bits_per_token": bits / n}


def train(
    config: TokenTraining,
    model: VQVAE,
    packs: list[Photos],
    out: Path,
    device: torch.device | str = "cpu",
    stop_at: int | None = None,
) -> TokenNet:
    """Runs or resumes a training on the tokens of photographs; returns the network with averaged weights, on the
    CPU."""
    device = torch.device(device)
    known, held_out = [], []
    for number, photos in enumerate(packs):
        known += pictures(model, photos, photos.train, config.turns, config.seed + number)
        held_out += pictures(model, photos, photos.validation, name="held-out tokens")
    torch.manual_seed(config.seed)
    net = TokenNet(model.tokens.centroids(model.sd).cpu(), config.width)
    train, k = Seen.of(known, model.config.tokens), model.config.tokens
    with torch.no_grad():  # from what the tokens take without their neighbours
        net.head.bias.copy_(torch.from_numpy(np.bincount(train.tokens, minlength=k) + 0.5).log2())
        net.head.bias.sub_(net.head.bias.mean())
    net.to(device)
    stage = TokenStage(config, net, train, Seen.of(held_out, k), device)
    loop = Loop(stage, Run(out, config, True, device), config, device)
    loop.run(Every(config.validate), Every(config.save), stop_at)
    return net.cpu()


@told
def main() -> None:
    ap = options("base.train_tokens", __doc__)
    data_options(ap)
    fine_option(ap)
    ap.add_argument("--model", default="default", help="perceptual model whose tokens these are")
    ap.add_argument("--weights", type=Path, help="weights file to write: the model with its network")
    ap.add_argument(
        "--id", type=int, default=0, help="model id in the manifest beside the weights file (0: no manifest)"
    )
    args = ap.parse_args()
    cache = check_places(args)
    if args.weights and args.id:
        check_listed(args.id, args.weights.parent)
    config = configure(TokenTraining(), args.config, args.settings)
    path, _ = zoo.find(args.model, manifest.read())
    with place(args.threads, alone="codec.training.base.train_tokens") as device:
        packs = open_packs(args.data, args.fine, cache, Mixture())
        of = [packs.photos, *([packs.fine] if packs.fine else [])]
        net = train(config, zoo.load(args.model, device).vqvae, of, args.out, device, args.stop_at)
    if args.weights:
        zoo.write_tokens(path, args.weights, net)
        if args.id:
            record_stage(args.weights, args.id, args.out)


if __name__ == "__main__":
    main()
