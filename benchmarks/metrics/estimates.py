"""Values of whole sets from features of patches, and of resampled sets: KID, FID, Inception score.

`draws` (resamples, images) says how often each image is drawn; originals and decoded pictures are drawn together.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Features = dict[str, NDArray[np.float32]]
Values = NDArray[np.float64]
Draws = NDArray[np.int64]


def resamples(images: int, count: int = 1000) -> Draws:
    """Draws of a bootstrap over images, always the same ones: (count, images), how often each image is drawn. None of
    a single image: they would all be the same, and their interval zero."""
    count = count if images > 1 else 0
    return np.random.default_rng(0).multinomial(images, np.full(images, 1 / images), count)


MOST_LOST = 0.05  # of the resamples of an interval; more of them may be a whole side of it


def interval(values: Values) -> tuple[float, float]:
    """95 % percentile interval of resampled values. NaN values are left out; where they are many, there is none: of two
    images with one patch each, the only draw that has a KID is the set itself."""
    kept = values[np.isfinite(values)]
    enough = len(kept) > 0 and len(kept) >= (1 - MOST_LOST) * len(values)
    low, high = np.percentile(kept, (2.5, 97.5)) if enough else (np.nan, np.nan)
    return float(low), float(high)


def _stacked(features: Sequence[Features], kind: str) -> Values:
    return np.concatenate([f[kind] for f in features]).astype(np.float64)


def _kernel(a: Values, b: Values) -> Values:
    """Polynomial kernel of KID (Binkowski et al. 2018): (a.b / d + 1)^3."""
    return (a @ b.T / a.shape[1] + 1) ** 3


class Kid:
    """KID of decoded pictures against originals, also for resampled sets of images.

    Kernels are computed once, and summed for each pair of images.
    """

    def __init__(self, original: Sequence[Features], decoded: Sequence[Features], kind: str = "squeeze") -> None:
        x, y = _stacked(original, kind), _stacked(decoded, kind)
        counts = [len(f[kind]) for f in original]
        member = np.repeat(np.eye(len(counts)), counts, axis=0)
        self._images = len(counts)
        within, between = _kernel(x, x) + _kernel(y, y), _kernel(x, y)
        np.fill_diagonal(within, 0)  # a patch is never paired with itself
        self._within, self._between = member.T @ within @ member, member.T @ between @ member
        self._pairs = np.outer(counts, counts).astype(np.float64)
        self._distinct = self._pairs - np.diag(counts)

    def __call__(self) -> float:
        """The unbiased estimate."""
        return float(self.resampled(np.ones((1, self._images), np.int64))[0])

    def resampled(self, draws: Draws) -> Values:
        """Estimates (resamples,).

        Copies of one image are not paired with one another: patches of one image are alike, and such pairs would raise
        every resampled estimate.
        """

        def total(sums: Values) -> Values:
            return ((draws @ sums) * draws).sum(1) + (draws - np.square(draws)) @ np.diag(sums)

        with np.errstate(divide="ignore", invalid="ignore"):  # one patch drawn alone has no pair: NaN
            return total(self._within) / total(self._distinct) - 2 * total(self._between) / total(self._pairs)


class Fid:
    """FID of decoded pictures against originals (Heusel et al. 2017).

    Covariances are never formed: with centred patches A and B (rows, divided by the root of their number less one) the
    trace of the root of C_A C_B is the sum of the singular values of A B^T, which is as small as the number of patches.
    """

    def __init__(self, original: Sequence[Features], decoded: Sequence[Features], kind: str = "inception") -> None:
        x, y = _stacked(original, kind), _stacked(decoded, kind)
        middle = x.mean(0)  # subtracted first, so that nothing is lost to rounding
        self._x, self._y = x - middle, y - middle
        self._products, self._squares = self._x @ self._y.T, (np.square(self._x).sum(1), np.square(self._y).sum(1))
        self._owner = np.repeat(np.arange(len(original)), [len(f[kind]) for f in original])

    def _value(self, draw: NDArray[np.int64]) -> float:
        weight = draw[self._owner].astype(np.float64)
        kept = weight > 0
        weight = weight[kept]
        share, total = weight / weight.sum(), weight.sum() - 1
        if not total:
            return float("nan")
        means = [share @ side[kept] for side in (self._x, self._y)]
        spread = sum(
            (weight @ square[kept] - (total + 1) * mean @ mean) / total
            for square, mean in zip(self._squares, means, strict=True)
        )
        products = self._products[np.ix_(kept, kept)]
        centred = products - share @ products - (products @ share)[:, None] + share @ products @ share
        root = np.sqrt(weight)
        common = np.linalg.svd(root[:, None] * centred * root, compute_uv=False).sum() / total
        return float(np.square(means[0] - means[1]).sum() + spread - 2 * common)

    def __call__(self) -> float:
        """The plain estimate, which is too high for few patches: it compares only with the same set and patches."""
        return self._value(np.ones(self._owner[-1] + 1, np.int64))

    def resampled(self, draws: Draws) -> Values:
        """Estimates (resamples,): the plain one and the mean deviation of the drawn images' jackknife pseudo-values.

        FID of a resample itself will not do: it rises as a resample holds fewer different patches, which makes
        intervals twice as wide as the spread over fresh sets of images.
        """
        images = draws.shape[1]
        left_out = np.array([self._value(1 - own) for own in np.eye(images, dtype=np.int64)])
        return self() + draws @ ((images - 1) * (left_out.mean() - left_out)) / images


class InceptionScore:
    """Inception score of decoded pictures (Salimans et al. 2016) from the logits of their patches."""

    def __init__(self, original: Sequence[Features], decoded: Sequence[Features], kind: str = "logits") -> None:
        shares, entropies = [], []
        for item in decoded:
            logits = item[kind].astype(np.float64)
            exponents = np.exp(logits - logits.max(1, keepdims=True))
            p = exponents / exponents.sum(1, keepdims=True)
            shares.append(p.sum(0))
            entropies.append((p * np.log(np.maximum(p, 1e-300))).sum())
        self._shares, self._entropies = np.array(shares), np.array(entropies)
        self._counts = np.array([len(f[kind]) for f in decoded])

    def __call__(self) -> float:
        """Over all patches at once."""
        return float(self.resampled(np.ones((1, len(self._counts)), np.int64))[0])

    def resampled(self, draws: Draws) -> Values:
        """Estimates (resamples,)."""
        number = draws @ self._counts
        mean = draws @ self._shares / number[:, None]
        return np.exp(draws @ self._entropies / number - (mean * np.log(np.maximum(mean, 1e-300))).sum(1))
