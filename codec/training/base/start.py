"""Start values: lapped filters, the KLT and the token codebook, all computed from training photographs."""

import numpy as np
import scipy.fft
import torch
import torch.nn.functional as F

from codec.layers.lapped import lapped_matrix
from codec.models.config import PATCH
from codec.models.vqvae import VQVAE
from codec.training.data.photos import Photos, to_tensor

TOKEN_BIT_WEIGHT = (
    0.03  # weight of a bit against squared distance, relative to the mean squared distance of plain k-means
)


def fit_lapped(correlation: np.ndarray, size: int, steps: int = 400) -> torch.Tensor:
    """(3 * size,) autocovariance of pixel rows -> V (size/2, size/2) that maximises the coding gain of lapped filter
    + DCT.

    The gain is that of a biorthogonal transform: mean over coefficients of log(variance * norm of the synthesis
    vector^2).
    """
    n = 2 * size
    cov = torch.tensor(correlation[np.abs(np.subtract.outer(np.arange(n), np.arange(n)))])
    dct = torch.tensor(scipy.fft.dct(np.eye(size), norm="ortho", axis=0))
    v = torch.eye(size // 2, dtype=torch.float64, requires_grad=True)
    opt = torch.optim.Adam([v], lr=0.02)
    for step in range(steps):
        opt.param_groups[0]["lr"] = 0.02 * (1 - step / steps)
        p = lapped_matrix(v)
        p_inv = torch.linalg.inv(p)
        # samples -size/2 .. 3*size/2 hold the block and both boundaries around it
        both, both_inv = torch.block_diag(p, p), torch.block_diag(p_inv, p_inv)
        lo = size // 2
        analysis = dct @ both[lo : lo + size]
        synthesis = both_inv[:, lo : lo + size] @ dct.t()
        loss = (torch.einsum("ij,jk,ik->i", analysis, cov, analysis).log() + synthesis.square().sum(0).log()).mean()
        opt.zero_grad(), loss.backward(), opt.step()
    return v.detach().float()


def kmeans(
    points: torch.Tensor, count: int, rng: np.random.Generator, rounds: int, bit_weight: float
) -> tuple[torch.Tensor, torch.Tensor, float]:
    """Entropy-constrained k-means -> codebook (count, D), cost of each codeword in bits, weight of a bit."""
    book = points[torch.from_numpy(rng.permutation(len(points))[:count])].clone()
    bits, weight = torch.zeros(count), 0.0
    for turn in range(rounds):
        label, distance = torch.empty(len(points), dtype=torch.long), 0.0
        for a in range(0, len(points), 8192):
            p = points[a : a + 8192]
            cost, label[a : a + 8192] = (book.square().sum(1) - 2 * p @ book.t() + weight * bits).min(1)
            distance += float((p - book[label[a : a + 8192]]).square().sum())
        n = torch.bincount(label, minlength=count).float()
        book = torch.zeros_like(book).index_add_(0, label, points) / n.clamp(min=1)[:, None]
        dead = (n == 0).nonzero()[:, 0]
        book[dead] = points[torch.from_numpy(rng.integers(len(points), size=len(dead)))]
        bits = -torch.log2((n + 0.5) / (n + 0.5).sum())
        if turn == rounds // 2:
            weight = bit_weight * distance / len(points)
    return book, bits, weight


@torch.no_grad()
def transforms(model: VQVAE, photos: Photos, seed: int, crops: int, lapped: bool = True) -> None:
    """Sets lapped filters (or none), KLT (rows by falling variance), channel deviations."""
    rng = np.random.default_rng((seed, 1))
    x = to_tensor(photos.crops(rng, crops, 128)) - 0.5
    grey = x.mean(1).double()
    grey = grey - grey.mean()
    correlation = np.array([float((grey[..., k:] * grey[..., : grey.shape[-1] - k]).mean()) for k in range(3 * PATCH)])
    with torch.enable_grad():
        v16, v8 = (fit_lapped(correlation, size) if lapped else torch.eye(size // 2) for size in (PATCH, 8))
    model.g_a.lapped.v.copy_(v16)
    model.g_s.lapped.v.copy_(torch.linalg.inv(v16))
    model.g_s.lapped8.v.copy_(torch.linalg.inv(v8))
    # only inner blocks: those at the border of a crop are filtered on one side
    inner = [
        F.pixel_unshuffle(model.g_a.lapped(p), PATCH)[..., 1:-1, 1:-1]
        .permute(0, 2, 3, 1)
        .reshape(-1, 3 * PATCH * PATCH)
        for p in x.split(100)
    ]
    cov, k = sum((p.t() @ p).double() for p in inner), sum(len(p) for p in inner)
    values, vectors = torch.linalg.eigh(cov / k)
    u = vectors.flip(1).t()[: model.config.channels].float()
    model.g_a.klt.weight.copy_(u[:, :, None, None])
    model.g_s.klt.weight.copy_(u.t()[:, :, None, None])
    model.sd.copy_(values.flip(0)[: model.config.channels].clamp(min=1e-9).sqrt().float()[None, :, None, None])


@torch.no_grad()
def codebook(model: VQVAE, photos: Photos, seed: int, crops: int, rounds: int = 16) -> None:
    """Fits the tokens to the linear latents, with a cost for rare codewords."""
    rng, points = np.random.default_rng((seed, 2)), []
    for _ in range(-(-crops // 50)):
        y = model.g_a.linear(to_tensor(photos.crops(rng, 50, 128)) - 0.5)
        points.append(model.tokens.features(y, model.sd).flatten(0, 2))
    book, bits, weight = kmeans(torch.cat(points), model.config.tokens, rng, rounds, TOKEN_BIT_WEIGHT)
    order = bits.argsort()
    model.tokens.codebook.copy_(book[order])
    model.tokens.bits.copy_(bits[order])
    model.tokens.bit_weight.fill_(weight)
