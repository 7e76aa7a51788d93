"""benchmarks/studies/dependencies.py: its arithmetic on made-up packages, its table against this installation."""

import json
import subprocess
import sys
import tomllib
from pathlib import Path

import pandas as pd
import pytest
from packaging.requirements import Requirement

from benchmarks.harness.errors import BenchmarkError
from benchmarks.report import readme
from benchmarks.studies import dependencies

ROOT = Path(__file__).parents[2]
WHOLE = pd.read_csv(ROOT / "results" / "dependencies.csv").set_index("package")
TABLE = WHOLE.drop(dependencies.SHARED)
#: asked for by name by those who ordered the project
NAMED = {"torch", "compressai", "numpy", "scipy", "pandas", "matplotlib", "pytorch-msssim"}


def install(folder: Path, name: str, needs: tuple[str, ...] = (), size: int = 1000) -> None:
    """A made-up distribution with one module of so many bytes."""
    (folder / f"{name}.py").write_bytes(b"#" * size)
    info = folder / f"{name}-1.0.dist-info"
    info.mkdir()
    lines = ["Metadata-Version: 2.1", f"Name: {name}", "Version: 1.0", *(f"Requires-Dist: {n}" for n in needs)]
    (info / "METADATA").write_text("\n".join(lines) + "\n")
    (info / "RECORD").write_text(f"{name}.py,,\n{name}.pyc,,\nmissing.py,,\n")
    (info / "top_level.txt").write_text(name + "\n")
    (folder / f"{name}.pyc").write_bytes(bytes(10**6))  # bytecode does not count


def test_what_two_bring_is_counted_for_neither(tmp_path, monkeypatch):
    install(tmp_path, "madeapple", ("madecore", "madepip>=1", "absent; extra == 'more'", "other; python_version < '3'"))
    install(tmp_path, "madepear", ("madecore", "madeapple"), size=5000)
    install(tmp_path, "madecore", ("madepear",), size=70)  # a circle
    install(tmp_path, "madepip", ("madeleaf", "not-installed-at-all"), size=2 * 10**6)
    install(tmp_path, "madeleaf")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert dependencies.needs("madeapple") == ["madecore", "madepip"]
    assert dependencies.closure("madeapple") == {"madeapple", "madecore", "madepear", "madepip", "madeleaf"}
    assert dependencies.shared_out(["madeapple", "madepip"]) == {
        "madeapple": ["madecore", "madepear"],
        "madepip": ["madeleaf"],
    }
    assert dependencies.shared_out(["madeapple", "madepear"]) == {"madeapple": ["madeleaf", "madepip"], "madepear": []}
    assert dependencies.megabytes("madepip") == 2 and dependencies.megabytes("madepear") == 0.005
    dependencies.owners.cache_clear()
    assert dependencies.modules("madepear") == ["madepear"]
    dependencies.owners.cache_clear()
    assert "PIL" in dependencies.modules("pillow") and dependencies.modules("pytorch-msssim")[0] == "pytorch_msssim"


def test_a_command_tells_what_it_loaded():
    assert {"codec", "argparse"} <= dependencies.loaded(["--help"])
    with pytest.raises(BenchmarkError, match="info missing.ldc failed: .*No such file"):
        dependencies.loaded(["info", "missing.ldc"])


def test_the_table_is_of_the_dependencies_that_are_declared():
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    requirements = {r.name: r for r in map(Requirement, declared)}
    assert set(TABLE.index) == set(requirements) and set(requirements) >= NAMED
    for name, requirement in requirements.items():
        assert requirement.specifier.contains(TABLE.installed[name].split("+")[0]), name


def test_every_dependency_is_named_loaded_or_brought_by_one_that_is():
    """The core is what encoding and decoding need, and what was asked for by name."""
    used = {name for name in TABLE.index if (TABLE.loc[name, list(dependencies.COMMANDS)] == "yes").any()}
    brought = set().union(*(dependencies.closure(name) for name in NAMED))
    assert set(TABLE.index) <= used | NAMED | brought
    for column in ("encode", "decode"):
        assert {"torch", "numpy", "pillow", "constriction", "safetensors"} <= set(TABLE.index[TABLE[column] == "yes"])
    for column in dependencies.COMMANDS:
        assert not {"compressai", "pandas", "matplotlib", "torchvision"} & set(TABLE.index[TABLE[column] == "yes"])
    assert (TABLE[["help", "info"]] == "no").all().all()


@pytest.mark.parametrize("column", ["help", "info"])
def test_the_table_says_what_is_loaded_here(column, tmp_path):
    golden = str(ROOT / "tests" / "golden" / "model6-photo-q50.ldc")
    loaded = dependencies.loaded(golden if word == "FILE" else word for word in dependencies.COMMANDS[column])
    for name in TABLE.index:
        assert (TABLE.loc[name, column] == "yes") == bool(loaded & set(dependencies.modules(name))), name


def test_the_table_of_the_page_has_every_dependency():
    shown = readme.TABLES["dependencies"](ROOT / "results")
    assert list(shown["package"]) == [*WHOLE.index, "together"]
    assert float(shown.iloc[-1]["MB"]) == pytest.approx(TABLE.own_mb.sum(), abs=0.1)
    assert float(shown.iloc[-1]["brings, MB"]) == pytest.approx(WHOLE.brings_mb.sum(), abs=0.1)
    facts = json.loads((ROOT / "results" / "dependencies.json").read_text())
    assert set(facts["commands"]) == set(dependencies.COMMANDS)


def test_wrong_usage_is_told():
    command = [sys.executable, "-m", "benchmarks.studies.dependencies", "--repeats", "0"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 2 and done.stderr.endswith("is no whole number from 1\n")
