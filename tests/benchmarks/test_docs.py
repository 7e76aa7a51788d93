"""The pages that say how something is added: their examples run, and their links lead somewhere."""

import re
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
    named = set(re.findall(r"`((?:codec|benchmarks|tests|docs)/[\w/.-]+)`", page.read_text()))
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
