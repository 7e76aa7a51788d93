"""The decoders of one file side by side: a table from rows of pictures and their stored features.

See `studies.decoders`.
"""

import json
from importlib import resources

import numpy as np
import pandas as pd

from benchmarks.analysis.bdrate import bootstrap
from benchmarks.analysis.summary import metric_columns
from benchmarks.metrics.pictures import HIGHER_IS_BETTER
from benchmarks.metrics.sets import METRICS as SETS
from benchmarks.metrics.sets import FeatureStore, estimate, interval, resamples

ORDER = ("vq", "perceptual", "gan", "ldm")  # in tables; others after them


def cost(name: str) -> dict[str, float]:
    """Parameters, training steps and seconds of a decoder, from the manifest of the weights."""
    found = json.loads((resources.files("codec") / "weights" / "manifest.json").read_text())
    entry = found["semantic"].get(f"{name}-{found['default']}")
    if entry is None:
        return {"parameters": 0, "training_steps": 0, "training_s": 0.0}
    stages = entry["stages"]
    return {
        "parameters": entry["parameters"],
        "training_steps": sum(s["steps"] for s in stages),
        "training_s": sum(s["seconds"] for s in stages),
    }


def set_columns(name: str, original: list, decoded: dict[str, list], draws: np.ndarray) -> dict[str, dict[str, float]]:
    """Decoder -> columns of a set metric: its value and the difference to vq, for the same resampled pictures."""
    found = {decoder: estimate(name, original, features) for decoder, features in decoded.items()}
    values = {decoder: (each(), each.resampled(draws)) for decoder, each in found.items()}
    columns = {}
    for decoder, (value, resampled) in values.items():
        row = {name: value, f"{name}_minus_vq": value - values["vq"][0]}
        row[f"{name}_low"], row[f"{name}_high"] = interval(resampled)
        row[f"{name}_minus_vq_low"], row[f"{name}_minus_vq_high"] = interval(resampled - values["vq"][1])
        columns[decoder] = row
    return columns


def table(rows: pd.DataFrame, store: FeatureStore) -> pd.DataFrame:
    """Rows of pictures -> one row for each decoder and setting. Metrics of sets are there where all features are."""
    rows = rows.assign(decoder=rows.codec.str.removeprefix("ours-"))
    names = sorted(rows.decoder.unique(), key=lambda name: (ORDER.index(name) if name in ORDER else len(ORDER), name))
    metrics = ["rmse", *metric_columns(rows.drop(columns="decoder"))]
    out = []
    for setting, group in rows.groupby("setting", sort=False):
        images = sorted(group.image_hash.unique())
        by_name = {
            name: part.set_index("image_hash").reindex(images)
            for name in names
            if len(part := group[group.decoder == name])
        }
        if "vq" not in by_name or len(by_name) < 2:
            continue
        for part in by_name.values():
            assert np.array_equal(part.bytes, by_name["vq"].bytes), "the decoders were measured on different files"
        original = [store.load((digest, "original", "", "")) for digest in images]
        decoded = {
            name: [
                store.load((digest, f"ours-{name}", setting, version))
                for digest, version in zip(images, part.version, strict=True)
            ]
            for name, part in by_name.items()
        }
        draws = resamples(len(images))
        of_sets: dict[str, dict[str, float]] = {name: {} for name in by_name}
        for record in SETS:
            if all(record.features in item for item in original) and (
                having := {
                    name: items for name, items in decoded.items() if all(record.features in item for item in items)
                }
            ).keys() >= {"vq"}:
                for name, columns in set_columns(record.name, original, having, draws).items():
                    of_sets[name] |= columns
        for name, part in by_name.items():
            row: dict[str, object] = {
                "decoder": name,
                "setting": setting,
                "version": part.version.iloc[0],
                "images": len(part),
                "bits_per_dim": part.bits_per_dim.mean(),
            }
            for metric in metrics:
                row[metric], row[f"{metric}_low"], row[f"{metric}_high"] = bootstrap(part[metric])
                row[f"{metric}_minus_vq"], row[f"{metric}_minus_vq_low"], row[f"{metric}_minus_vq_high"] = bootstrap(
                    part[metric] - by_name["vq"][metric]
                )
            out.append({**row, **of_sets[name], "decode_s": part.decode_s.mean(), **cost(name)})
    frame = pd.DataFrame(out)
    order = frame.decoder.map({name: k for k, name in enumerate(names)})
    return (
        frame.assign(_order=order)
        .sort_values(["_order", "bits_per_dim"], kind="stable")
        .drop(columns="_order")
        .reset_index(drop=True)
    )


def short(found: pd.DataFrame) -> str:
    """For the terminal: values, with + where a decoder is better than vq and - where it is worse, 95 % sure."""
    metrics = [name.removesuffix("_minus_vq") for name in found if name.endswith("_minus_vq")]
    text = found[["decoder", "setting", "bits_per_dim"]].copy()
    for metric in metrics:
        sign = -1 if metric in HIGHER_IS_BETTER else 1
        ends = np.sort(sign * found[[f"{metric}_minus_vq_low", f"{metric}_minus_vq_high"]].to_numpy(), axis=1)
        mark = np.where(ends[:, 1] < 0, "+", np.where(ends[:, 0] > 0, "-", " "))
        text[metric] = [f"{value:.4g}{sure}" for value, sure in zip(found[metric], mark, strict=True)]
    return text.to_string(index=False)
