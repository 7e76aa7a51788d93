"""The HTML report: one file, no network; curves with hover values, Bjontegaard tables, a picture comparison."""

import base64
import io
import json
import math
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

from benchmarks.analysis.bdrate import MARK, MARK_NOTE, MIN_OVERLAP
from benchmarks.analysis.published import drawn_curves
from benchmarks.analysis.summary import counted, cpu_name
from benchmarks.codecs import Image8
from benchmarks.metrics.pictures import HIGHER_IS_BETTER
from benchmarks.report.showcase import Showcase, without_file
from benchmarks.report.style import AXIS_NAMES, curve_style

_RIVALS = ("bpg-444", "bpg-420", "avif")
_TEMPLATE = Path(__file__).with_name("template.html")


def write_report(
    path: Path,
    title: str,
    dataset: str,
    means: pd.DataFrame,
    bd: pd.DataFrame,
    cases: Sequence[Showcase],
    facts: Mapping[str, Any],
) -> None:
    """Write the report to `path`."""
    metrics = [name for name in AXIS_NAMES if name != "bits_per_dim" and name in means and means[name].notna().any()]
    data = {
        "title": title,
        "metrics": [
            {"id": name, "name": AXIS_NAMES[name] + counted(means, name), "up": name in HIGHER_IS_BETTER}
            for name in metrics
        ],
        "curves": _curves(means, metrics),
        "published": {
            name: {label: points.to_numpy().tolist() for label, points in drawn_curves(dataset, name).items()}
            for name in metrics
        },
        "bd": bd.to_dict("records"),
        "leastOverlap": MIN_OVERLAP,
        "mark": MARK,
        "markNote": MARK_NOTE,
        "cases": [_case(case) for case in cases],
        "run": _run(facts),
    }
    # "<" is escaped so that no text in the data can close the script element
    text = json.dumps(_finite(data), allow_nan=False).replace("<", "\\u003c")
    path.write_text(_TEMPLATE.read_text().replace("/*DATA*/null", text))


def _curves(means: pd.DataFrame, metrics: Sequence[str]) -> list[dict[str, Any]]:
    curves = []
    for index, (codec, group) in enumerate(means.groupby("codec", sort=True)):
        style = curve_style(str(codec), index)
        group = group.sort_values("bits_per_dim")
        curves.append(
            {
                "name": codec, "version": group.version.iloc[-1], "colour": style.colour, "width": style.width,
                "dash": " ".join(f"{4 * length:g}" for length in style.dash), "setting": group.setting.tolist(),
                "rate": group.bits_per_dim.tolist(), **{name: group[name].tolist() for name in metrics},
                "ends": {name: group[[f"{name}_low", f"{name}_high"]].to_numpy().tolist() for name in metrics if f"{name}_low" in group},
            }
        )  # fmt: skip
    return curves


def _case(case: Showcase) -> dict[str, Any]:
    pictures = [{"name": "original", "note": case.photograph, "src": _picture(case.original)}]
    pictures += [
        {
            "name": item.name,
            "note": f"{item.size} bytes, RMSE {item.error:.2f}, setting {item.setting:g}",
            "src": _picture(item.crop),
        }
        for item in case.shown
    ]
    return {
        "photograph": case.photograph,
        "label": f"{case.rate:g} bits/dim (at most {case.target} bytes)",
        "pictures": pictures,
        "opponents": _opponents([item.name for item in case.shown]),
        "missing": without_file(case),
    }


def _opponents(names: Sequence[str]) -> tuple[str, str]:
    """What is compared first: our codec and BPG or AVIF; without them, what there is."""
    ours = sorted((name for name in names if name.startswith("ours")), key=lambda name: (name != "ours-vq", name))
    left = [*ours, *names, "original"][0]
    others = [name for name in names if name != left and not name.startswith("ours")]
    known = [name for name in _RIVALS if name in others]
    return left, (known or others or ["original"])[0]


def _run(facts: Mapping[str, Any]) -> dict[str, Any]:
    """The facts of the run that a reader wants, as rows of short tables; run.json has all."""
    settings = facts.get("settings", {})
    return {
        "facts": [
            ["pictures", f"{facts.get('images', '?')} ({facts.get('folder', '?')})"],
            ["rows measured", str(facts.get("table_rows", "?"))],
            ["machine", f"{cpu_name()}, Python {platform.python_version()}"],
            *([name, f"left out: {reason}"] for name, reason in facts.get("absent", {}).items()),
            *(["metric", sentence] for sentence in facts.get("left_out", [])),
        ],
        "codecs": [
            [name, ", ".join(settings.get(name, [])), version] for name, version in facts.get("codecs", {}).items()
        ],
    }


def _picture(image: Image8) -> str:
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(image)).save(buffer, "WEBP", lossless=True, method=4)
    return "data:image/webp;base64," + base64.b64encode(buffer.getvalue()).decode()


def _finite(value: Any) -> Any:
    """JSON has no NaN and no infinity: null instead."""
    if isinstance(value, dict):
        return {name: _finite(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
