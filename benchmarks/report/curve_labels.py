"""Direct labels of curves: in the right margin in order, joined by thin lines, never overlapping; or letters with a
key."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patheffects import withStroke
from numpy.typing import ArrayLike, NDArray

MARGIN = 1.035  # where labels begin, in widths of the axes


@dataclass(frozen=True)
class Label:
    """Text for a curve that ends at (x, y) in data units."""

    text: str
    x: float
    y: float
    colour: str
    size: float = 8.0
    bold: bool = False


def spread(wanted: ArrayLike, gap: float, low: float, high: float) -> NDArray[np.float64]:
    """Positions as near to `wanted` (ascending) as a minimum `gap` allows, inside low..high if they fit.

    Least squares with order kept: neighbours that would overlap are pooled and share their mean (isotonic regression).
    """
    values = np.asarray(wanted, float) - gap * np.arange(len(np.atleast_1d(wanted)))
    pools: list[tuple[float, int]] = []
    for value in values:
        pools.append((float(value), 1))
        while len(pools) > 1 and pools[-2][0] > pools[-1][0]:
            (a, n), (b, m) = pools[-2], pools[-1]
            pools[-2:] = [((a * n + b * m) / (n + m), n + m)]
    top = high - gap * (len(values) - 1)
    level = np.clip(np.repeat([value for value, _ in pools], [count for _, count in pools]), low, max(low, top))
    return level + gap * np.arange(len(values))


def draw_labels(axes: Axes, labels: Sequence[Label], margin: float = MARGIN) -> None:
    """Write the labels right of the axes; call after the axis limits are final."""
    to_axes = axes.transData + axes.transAxes.inverted()
    points = to_axes.transform([(label.x, label.y) for label in labels])
    order = np.argsort(points[:, 1], kind="stable")
    height = axes.get_window_extent().height * 72 / axes.figure.dpi
    gap = 1.3 * max(label.size for label in labels) / height
    places = spread(points[order, 1], gap, 0.0, 1.0)
    for place, index in zip(places, order, strict=True):
        label, (x, y) = labels[index], points[index]
        axes.annotate(
            label.text, (margin, place), xycoords="axes fraction", color=label.colour, fontsize=label.size,
            fontweight="bold" if label.bold else "normal", va="center", annotation_clip=False, parse_math=False,
        )  # fmt: skip
        axes.plot(
            [x, 1.0, margin - 0.008], [y, place, place], transform=axes.transAxes, color=label.colour,
            linewidth=0.5, alpha=0.45, clip_on=False, zorder=1,
        )  # fmt: skip


def label_ends(axes: Axes, lines: Sequence[Line2D], size: float = 7.5) -> None:
    """Names of curves right of the axes, at their last points; call when all is drawn."""
    axes.figure.draw_without_rendering()  # limits and sizes are final
    ends = [(line.get_xdata()[-1], line.get_ydata()[-1]) for line in lines]
    draw_labels(
        axes,
        [
            Label(str(line.get_label()), x, y, str(line.get_color()), size)
            for line, (x, y) in zip(lines, ends, strict=True)
        ],
    )


def draw_letters(
    axes: Axes,
    curves: Sequence[tuple[str, ArrayLike, ArrayLike]],
    colour: str,
    size: float = 7.0,
    letters: Mapping[str, str] | None = None,
) -> dict[str, str]:
    """Mark curves (name, x, y) by letters on them; call after the axis limits are final. Returns name -> letter of
    those with room.

    A letter stands on the first point of its curve (in the order given) that is inside the axes and leaves room
    between the letters. Without `letters` those of the curves that have room are in the order of the alphabet.
    """
    spacing = 1.7 * size * axes.figure.dpi / 72
    taken: list[NDArray[np.float64]] = []
    found: dict[str, str] = {}
    for name, x, y in curves:
        pixels = axes.transData.transform(np.column_stack([x, y]))
        free = [
            point
            for point in _inside(axes, pixels, spacing)
            if all(np.hypot(*(point - other)) >= spacing for other in taken)
        ]
        if not free:
            continue
        found[name] = letters[name] if letters else "abcdefghijklmnopqrstuvwxyz"[len(found)]
        taken.append(free[0])
        axes.text(
            *axes.transData.inverted().transform(free[0]), found[name], color=colour, fontsize=size, fontweight="bold",
            ha="center", va="center", zorder=6, path_effects=[withStroke(linewidth=2.2, foreground="white")],
        )  # fmt: skip
    return found


def draw_list(
    axes: Axes, letters: Mapping[str, str], colour: str, place: tuple[float, float], ha: str, va: str, size: float = 7.0
) -> None:
    """What the letters mean, at a place in axes units."""
    axes.text(
        *place, "published\n" + "\n".join(f"{letter}  {name}" for name, letter in letters.items()), transform=axes.transAxes, color=colour,
        fontsize=size, ha=ha, va=va, multialignment="left", linespacing=1.35,
    )  # fmt: skip


def draw_keys(
    axes: Axes, curves: Sequence[tuple[str, ArrayLike, ArrayLike]], colour: str, upper: bool, size: float = 7.0
) -> None:
    """Letters on curves and what they mean, in the corner where no good curve is: lower right when `upper` (more is
    better), upper right otherwise."""
    if letters := draw_letters(axes, curves, colour, size):
        draw_list(axes, letters, colour, (0.985, 0.02 if upper else 0.98), "right", "bottom" if upper else "top", size)


def _inside(axes: Axes, pixels: NDArray[np.float64], margin: float) -> NDArray[np.float64]:
    box = axes.get_window_extent().padded(-margin)
    keep = (pixels[:, 0] >= box.x0) & (pixels[:, 0] <= box.x1) & (pixels[:, 1] >= box.y0) & (pixels[:, 1] <= box.y1)
    return pixels[keep]
