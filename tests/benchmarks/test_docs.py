"""The pages that say how something is added: their examples run, and their links lead somewhere."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from benchmarks.codecs import expand_names

DOCS = Path(__file__).parents[2] / "docs"
PAGES = sorted(DOCS.glob("*.md"))
OTHERS = [DOCS.parent / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "results/README.md")]


def block(page: str) -> str:
    """The first Python block of a page."""
    return re.search(r"```python\n(.*?)```", (DOCS / page).read_text(), re.S)[1]


def test_the_quantiser_of_the_page_is_one() -> None:
    text = block("add-a-quantiser.md")
    assert len(text.splitlines()) <= 60
    made: dict[str, type] = {}
    exec(text, made)
    wide, plain = made["DeadZone"](), made["DeadZone"](0.5)
    rng = np.random.default_rng(0)
    scale = np.repeat(np.array([[0, 20, 30, 40]]), 4000, 0)
    sigma = np.array([0.05, 0.5, 1.2, 3.0])
    r = (rng.laplace(size=scale.shape) * sigma / np.sqrt(2)).astype(np.float32)
    sent = {}
    for q in (wide, plain):
        q.send(r, scale, np.ones(4, np.float32))
        q.refit()
        sent[q.width] = q.send(r, scale, np.ones(4, np.float32))
    assert np.array_equal(sent[0.5].values[:, 1:], np.sign(r[:, 1:]) * np.floor(np.abs(r[:, 1:]) + 0.5))
    assert (sent[0.62].values[:, 0] == 0).all()
    errors = {w: np.square(s.values - r).mean() for w, s in sent.items()}
    assert sent[0.62].bits < sent[0.5].bits and errors[0.62] > errors[0.5]


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_files_that_a_page_names_are_there(page: Path) -> None:
    named = set(re.findall(r"`((?:codec|benchmarks|results|tests|docs)/[\w/.-]+)`", page.read_text()))
    assert named and not [name for name in named if not (DOCS.parent / name).exists()]


def test_the_metric_of_the_page_is_one() -> None:
    import torch

    text = block("add-a-metric.md")
    assert len(text.splitlines()) <= 25
    made: dict = {}
    exec(text, made)
    metric = made["METRIC"].maker(None)
    x = torch.rand(1, 3, 8, 9, generator=torch.Generator().manual_seed(0))
    metric.reference(x)
    assert metric.score(x + 0.1) == pytest.approx(0, abs=1e-4)  # the same everywhere has no gradient
    ramp = torch.arange(9) * (2 / 255)
    assert metric.score(x + ramp) == pytest.approx(2, rel=1e-4)


def test_the_manifest_of_the_page_is_read(tmp_path: Path) -> None:
    from codec import manifest

    text = re.search(r"```json\n(.*?)```", (DOCS / "add-a-decoder.md").read_text(), re.S)[1]
    (tmp_path / "manifest.json").write_text(text)
    assert manifest.read(tmp_path).decoders_of(1000) == ("vq", "gan")


def test_the_version_is_the_same_everywhere() -> None:
    import codec

    root = DOCS.parent
    assert f"\nversion: {codec.__version__}\n" in (root / "CITATION.cff").read_text()
    assert f"## [{codec.__version__}]" in (root / "CHANGELOG.md").read_text()


def test_the_site_builds_without_a_warning(tmp_path: Path) -> None:
    pytest.importorskip("mkdocs", reason="the extra docs is not installed")
    pytest.importorskip("mkdocstrings", reason="the extra docs is not installed")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path / "site")]
    result = subprocess.run(command, cwd=DOCS.parent, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    page = (tmp_path / "site" / "api.html").read_text()
    assert all(f'id="codec.{name}"' in page for name in ("encode", "decode", "upscale", "api.load", "api.Codec.decode"))
    assert "The LDC file format" in (tmp_path / "site" / "format.html").read_text()


def test_the_networks_of_the_training_page_are_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch, files = pytest.importorskip("torch"), pytest.importorskip("safetensors.torch")
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "HUB" / "checkpoints"
    folder.mkdir(parents=True)
    for name in ("vgg16-397923af.pth", "alexnet-owt-7be5be79.pth"):
        torch.save({"features.0.bias": torch.ones(3), "classifier.1.bias": torch.zeros(3)}, folder / name)
    exec(block("training.md"), {})
    assert list(files.load_file("vgg.safetensors")) == list(files.load_file("alex.safetensors")) == ["features.0.bias"]
    heads = files.load_file("heads.safetensors")
    assert set(heads) == {f"{name}.lin{k}.weight" for name in ("vgg", "alex") for k in range(5)}


def test_what_belongs_to_one_machine_is_named_nowhere() -> None:
    """Paths of a page stay inside the repository, from where its commands are run and from where it lies."""
    for page in OTHERS + PAGES:
        for path in re.findall(r"(?<![\w./])(?:\.\./)+[\w./-]*", page.read_text()):
            assert (page.parent / path).exists() and (page.parent / path).resolve().is_relative_to(DOCS.parent), (
                page,
                path,
            )
        assert not re.search(r"(?<![\w.])/(work|root|home|Users)/", page.read_text()), page


def test_links_between_pages_lead_somewhere() -> None:
    for page in OTHERS + PAGES:
        links = re.findall(r"\]\(([^)#\s]+)", page.read_text())
        assert not [link for link in links if "://" not in link and not (page.parent / link).exists()], page


def test_a_command_for_a_model_of_ones_own_names_it() -> None:
    """Two of a block did not, and what they wrote was the shipped model."""
    lines = [line for line in (DOCS / "training.md").read_text().splitlines() if line.startswith("python -m")]
    of_a_model = (
        "decoded",
        "train_filter",
        "train_refiner",
        "restoration.crops",
        "restoration.train",
        "restoration.labels",
    )
    chosen = [line for line in lines if line.split()[2].endswith(of_a_model)]
    assert len(chosen) >= 9 and all("$MODEL" in line for line in chosen)


def test_the_command_of_the_kodak_tables_measures_what_they_hold() -> None:
    text = (DOCS.parent / "results" / "README.md").read_text()
    codecs = re.search(r"--images KODAK --codecs (\S+) ", text)[1]
    held = set(pd.read_csv(DOCS.parent / "results" / "kodak" / "rd.csv").codec)
    assert {name for name in expand_names(codecs.split(",")) if name.startswith("ours")} == {
        name for name in held if name.startswith("ours")
    }
