"""All figures and tables of the write-up, built in an empty folder: what they show is what the tables hold, and
labels stay apart."""

import json
import shutil
from importlib import resources
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Annotation, Text

from benchmarks.analysis.bdrate import mean_curve
from benchmarks.analysis.published import GENERATIVE, published_points
from benchmarks.report import decoder_figures, figures, tables
from benchmarks.studies.quantisers import report as quantizers
from benchmarks.studies.training_curve import report as training_curve

pytestmark = pytest.mark.slow

COMMITTED = Path(__file__).parents[2] / "results"
RATES = [f"rate_{metric}_log" for metric in figures.rate_metrics(pd.read_csv(COMMITTED / "kodak" / "mean.csv"))]


def made_up(results: Path) -> None:
    """Small tables in place of those that are not committed."""
    rng = np.random.default_rng(0)
    (results / "semantic").mkdir(exist_ok=True)
    knobs = {"steps": (1, 4, 50), "guidance": (0, 1, 3), "realism": (0, 0.5, 1), "consistency": (0, 1)}
    keys = [(k, float(v), q, 2) for k, values in knobs.items() for v in values for q in (20.0, 50.0)]
    sweep = pd.DataFrame(keys, columns=["knob", "value", "quality", "images"])
    for name in ("bits_per_dim", "rmse", "ms_ssim", "sqz_dist", "sqz_kid", "codes_back", "in_cell", "decode_s"):
        sweep[name] = rng.uniform(0.1, 1, len(sweep))
    keys = product("ab", (20.0, 50.0), ("perceptual", "semantic"), range(5))
    points = pd.DataFrame(keys, columns=["image", "quality", "part", "step"]).assign(sigma=0.0)
    points["bits_per_dim"] = np.sort(rng.uniform(0.01, 2, len(points)).reshape(4, 10), 1).ravel()
    points["rmse"] = rng.uniform(5, 20, len(points))
    upscaling = pd.DataFrame(
        {"scale": [2, 2], "method": ["bicubic", "ours"], "images": 2, "rmse": [8.0, 7.0], "sqz_kid": [100.0, 50.0]}
    )
    bound = pd.DataFrame(
        {
            "image": ["a", "b"],
            "quality": 20.0,
            "stream": [0.01, 0.03],
            "latents": 2.0,
            "pixels": 4.0,
            "total": [6.01, 6.03],
        }
    )
    semantic = {"sweep_mean": sweep, "progressive": points, "upscaling_mean": upscaling, "nll": bound}
    hours = pd.DataFrame(
        {
            "step": [10, 20],
            "hours": [0.5, 1.0],
            "held_out_percent": [0.0, -3.0],
            "kodak_percent": [20.0, 17.0],
            "kodak_low": [15.0, 12.0],
            "kodak_high": [25.0, 22.0],
        }
    )
    codecs = ["ours", "ours", "ours", "hyperprior", "mbt2018-mean", "cheng2020-anchor", "jpeg", "webp", "avif", "jxl"]
    speed = pd.DataFrame({"codec": codecs, "variant": ["", "numpy", "bfloat16", *[""] * 7]})
    speed["seconds"] = [0.4, 0.42, 0.3, 0.5, 0.55, 9.0, 0.003, 0.006, 0.005, 0.02]
    speed = speed.assign(group="small-1", direction="decode", decoder=["vq"] * 3 + [""] * 7)
    for name, table in {
        "training": hours,
        "speed_full": speed,
        **{f"semantic/{n}": t for n, t in semantic.items()},
    }.items():
        if not (results / f"{name}.csv").is_file():
            table.to_csv(results / f"{name}.csv", index=False)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, dict[str, Figure]]:
    """The tables, the folder of figures, and the figures themselves by name."""
    results, out = tmp_path_factory.mktemp("results"), tmp_path_factory.mktemp("figures") / "new"
    for path in COMMITTED.rglob("*.csv"):
        if path.parent in (
            COMMITTED,
            COMMITTED / "model-1",
            COMMITTED / "kodak",
            COMMITTED / "held-out",
            COMMITTED / "semantic",
        ):
            target = results / path.relative_to(COMMITTED)
            target.parent.mkdir(exist_ok=True)
            shutil.copy(path, target)
    made_up(results)
    kept: dict[str, Figure] = {}
    savefig = Figure.savefig

    def keep(self: Figure, path: Path, **options: object) -> None:
        kept[Path(path).stem] = self
        if Path(path).suffix == ".pdf":  # slow; the last test makes a real one
            Path(path).touch()
        else:
            savefig(self, path, **{**options, "dpi": 50})

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Figure, "savefig", keep)
        patch.setattr("sys.argv", ["figures", "--results", str(results), "--out", str(out)])
        figures.main()
    return results, out, kept


def curves(axes: Axes) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Label -> x and y of the curves of a panel."""
    named = [line for line in axes.lines if not str(line.get_label()).startswith("_")]
    return {str(line.get_label()): tuple(np.asarray(line.get_data(), float)) for line in named}


def same(found: tuple[np.ndarray, np.ndarray], x: object, y: object) -> None:
    np.testing.assert_allclose(found[0], x)
    np.testing.assert_allclose(found[1], y)


def test_everything_is_written(built) -> None:
    _, out, kept = built
    names = [*figures.FIGURES, "quantizers", *RATES]
    assert sorted(kept) == sorted(names)
    wanted = {f"{n}.{s}" for n in names for s in ("pdf", "png")} | {
        f"{n}.{s}" for n in tables.TABLES for s in ("md", "tex")
    }
    assert {path.name for path in out.iterdir()} == wanted


def test_decoders(built) -> None:
    results, _, kept = built
    table = pd.read_csv(results / "kodak" / "decoders.csv")
    axes = [a for a in kept["decoders"].axes if a.lines]
    metrics = decoder_figures.shown(table)
    for k, metric in enumerate(metrics):
        above, below = curves(axes[k]), curves(axes[len(metrics) + k])
        assert set(above) == set(below) == set(table.decoder)
        for name, rows in table.groupby("decoder"):
            same(above[name], rows.bits_per_dim, rows[metric])
            np.testing.assert_allclose(below[name][1], rows[f"{metric}_minus_vq"])
        bars = np.concatenate([np.array(c.get_segments())[:, :, 1] for c in axes[len(metrics) + k].collections])
        expected = np.concatenate(
            [table[table.decoder == n][[f"{metric}_minus_vq_low", f"{metric}_minus_vq_high"]] for n in above]
        )
        np.testing.assert_allclose(bars, expected, atol=1e-9)


@pytest.fixture
def published_metrics(tmp_path: Path) -> Path:
    """A folder whose table of decoders has LPIPS, DISTS and FID."""
    (tmp_path / "kodak").mkdir()
    rows = []
    for k, name in enumerate(("vq", "perceptual", "gan", "ldm")):
        for rate in (0.012, 0.038, 0.065, 0.11):
            row = {"decoder": name, "setting": "1", "images": 24, "bits_per_dim": rate}
            for metric, level in (("rmse", 5.0), ("lpips", 0.15), ("dists", 0.1), ("fid", 80)):
                row[metric] = level * (0.11 / rate) ** 0.4 * (1.4 - 0.1 * k)
                less = -0.1 * k * level * (0.11 / rate) ** 0.4
                row |= {
                    f"{metric}_minus_vq": less,
                    f"{metric}_minus_vq_low": 1.1 * less,
                    f"{metric}_minus_vq_high": 0.9 * less,
                }
            rows.append(row)
    pd.DataFrame(rows).to_csv(tmp_path / "kodak" / "decoders.csv", index=False)
    return tmp_path


def test_published_curves_stand_beside_the_decoders(published_metrics: Path) -> None:
    table = pd.read_csv(published_metrics / "kodak" / "decoders.csv")
    assert decoder_figures.shown(table) == ("rmse", "lpips", "dists", "fid")
    figure = decoder_figures.perceptual_curves(published_metrics)
    drawn = {}
    for axes, metric in zip(figure.axes, ("rmse", "lpips", "dists", "fid"), strict=False):
        grey = [line for line in axes.lines if line.get_color() == decoder_figures.GREY]
        drawn[metric] = {str(line.get_label())[1:]: line for line in grey}
        assert set(curves(axes)) >= set(table.decoder)
    assert not drawn["rmse"] and not drawn["fid"]  # no FID of 256-pixel patches is published for Kodak
    assert set(drawn["lpips"]) == set(GENERATIVE) and set(drawn["dists"]) == set(GENERATIVE) - {"HiFiC"}
    points = published_points("kodak")
    stable = points[points.system == "StableCodec"].sort_values("bpp")
    np.testing.assert_allclose(drawn["lpips"]["StableCodec"].get_data(), (stable.bpp / 3, stable.lpips))
    key = next(text for text in figure.axes[0].texts if text.get_text().startswith("published"))
    assert [line[3:] for line in key.get_text().splitlines()[1:]] == list(GENERATIVE)
    named = {line[3:]: line[0] for line in key.get_text().splitlines()[1:]}
    assert {text.get_text() for axes in figure.axes[1:3] for text in axes.texts} >= set(named.values())
    plane = decoder_figures.plane(published_metrics)
    illm = points[points.system == "MS-ILLM"].sort_values("bpp")
    (line,) = (line for line in plane.axes[0].lines if line.get_label() == "_MS-ILLM")
    np.testing.assert_allclose(line.get_data(), (255 / 10 ** (illm.psnr / 20), illm.lpips))
    plt.close("all")


def test_distortion_perception_plane(built) -> None:
    results, _, kept = built
    table, sweep = pd.read_csv(results / "kodak" / "decoders.csv"), pd.read_csv(results / "semantic" / "sweep_mean.csv")
    lowest = sweep[(sweep.knob == "realism") & (sweep.quality == sweep.quality.min())]
    for axes, metric in zip(kept["distortion_perception"].axes, decoder_figures.shown(table)[1:3], strict=True):
        found = curves(axes)
        for name, rows in table.groupby("decoder"):
            same(found[name], rows.rmse[::-1], rows[metric][::-1])
        if metric in sweep:
            same(found["realism 0 to 1"], lowest.rmse, lowest[metric])


def test_progressive_curve(built) -> None:
    results, _, kept = built
    table = pd.read_csv(results / "semantic" / "progressive.csv")
    found = curves(kept["progressive"].axes[0])
    for (part, quality), rows in table.groupby(["part", "quality"]):
        mean = rows.groupby("step")[["bits_per_dim", "rmse"]].mean()
        same(found[f"{part} {quality:g}"], mean.bits_per_dim, mean.rmse)


def test_sweeps(built) -> None:
    results, _, kept = built
    table = pd.read_csv(results / "semantic" / "sweep_mean.csv")
    metrics = decoder_figures.shown(table)
    panels = np.array(kept["sweeps"].axes).reshape(len(metrics), -1)
    for row, metric in zip(panels, metrics, strict=True):
        for axes, knob in zip(row, ("steps", "guidance", "realism"), strict=True):
            for _, rows in table[table.knob == knob].groupby("quality"):
                same(curves(axes)[f"{rows.bits_per_dim.mean():.3f} bits/dim"], rows.value, rows[metric])


def test_compute_is_set_against_the_anchor_and_the_first_point(built, tmp_path, monkeypatch) -> None:
    results, _, kept = built
    table = pd.read_csv(results / "training.csv")
    for axes, column in zip(kept["compute"].axes, ("held_out_percent", "kodak_percent"), strict=True):
        for run, rows in table.dropna(subset=column).groupby("run"):
            same(curves(axes)[run], rows.megapixels, rows[column])
    levels, rate = np.arange(4), np.array([0.01, 0.03, 0.1, 0.3])
    validation = pd.concat(
        [
            pd.DataFrame(
                {"step": s, "level": levels, "bits_per_dim": f * rate, "rmse": 20 - 5 * levels, "seconds": 36 * s}
            )
            for s, f in ((50, 1.0), (100, 0.9))
        ]
    )
    points = pd.concat([validation.assign(image=name) for name in ("a.png", "b.png")])
    anchor = points[points.step == 50].assign(
        codec="bpg-444",
        setting=lambda t: t.level.astype(str),
        image_hash="x",
        bits_per_dim=lambda t: t.bits_per_dim / 1.25,
    )
    (tmp_path / "kodak").mkdir()
    anchor.to_csv(tmp_path / "kodak" / "rd.csv", index=False)
    for k, name in enumerate(("first", "second")):
        (tmp_path / name).mkdir()
        validation.assign(bits_per_dim=validation.bits_per_dim * 0.8**k).to_csv(
            tmp_path / name / "validation.csv", index=False
        )
        points.assign(bits_per_dim=points.bits_per_dim * 0.8**k).to_csv(tmp_path / f"{name}.csv", index=False)
        (tmp_path / name / "config.json").write_text(
            json.dumps({"steps": 100, "batch": 8, "crop": 100, "crop_late": 200, "late": 0.75 if k else 1.0})
        )
    command = [
        "training_curve",
        *(f"{name}={tmp_path / name}={name}.csv" for name in ("first", "second")),
        "--results",
        str(tmp_path),
    ]
    monkeypatch.setattr("sys.argv", command)
    training_curve.main()
    found = pd.read_csv(tmp_path / "training.csv").set_index(["run", "step"])
    assert found.hours["first", 100] == 1 and found.images["first", 100] == 2
    np.testing.assert_allclose(found.megapixels, [4, 8, 12, 16])  # 8 crops of 100 pixels or 2 of 200
    np.testing.assert_allclose(found.held_out_percent, [0, -10, -20, -28], atol=1e-3)
    np.testing.assert_allclose(found.kodak_percent, [25, 12.5, 0, -10], atol=1e-3)
    monkeypatch.setattr(
        "sys.argv",
        ["training_curve", f"third={tmp_path / 'second'}=second.csv", "--append", "--results", str(tmp_path)],
    )
    for _ in range(2):  # a second time it is put in the place of what was appended
        training_curve.main()
        longer = pd.read_csv(tmp_path / "training.csv").set_index(["run", "step"])
        np.testing.assert_allclose(longer.megapixels, [4, 8, 12, 16, 20, 24])
        np.testing.assert_allclose(longer.loc[["first", "second"]], found, atol=1e-3)
        assert longer.held_out_percent.isna().sum() == 2
        np.testing.assert_allclose(longer.kodak_percent["third"], [0, -10], atol=1e-3)
    monkeypatch.setattr("sys.argv", command)
    (tmp_path / "second.csv").unlink()
    with pytest.raises(SystemExit, match="second.csv"):
        training_curve.main()
    monkeypatch.setattr("sys.argv", ["training_curve", "first"])
    with pytest.raises(SystemExit, match="2"):
        training_curve.main()


def test_speed_effort_and_ablations(built) -> None:
    results, _, kept = built
    speed = pd.read_csv(results / "speed.csv")
    dots = {line.get_label(): line.get_xdata() for line in kept["speed"].axes[0].lines}
    for direction, rows in speed[speed.codec == "ours"].groupby("direction"):
        np.testing.assert_allclose(
            sorted(dots[direction]), np.sort(rows[["ratio_hyperprior", "ratio_webp", "ratio_avif"]].to_numpy().ravel())
        )
    effort = pd.read_csv(results / "effort_bd.csv")
    same(curves(kept["effort"].axes[0])["effort"], effort.cpu_s, effort.bd_rate_percent)
    table = pd.read_csv(results / "model-1" / "ablations.csv")
    axes = kept["ablations"].axes[0]
    dots = [line for line in axes.lines if line.get_marker() == "o"]
    assert sorted(x for line in dots for x in line.get_xdata()) == pytest.approx(sorted(table.bd_rate_percent))
    hollow = [x for line in dots if line.get_markerfacecolor() == "white" for x in line.get_xdata()]
    assert hollow == pytest.approx(table.bd_rate_percent[table.overlap_percent < 50].tolist()) and len(hollow) == 1
    assert "(model 1)" in axes.get_xlabel() and "hollow" in axes.get_xlabel()


def test_training_curves_and_quantisers_and_rates(built) -> None:
    results, _, kept = built
    manifest = json.loads((resources.files("codec") / "weights" / "manifest.json").read_text())
    entries = [*manifest["models"].values(), *manifest["semantic"].values()]
    for axes, entry in zip(kept["training"].axes, entries, strict=False):
        found = list(curves(axes).values())
        assert len(found) == len(entry["stages"])
        same(found[0], *np.array(entry["stages"][0]["loss_curve"]).T)
        assert found[-1][0][-1] == pytest.approx(
            sum(s["steps"] for s in entry["stages"][:-1]) + entry["stages"][-1]["loss_curve"][-1][0]
        )
    table = quantizers.read(results / "quantizers.csv")
    found = curves(kept["quantizers"].axes[0])
    for name, rows in table[table.weights == table.weights[0]].groupby("codec"):
        same(found[name], mean_curve(rows).rate, mean_curve(rows).rmse)
    means = pd.read_csv(results / "kodak" / "mean.csv")
    drawn = [line.get_xydata() for line in kept["rate_rmse_log"].axes[0].lines]
    for _, rows in means.groupby("codec"):
        points = rows.sort_values("bits_per_dim")[["bits_per_dim", "rmse"]].to_numpy()
        assert any(d.shape == points.shape and np.allclose(d, points) for d in drawn)


@pytest.mark.parametrize("name", [*figures.FIGURES, "quantizers"])
def test_words_stay_apart_and_inside(built, name: str) -> None:
    figure = built[2][name]
    figure.draw_without_rendering()
    words: list[Text] = []
    for axes in figure.axes:
        words += [*axes.texts, axes.xaxis.label, axes.yaxis.label, axes.title, axes._left_title]
        for axis in (axes.xaxis, axes.yaxis):
            low, high = sorted(axis.get_view_interval())
            words += [tick.label1 for tick in axis.get_major_ticks() if low <= tick.get_loc() <= high]
    words = [w for w in words if w.get_text() and w.get_visible()]
    boxes = [Text.get_window_extent(w) if isinstance(w, Annotation) else w.get_window_extent() for w in words]
    for k, (word, box) in enumerate(zip(words, boxes, strict=True)):
        page = figure.bbox.padded(1)
        assert page.x0 <= box.x0 and page.y0 <= box.y0 and box.x1 <= page.x1 and box.y1 <= page.y1, (
            f"{word.get_text()!r} is cut off"
        )
        for other, taken in zip(words[:k], boxes[:k], strict=True):
            assert not box.padded(-1).overlaps(taken), f"{word.get_text()!r} covers {other.get_text()!r}"


def test_tables_are_set_with_their_numbers(built) -> None:
    results, out, _ = built
    table = pd.read_csv(results / "kodak" / "decoders.csv")
    lines = (out / "decoders.md").read_text().splitlines()
    assert len(lines) == 2 + len(table)
    first = table.iloc[0]
    interval = f"{first.rmse:.2f} [{first.rmse_low:.2f}, {first.rmse_high:.2f}]"
    assert lines[2].startswith(f"| {first.decoder} | {first.images} | {first.bits_per_dim:.4f} | {interval} |")
    text = (out / "decoders_minus_vq.tex").read_text()
    assert "LPIPS - vq" in text and f"{table[table.decoder != 'vq'].iloc[0].lpips_minus_vq:+.4f}" in text
    assert text.startswith(r"\begin{tabular}{lr") and text.endswith("\\end{tabular}\n")
    bound = pd.read_csv(results / "semantic" / "nll.csv")
    assert f"{bound[bound.quality == bound.quality.min()].total.mean():.3f}" in (out / "nll.md").read_text()


def test_what_has_no_table_is_said_and_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setattr("sys.argv", ["figures", "--results", str(tmp_path), "--out", str(tmp_path / "out")])
    figures.main()
    said = capsys.readouterr().err.splitlines()
    assert len(said) == len(figures.FIGURES) - 1 + 2 + len(tables.TABLES)
    assert f"figure decoders is left out: there is no {tmp_path}/kodak/decoders.csv" in said
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["training.pdf", "training.png"]
    assert (tmp_path / "out" / "training.pdf").read_bytes()[:5] == b"%PDF-"


def test_a_table_that_cannot_be_used_is_said_and_the_others_are_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setattr(figures, "FIGURES", {name: figures.FIGURES[name] for name in ("speed", "effort", "training")})
    monkeypatch.setattr(tables, "TABLES", {"effort": tables.TABLES["effort"], "nll": tables.TABLES["nll"]})
    (tmp_path / "speed.csv").touch()
    (tmp_path / "effort_bd.csv").write_text("a,b\n1,2\n")
    (tmp_path / "semantic").mkdir()
    pd.DataFrame({"image": ["a"], "quality": 20.0, "stream": 1.0, "latents": 2.0, "pixels": 4.0, "total": 7.0}).to_csv(
        tmp_path / "semantic" / "nll.csv", index=False
    )
    monkeypatch.setattr("sys.argv", ["figures", "--results", str(tmp_path), "--out", str(tmp_path / "out")])
    assert figures.main() == 1
    said = capsys.readouterr().err
    assert f"figure speed failed: {tmp_path}/speed.csv cannot be read as a table" in said
    assert "figure effort failed: its table is not as expected (AttributeError" in said
    assert "table effort failed: its table has none of the columns effort, images" in said
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"training.pdf", "training.png", "nll.md", "nll.tex"}
