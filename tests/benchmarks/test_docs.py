"""The pages that say how something is added: their examples run, and their links lead somewhere."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

DOCS = Path(__file__).parents[2] / "docs"
PAGES = sorted(DOCS.glob("*.md"))


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


def test_what_belongs_to_one_machine_is_named_nowhere() -> None:
    root = DOCS.parent
    for page in (root / "README.md", root / "results" / "README.md", root / "CONTRIBUTING.md", *PAGES):
        assert "../shared" not in page.read_text(), page


def test_links_between_pages_lead_somewhere() -> None:
    for page in (DOCS.parent / "README.md", DOCS.parent / "results" / "README.md", DOCS.parent / "CONTRIBUTING.md", *PAGES):
        links = re.findall(r"\]\(([^)#\s]+)", page.read_text())
        assert not [link for link in links if "://" not in link and not (page.parent / link).exists()], page
