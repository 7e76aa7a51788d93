"""The table of what a narrow prior costs: as it is made, and what the committed one says."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from benchmarks.studies.narrow_prior import POSITIONS, REGIONS, Compared, speed, summary
from codec.models import integer_export
from tests.support.small import narrow_model, small_model

RESULTS = Path(__file__).parents[2] / "results"


def prior_of(model, **trained) -> Compared:
    return Compared(
        model.config, integer_export.export(model.prior, model.tokens, model.sd, model.log2_gain), **trained
    )


@pytest.fixture(scope="module")
def priors() -> dict[str, Compared]:
    return {"wide": prior_of(small_model()), "trained": prior_of(narrow_model(), steps=7, minutes=2.0)}


def test_what_a_prior_costs_is_told_by_region(priors):
    rows = []
    for name, more in (("wide", 1.0), ("trained", 1.01)):
        for position in POSITIONS:
            high = more if position > 4 else 1.0
            rows += [(name, crop, position, high * 0.01 * 2**position, 20 * 0.7**position) for crop in range(2)]
    found = pd.DataFrame(rows, columns=["prior", "crop", "position", "bits_per_dim", "rmse"])
    table = summary(found, priors).set_index(["region", "prior"])
    assert len(table) == 2 * len(REGIONS)
    for region, percent in {"low": 0.0, "high": 1.0}.items():
        own = table.loc[region, "trained"]
        assert own.bits_per_dim_percent == pytest.approx(percent) and own.bd_rate_percent == pytest.approx(percent)
        assert own.rmse_percent == 0 and (own.steps, own.minutes) == (7, 2.0)
    assert (table.xs("wide", level="prior")[["bits_per_dim_percent", "bd_rate_percent"]].abs() < 1e-9).all(axis=None)


def test_times_are_shares_of_the_wide_networks(priors):
    table = speed(priors, 1)
    assert table.numbers.tolist() == ["float64", "float32"] * 2 and (table.time_of_wide > 0).all()
    assert (table[table.prior == "wide"].time_of_wide == 1).all()


def test_the_committed_table_keeps_the_promise():
    table = pd.read_csv(RESULTS / "narrow_prior.csv").set_index(["region", "prior"])
    trained = table.xs("trained", level="prior")
    assert trained.loc["all"].bd_rate_percent <= 0.5 < table.loc["all", "converted"].bd_rate_percent
    assert trained.bits_per_dim_percent.max() <= 0.5
    assert np.isfinite(table.to_numpy()).all() and table.xs("wide", level="prior").bd_rate_percent.eq(0).all()
