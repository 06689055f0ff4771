import numpy as np
import pandas as pd
import pytest

from modelrank.replay.verdict import verdict, winners_of


def rows(policy, hub, values):
    return [
        {
            "policy": policy,
            "budget": "results",
            "amount": 1,
            "hub": hub,
            "dataset": f"d{i}",
            "relative": v,
            "rank": 1 + i,
        }
        for i, v in enumerate(values)
    ]


def test_hubs_count_once_whatever_their_size():
    table = pd.DataFrame([*rows("p", "small", [1.0, 1.0]), *rows("p", "large", [0.0] * 20)])
    row = verdict(table).iloc[0]
    assert (row.hubs, row.datasets) == (2, 22)
    assert row.relative == row.low == row.high == 0.5
    assert np.isnan(row.against)
    assert row["rank"] == pytest.approx((1.5 + 10.5) / 2)


def test_the_interval_is_that_of_the_mean_over_data_sets():
    values = np.random.default_rng(0).random(100)
    row = verdict(pd.DataFrame(rows("p", "h", values))).iloc[0]
    half = 1.96 * values.std() / 10
    assert row.relative == pytest.approx(values.mean())
    assert (row.low, row.high) == pytest.approx((values.mean() - half, values.mean() + half), abs=0.01)


def test_against_the_static_order_on_the_same_data_sets():
    values = np.random.default_rng(0).random(30)
    table = pd.DataFrame([*rows("static order", "h", values), *rows("p", "h", values[:20] - 0.1)])
    found = verdict(table).set_index("policy")
    assert found.against["p"] == pytest.approx(-0.1)
    assert found.against_high["p"] == pytest.approx(-0.1), "paired: what both share is no uncertainty"
    assert found.against["static order"] == 0


def test_winners_of_a_hub_are_those_of_its_data_sets_and_of_policies_that_order():
    plays = [("d1", "logme", "a", "b"), ("d2", "logme", "a", "c"), ("d1", "random", "", "b"), ("d1", "gbc", "c", "b")]
    table = pd.DataFrame(plays, columns=["dataset", "policy", "winner", "best"]).assign(hub="h", models=7)
    found = winners_of(pd.concat([table.assign(amount=1), table.assign(amount=2)])).set_index("policy")
    assert found.models.to_dict() == {"measured best": 2, "logme": 1, "gbc": 1}
    assert found.datasets.to_dict() == {"measured best": 2, "logme": 2, "gbc": 1}
    assert found.loc["logme", ["hub", "among", "commonest", "times"]].tolist() == ["h", 7, "a", 2]
