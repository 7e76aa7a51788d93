"""The study of other weights in the encoder's decisions: what it encodes, and the tables made of it."""

from pathlib import Path

import matplotlib.cbook
import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from benchmarks.studies.assignment import curvature, measure
from codec import manifest, zoo
from codec.bitstream.tables import KINDS

RESULTS = Path(__file__).parents[2] / "results"


@pytest.fixture(scope="module")
def crop() -> np.ndarray:
    with Image.open(matplotlib.cbook.get_sample_data("grace_hopper.jpg", asfileobj=False)) as photo:
        return np.array(photo.convert("RGB"))[20:148, 150:278]


@pytest.fixture(scope="module")
def encoder() -> measure.Encoder:
    return measure.Encoder(zoo.load(), zoo.find("default", manifest.read())[0])


def test_a_point_is_that_of_a_file_and_every_case_decides_otherwise(shipped, encoder, crop):
    level = 4480
    bits, error = encoder.point(crop, level, measure.UNIFORM)
    data = shipped.encode(crop, quality=70, lossless=False)
    assert bits == pytest.approx(8 * len(data), rel=0.03)
    assert error == pytest.approx(np.sqrt(np.square(shipped.decode_array(data).astype(float) - crop).mean()), rel=1e-3)
    others = {case: encoder.point(crop, level, case) for case in measure.CASES[1:]}
    assert len({(bits, error), *others.values()}) == len(measure.CASES)
    for more, less in others.values():  # errors weigh more there: more bits, less error
        assert bits < more < 1.2 * bits and 0.8 * error < less < error


def test_bits_are_the_true_ones_whatever_they_weigh(encoder, crop):
    asked = encoder.base.to_steps(measure.to_tensor(crop[None]), 4480)
    sent, _ = encoder.send(asked, 4480, "scales")
    coder, weighted = encoder.base.coder, encoder.scales[4480]
    assert coder.bits(sent) != pytest.approx(weighted.bits(sent), rel=1e-2)
    codes = asked.tokens[0].numpy()
    data = coder.encode(asked.v[0].numpy(), codes, 4480, asked.weight)
    uniform, _ = encoder.send(asked, 4480, measure.UNIFORM)
    assert coder.bits(uniform) == pytest.approx(sum(data.bits[1:]), rel=1e-6)


def test_moved_scales_leave_what_is_not_coded(encoder, crop):
    asked = encoder.base.to_steps(measure.to_tensor(crop[None]), 2560)
    sent, _ = encoder.send(asked, 2560, measure.UNIFORM)
    plain = encoder.base.coder.bits(sent)
    assert encoder.base.coder.bits([measure.moved(one, 0) for one in sent]) == plain
    for one in sent:
        up, scale = measure.moved(one, 3).table, one.table // KINDS
        assert (up % KINDS == one.table % KINDS).all()
        assert (up // KINDS)[scale == 0].max(initial=0) == 0
        assert (up // KINDS == scale + 3)[(scale > 0) & (scale < 70)].all()
    assert encoder.base.coder.bits([measure.moved(one, 6) for one in sent]) > 1.02 * plain


def test_points_are_kept_and_make_the_table(tmp_path):
    asked = []

    def find(crop: int, level: int, case: str) -> tuple[float, float]:
        asked.append((crop, level, case))
        return (0.9 if case == "groups" and level > 2560 else 1.0) * level * (1 + crop), 1e4 / level

    points = measure.measure(find, 1, tmp_path / "points.csv")
    points = measure.measure(find, 2, tmp_path / "points.csv")
    assert len(asked) == len(set(asked)) == len(points) == 2 * len(measure.LEVELS) * len(measure.CASES)
    rows = pd.DataFrame(measure.table(points)).set_index(["region", "case"])
    assert rows.crops.eq(2).all() and rows.percent["high", "groups"] == pytest.approx(-10, abs=1e-3)
    assert rows.percent["low", "groups"] == pytest.approx(0, abs=1e-9)
    assert rows.percent["all", "scales"] == pytest.approx(0, abs=1e-9)


def test_the_curvature_is_that_of_differences(encoder, crop):
    base, level = encoder.base, 4480
    groups = curvature.around(base, crop, level)
    asked = base.to_steps(measure.to_tensor(crop[None]), level)
    _, v_hat = encoder.send(asked, level, measure.UNIFORM)
    net, y_hat = base.vqvae, base.from_steps(v_hat, level)
    signs = np.random.default_rng(0).choice((-1.0, 1.0), y_hat.shape).astype(np.float32)
    for (length, terms, half), g in zip(groups, base.config.groups, strict=True):
        assert terms.shape == (3, len(half))
        change = np.zeros_like(signs)
        change[:, g.start : g.stop] = 1e-3 * signs[:, g.start : g.stop]
        change = torch.from_numpy(change)
        with torch.no_grad():
            apart = net.synthesise(y_hat + change, asked.position) - net.synthesise(y_hat - change, asked.position)
        # of one draw of signs: what a group's latents do to one another is in it too
        assert (apart.square().sum() / (4 * change.square().sum())).item() == pytest.approx(length, rel=0.2)


def test_the_committed_tables_say_what_the_docs_say():
    rows = pd.read_csv(RESULTS / "assignment.csv").set_index(["region", "case"])
    best = rows.loc["all"].drop("scale offset").percent
    assert best.idxmin() == "groups" and -0.5 < best.min() < 0
    assert rows.loc[("all", "scale offset")].percent > -0.3
    answers = pd.read_csv(RESULTS / "assignment_curvature.csv")
    assert answers.curvature.between(0.2, 4).all()
