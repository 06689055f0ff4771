"""Settings chosen by leave one hub out: a hub and its kin have no say in what they are judged by."""

import runpy
from pathlib import Path

import pandas as pd
import pytest

SCRIPT = runpy.run_path(str(Path(__file__).parents[2] / "experiments/settings.py"))


def test_a_hub_is_judged_by_the_value_that_is_best_on_hubs_that_are_no_kin_of_it():
    regret = pd.DataFrame(
        {"0.1": [0.0, 0.0, 0.3], "0.2": [0.2, 0.2, 0.2], "0.3": [0.4, 0.4, 0.0]},
        index=["recycling_bert", "recycling_roberta", "yolo"],
    )
    rows = pd.DataFrame(SCRIPT["chosen"](regret, "0.2")).set_index("hub")
    assert rows.chosen.to_dict() == {"recycling_bert": "0.3", "recycling_roberta": "0.3", "yolo": "0.1"}
    assert rows.regret_chosen.tolist() == [0.4, 0.4, 0.3]
    assert rows.regret_shipped.tolist() == [0.2, 0.2, 0.2]
    assert set(rows.best) == {"0.1"}
    assert rows.regret_best.tolist() == [0.0, 0.0, 0.3]
    assert SCRIPT["summed_up"](rows.reset_index()).iloc[-1].regret_chosen == pytest.approx(1.1 / 3)


def test_of_values_that_differ_in_nothing_the_shipped_one_is_chosen():
    regret = pd.DataFrame({"0.1": [0.2, 0.3], "0.2": [0.2, 0.3]}, index=["yolo", "parc"])
    assert [row["chosen"] for row in SCRIPT["chosen"](regret, "0.2")] == ["0.2", "0.2"]


def test_the_shipped_value_of_each_setting_is_among_those_tried():
    for name, (module, values, _) in SCRIPT["SETTINGS"].items():
        assert getattr(module, name) in values
        assert len(values) > 2


def test_hubs_of_one_source_are_kin():
    kin = {name: SCRIPT["kin"](name) for name in ("vit", "supervised", "measured: a", "measured: b", "twophase_text")}
    assert kin["vit"] == kin["supervised"]
    assert kin["measured: a"] == kin["measured: b"]
    assert len(set(kin.values())) == 3
