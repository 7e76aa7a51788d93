"""What a batch is drawn from."""

import numpy as np
import pytest
import torch
from PIL import Image

from codec.models.config import VQVAEConfig
from codec.training.data.held_out import EVERY, held_out, listed
from codec.training.data.packs import Mixture, draw_levels, open_packs
from codec.training.losses import rate_distortion

CPU, SHAPE = torch.device("cpu"), VQVAEConfig()


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Photographs are red, fine ones green, drawings blue; a photograph that is held out is black."""
    home = tmp_path_factory.mktemp("packs")
    for name, colour in (("photos/a.png", "red"), ("fine/fine-00/a.png", "lime"), ("fine/drawn-00/b.png", "blue")):
        (home / name).parent.mkdir(parents=True, exist_ok=True)
        for k in range(3):
            held = name.startswith("photos") and k == 0
            Image.new("RGB", (280, 260), "black" if held else colour).save((home / name).with_stem(f"{k}"))
    return home


def packs(home, **shares):
    return open_packs(home / "photos", home / "fine", home / "cache", Mixture(**shares))


def test_a_batch_has_the_shares_that_were_asked_for(folders):
    rng = np.random.default_rng(0)
    drawn = [packs(folders, fine=0.3, drawings=0.1).batch(rng, 20, 64, CPU, SHAPE) for _ in range(40)]
    kinds = torch.cat([x.mean((2, 3)).round() for x, _, _ in drawn])
    share = kinds.mean(0)
    assert share.sum() == 1 and abs(share[1] - 0.3) < 0.03 and abs(share[2] - 0.1) < 0.03  # none is held out
    level = torch.cat([level for _, level, _ in drawn])
    fine, photo = level[kinds[:, 1] == 1], level[kinds[:, 0] == 1]
    assert fine.mean() > photo.mean() + 1.5 and fine.min() < 4 < photo.max()
    lam = torch.cat([lam for _, _, lam in drawn])
    expected = np.exp(np.interp(level.numpy(), np.arange(8), np.log(SHAPE.lambdas())))
    assert np.allclose(lam.numpy(), expected, rtol=1e-5)


def test_without_a_second_pack_everything_is_of_the_first(folders):
    x, level, _ = open_packs(folders / "photos", None, folders / "cache", Mixture()).batch(
        np.random.default_rng(1), 8, 64, CPU, SHAPE
    )
    assert x.shape == (8, 3, 64, 64) and (x[:, 0] == 1).all() and level.shape == (8,)
    with pytest.raises(SystemExit, match="drawings needs --fine"):
        open_packs(folders / "photos", None, folders / "cache", Mixture(drawings=0.1))
    with pytest.raises(SystemExit, match="shares of a batch"):
        packs(folders, fine=0.9, drawings=0.2)


@pytest.mark.parametrize("upper", [0.6, 0.8])
def test_levels_are_spread_as_asked(upper):
    level = torch.cat([draw_levels(np.random.default_rng(k), 10, SHAPE, upper)[0] for k in range(50)])
    assert level.min() >= 0 and level.max() <= 7
    assert abs((level > 0.4 * 7).float().mean() - upper) < 0.01


def test_a_smaller_exponent_gives_more_weight_to_high_rates():
    x, bits, lam = torch.zeros(2, 3, 8, 8), torch.tensor([10.0, 10.0]), torch.tensor([1e-4, 1e-1])
    low, high = (
        [rate_distortion(x[k : k + 1], x[k : k + 1] + 0.1, bits[k : k + 1], lam[k : k + 1], e)[0] for e in (0.5, 0.35)]
        for k in (0, 1)
    )
    assert high[1] / low[1] > high[0] / low[0] * 2


def test_a_missing_shard_does_not_change_what_is_held_out():
    names = [f"s{k % 3}.tar/p{k:05d}.avif" for k in range(60)]
    known = {"p00003.avif", "p00044.avif"}
    assert held_out(names, known) == {"s0.tar/p00003.avif", "s2.tar/p00044.avif"}
    assert held_out([n for n in names if not n.startswith("s0")], known) == {"s2.tar/p00044.avif"}
    assert held_out(names, listed() - set(map(lambda n: n.split("/")[1], names))) == set(names[::EVERY])


def test_nothing_is_written_among_the_photographs_of_either_pack(folders):
    before = sorted(p for p in folders.rglob("*"))
    for cache in (folders / "photos" / "cache", folders / "fine" / "cache"):
        with pytest.raises(SystemExit, match="inside the folder of photographs"):
            open_packs(folders / "photos", folders / "fine", cache, Mixture())
    assert sorted(p for p in folders.rglob("*")) == before
