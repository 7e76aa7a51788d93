"""What the encoder's search buys: the summary counts pictures that were measured whole, against effort 1 and against
BPG."""

import numpy as np
import pandas as pd

from benchmarks.studies import effort_before
from benchmarks.studies.effort import ANCHOR, summary


def rows(image: str, factor: float, **more: object) -> pd.DataFrame:
    rate = np.array([0.01, 0.03, 0.1, 0.3])
    return pd.DataFrame(
        {
            "image": image,
            "image_hash": image,
            "quality": [20.0, 45.0, 70.0, 92.0],
            "bits_per_dim": factor * rate,
            "rmse": 20 / (1 + 10 * rate),
            **more,
        }
    )


def test_efforts_against_the_first_and_against_bpg():
    measured = pd.concat(
        [rows(name, f, effort=e, cpu_s=s) for name in "abc" for e, f, s in ((1, 1.0, 0.5), (9, 0.9, 40.0))]
    )
    begun = pd.concat(
        [rows("d", 1.0, effort=1, cpu_s=0.5), rows("d", 0.4, effort=9, cpu_s=99.0)[:3]]
    )  # effort 9 is not whole yet
    others = pd.concat(
        [rows(name, 0.95, codec=ANCHOR, setting="1") for name in "abcd"] + [rows("a", 3.0, codec="jpeg", setting="1")]
    )
    found = summary(pd.concat([measured, begun]), others).set_index("effort")
    assert found.images.tolist() == [4, 3] and found.cpu_s.tolist() == [0.5, 40.0]
    np.testing.assert_allclose(found.bd_rate_percent, [0, -10], atol=1e-3)
    np.testing.assert_allclose(found.bpg_bd_rate_percent, [100 / 0.95 - 100, 90 / 0.95 - 100], atol=1e-2)
    assert "bpg_bd_rate_percent" not in summary(measured, None)


def test_now_against_before():
    """Pictures that both have at all qualities; bytes and seconds of today over those of before."""
    pairs = [
        rows(name, f, codec=codec, effort=9, cpu_s=s)
        for name in "abc"
        for codec, f, s in ((effort_before.BEFORE, 1.0, 30.0), (effort_before.NOW, 0.97, 12.0))
    ]
    begun = rows("d", 9.0, codec=effort_before.BEFORE, effort=9, cpu_s=99.0)
    found = effort_before.summary(pd.concat([*pairs, begun])).iloc[0]
    assert found.images == 3 and found.cpu_ratio == 0.4
    np.testing.assert_allclose(found.bd_rate_percent, -3, atol=1e-3)
