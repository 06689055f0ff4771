import numpy as np
import pandas as pd
import pytest

from modelrank.replay.calibration import calibrated, calibration
from modelrank.replay.hubs import hub
from modelrank.replay.policies import Believing


def made(noise, models=15, sets=8, digits=6):
    rng = np.random.default_rng(0)
    quality = 0.7 + 0.05 * rng.standard_normal(models)
    rows = [
        {"dataset": f"s{j}", "model": f"m{i}", "accuracy": round(quality[i] + noise * rng.standard_normal(), digits)}
        for i in range(models)
        for j in range(sets)
    ]
    return hub(pd.DataFrame(rows), "made", modality="none")


@pytest.mark.parametrize("noise", [0.04, 0.08])
def test_what_is_predicted_is_about_as_often_true(noise):
    rows = calibration(made(noise), Believing())
    early = rows.loc[rows.results <= 3]
    assert 0.6 < early.covered.mean() < 0.97
    assert set(rows.results) == {0, 1, 2, 3, 5, 10}
    assert (rows.untrained == 15 - rows.results).all()
    said = rows.dropna(subset=["sure"])
    assert said.loc[said.right == 1].sure.mean() > said.loc[said.right == 0].sure.mean() + 0.1
    assert ((said.gap <= 0.01) == (said.right == 1)).all()


def test_exactly_a_point_is_no_more_than_a_point():
    rows = calibration(made(0.04, sets=16, digits=2), Believing()).dropna(subset=["sure"])
    at_a_point = rows.loc[rows.gap.round(6) == 0.01]
    assert len(at_a_point) > 3
    assert (at_a_point.right == 1).all()


def test_the_summary_counts_each_hub_once():
    rows = pd.DataFrame(
        {
            "hub": ["a", "a", "a", "b"],
            "covered": [1.0, 1.0, 1.0, 0.6],
            "sure": [0.9, 0.9, 0.2, 0.1],
            "right": [1, 0, 0, 1],
        }
    )
    found = calibrated(rows).set_index("hub")
    assert found.covered["all"] == pytest.approx(0.8)
    assert found.right["a"] == found.right["all"] == 0.5
    assert found.sure_cells.tolist() == [2, 0, 2]
    assert np.isnan(found.right["b"])
