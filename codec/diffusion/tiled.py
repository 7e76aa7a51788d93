"""A denoiser of windows made a denoiser of large latents: overlapping windows, blended by weights that sum to one."""

from collections.abc import Callable, Iterator

import torch

from codec.diffusion.sample import Denoiser


def tiled(
    denoise_window: Callable[..., torch.Tensor],
    shape: tuple[int, int],
    tile: int,
    overlap: int,
    callback: Callable[[int, int], None] | None = None,
) -> Denoiser:
    """Denoiser of latents (B, C, h, w) with shape = (h, w), in windows of at most tile positions a side that overlap
    by at least overlap.

    denoise_window(x, sigma, rows=(low, high), columns=(low, high)) gets a window and its place. All numbers are even,
    as tokens need pairs. callback(done, windows) is called after each window.
    """
    rows, columns = (list(zip(windows(n, tile, overlap), weights(n, tile, overlap), strict=True)) for n in shape)

    def denoise(x: torch.Tensor, sigma: float) -> torch.Tensor:
        assert x.shape[2:] == shape
        out = torch.zeros_like(x)
        for done, ((a, b), down, (c, d), across) in enumerate(
            ((*row, *column) for row in rows for column in columns), 1
        ):
            part = denoise_window(x[:, :, a:b, c:d], sigma, rows=(a, b), columns=(c, d))
            out[:, :, a:b, c:d] += part * (down[:, None] * across).to(x)
            if callback:
                callback(done, len(rows) * len(columns))
        return out

    return denoise


def windows(n: int, tile: int, overlap: int) -> list[tuple[int, int]]:
    """Even (start, stop) that cover n positions: one if n <= tile, else as few of length tile as overlap allows,
    evenly spread."""
    assert n % 2 == tile % 2 == overlap % 2 == 0 and 0 <= overlap < tile
    if n <= tile:
        return [(0, n)]
    gaps = -(-(n - tile) // (tile - overlap))
    starts = [(n - tile) // 2 * i // gaps * 2 for i in range(gaps + 1)]
    return [(start, start + tile) for start in starts]


def weights(n: int, tile: int, overlap: int) -> Iterator[torch.Tensor]:
    """The weight along each of the windows, float64: raised cosine ramps of overlap positions at inner ends, scaled
    to sum to one."""
    spans = windows(n, tile, overlap)
    bumps = []
    for start, stop in spans:
        place = torch.arange(start, stop, dtype=torch.float64) + 0.5
        edge = torch.minimum(
            place - start if start else torch.full_like(place, n),
            stop - place if stop < n else torch.full_like(place, n),
        )
        bumps.append((torch.pi / 2 * (edge / max(overlap, 1)).clamp(max=1)).sin().square())
    total = torch.zeros(n, dtype=torch.float64)
    for (start, stop), bump in zip(spans, bumps, strict=True):
        total[start:stop] += bump
    for (start, stop), bump in zip(spans, bumps, strict=True):
        yield bump / total[start:stop]
