"""Codecs from outside: the example of the documentation is measured, and what is no plugin is one sentence."""

import re
from importlib.metadata import EntryPoint
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest

from benchmarks.codecs import CodecBroken, CodecOptions, Search, expand_names, make_codec, plugins
from benchmarks.harness.errors import BenchmarkError
from benchmarks.rd_curve import main

PAGE = Path(__file__).parents[2] / "docs" / "add-a-codec.md"


@pytest.fixture
def example(tmp_path: Path) -> Path:
    """The first block of the page, as a file."""
    path = tmp_path / "palette_png.py"
    path.write_text(re.search(r"```python\n(.*?)```", PAGE.read_text(), re.S)[1])
    return path


def test_the_example_is_short(example: Path) -> None:
    assert len([line for line in example.read_text().splitlines() if line.strip()]) <= 25


@pytest.mark.parametrize("jobs", ["1", "2"])
@pytest.mark.slow
def test_the_example_is_measured_beside_the_others(example: Path, folder: Path, tmp_path: Path, jobs: str) -> None:
    arguments = [
        "--images",
        str(folder),
        "--plugin",
        str(example),
        "--codecs",
        "jpeg,palette-png",
        "--settings",
        "palette-png=8,64",
    ]
    more = [
        "--points",
        "2",
        "--metrics",
        "",
        "--rate-axis",
        "log",
        "--no-report",
        "--jobs",
        jobs,
        "--out",
        str(tmp_path / "out"),
    ]
    assert main([*arguments, *more]) == 0
    rows = pd.read_csv(tmp_path / "out" / "rd.csv")
    own = rows[rows.codec == "palette-png"]
    assert sorted(own.setting.unique()) == [8, 64] and len(own) == 4 and (rows.codec == "jpeg").any()
    mean = own.groupby("setting")[["bits_per_dim", "rmse"]].mean()
    assert mean.bits_per_dim[8] < mean.bits_per_dim[64] and mean.rmse[8] > mean.rmse[64]


def test_entry_points_are_codecs_too(example: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(example.parent)
    point = EntryPoint("mine", "palette_png:CODECS", plugins.GROUP)
    made = SimpleNamespace(version="1", settings=(1,), search=Search(1, 2, 1), encode=bytes, decode=bytes)
    monkeypatch.setattr(EntryPoint, "load", lambda self: lambda options: made)
    monkeypatch.setattr(plugins, "entry_points", lambda group: [point] if group == "ldc.codecs" else [])
    plugins.outside.cache_clear()
    assert expand_names(["mine"]) == ("mine",) and "mine" in expand_names(["all"])
    assert make_codec("mine", CodecOptions()) is made
    plugins.outside.cache_clear()


def test_a_package_as_the_page_has_it_is_a_codec(
    example: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The page named its class, which takes no options."""
    site = tmp_path / "site"
    info, package = site / "my_package-1.dist-info", site / "my_package"
    info.mkdir(parents=True)
    package.mkdir()
    blocks = re.findall(r"```(\w+)\n(.*?)```", PAGE.read_text(), re.S)
    group, line = next(text for kind, text in blocks if kind == "toml").split("\n")[:2]
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: my-package\nVersion: 1\n")
    (info / "entry_points.txt").write_text(
        f"[{group.split(chr(34))[1]}]\n{line.replace(chr(34), '')}\nbroken = no_such_package:make\n"
    )
    (package / "__init__.py").touch()
    (package / "codec.py").write_text("\n\n".join(text for kind, text in blocks if kind == "python"))
    monkeypatch.syspath_prepend(site)
    plugins.outside.cache_clear()
    try:
        made = make_codec("palette-png", CodecOptions())
        assert made.settings == (4, 16, 64, 256)
        with pytest.raises(CodecBroken, match="no_such_package:make cannot be loaded"):  # and only when it is asked for
            make_codec("broken", CodecOptions())
        info.with_name("other-1.dist-info").mkdir()
        for name in ("METADATA", "entry_points.txt"):
            (site / "other-1.dist-info" / name).write_text((info / name).read_text().replace("my-package", "other"))
        plugins.outside.cache_clear()
        with pytest.raises(BenchmarkError, match="two codecs 'palette-png'"):
            make_codec("jpeg", CodecOptions())
    finally:
        plugins.outside.cache_clear()


@pytest.mark.parametrize(
    "text, said",
    [
        ("1 / 0", "cannot be loaded"),
        ("x = 1", "no dictionary CODECS"),
        ("import sys; sys.exit('bye')", "cannot be loaded \\(bye\\)"),
        ("CODECS = {3: print}", "no dictionary CODECS"),
        ("CODECS = {'jpeg': print}", "'jpeg' of a codec from outside is taken"),
    ],
)
def test_what_is_no_plugin(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "bad.py").write_text(text)
    with pytest.raises(BenchmarkError, match=said):
        expand_names(["jpeg"], (str(tmp_path / "bad.py"),))


@pytest.mark.parametrize(
    "maker, said",
    [
        ("lambda options: None", "mine is broken: what its maker gives (None) is no codec: version"),
        ("lambda options: 1 / 0", "mine is broken: it cannot be made (ZeroDivisionError: division by zero)"),
        ("lambda options: exit(3)", "mine is broken: it cannot be made (SystemExit: 3)"),
        ("lambda: None", "mine is broken: it cannot be made (TypeError"),
        ("lambda options: changed(settings=('lo', 'hi'))", "is no codec: settings"),
        ("lambda options: changed(settings=())", "is no codec: settings"),
        ("lambda options: changed(settings=None)", "is no codec: settings"),
        ("lambda options: changed(settings=(float('nan'),))", "is no codec: settings"),
        ("lambda options: changed(search=(1, 2))", "is no codec: search"),
        ("lambda options: changed(encode=None)", "is no codec: encode"),
    ],
)
def test_a_maker_of_what_is_no_codec_is_told_and_the_others_are_measured(
    maker: str, said: str, example: Path, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    plugin = tmp_path / "mine.py"
    change = "def changed(**parts):\n    return type('Mine', (PalettePng,), parts)()\n"
    plugin.write_text(f"{example.read_text()}\n\n{change}\n\nCODECS = {{'mine': {maker}}}\n")
    words = ["--images", folder, "--plugin", plugin, "--codecs", "mine,jpeg", "--points", "2", "--metrics", "gmsd"]
    words += ["--jobs", "1", "--no-report", "--rate-axis", "log", "--out", tmp_path / "out"]
    assert main([str(word) for word in words]) == 1
    assert said in capsys.readouterr().err
    assert set(pd.read_csv(tmp_path / "out" / "rd.csv").codec) == {"jpeg"}


@pytest.mark.parametrize("jobs", ["1", "2"])
@pytest.mark.slow
def test_a_codec_that_leaves_does_not_end_the_run(
    example: Path, folder: Path, tmp_path: Path, jobs: str, capsys: pytest.CaptureFixture
) -> None:
    plugin = tmp_path / "mine.py"
    plugin.write_text(example.read_text().replace("return buffer.getvalue()", "raise SystemExit(3)"))
    words = ["--images", folder, "--plugin", plugin, "--codecs", "palette-png,jpeg", "--points", "2", "--metrics", ""]
    words += ["--jobs", jobs, "--rate-axis", "log", "--out", tmp_path / "out"]
    assert main([str(word) for word in words]) == 1
    assert "a.png: palette-png failed at setting 4: SystemExit: 3" in capsys.readouterr().err
    assert set(pd.read_csv(tmp_path / "out" / "rd.csv").codec) == {"jpeg"}


def test_a_setting_stays_the_number_it_is(
    example: Path, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    """1234567 was measured as 1.23457e+06; a setting that is there twice was measured twice."""
    plugin = tmp_path / "mine.py"
    text = example.read_text().replace("(4, 16, 64, 256)", "(4, 4.0, 0.1, 1234567, 1e30)")
    plugin.write_text(text.replace("quantize(int(setting))", "quantize(4 + int(setting == 1234567))"))
    words = ["--images", folder, "--plugin", plugin, "--codecs", "palette-png", "--metrics", "", "--jobs", "1"]
    assert main([str(word) for word in [*words, "--no-report", "--rate-axis", "log", "--out", tmp_path / "out"]]) == 0
    rows = pd.read_csv(tmp_path / "out" / "rd.csv", dtype=str)
    assert sorted(rows[rows.image == "a.png"].setting) == ["0.1", "1234567.0", "1e+30", "4"]
    errors = rows.groupby("setting").rmse.unique()
    assert set(errors["4"]) == set(errors["0.1"]) != set(errors["1234567.0"])


def test_two_codecs_of_one_name(example: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.py"
    other.write_text(example.read_text())
    with pytest.raises(BenchmarkError, match="two codecs 'palette-png'"):
        expand_names(["jpeg"], (str(example), str(other)))
