import pandas as pd
import pytest

from modelrank.report import sweeps
from modelrank.report.tables import pivots
from modelrank.types import ModelRankError

ROWS = pd.DataFrame(
    [
        {"overrides": f"dataset={d} scorers.disco.groups={g}", "dataset": d, "scorer": "disco", "tau_w": t}
        for d, values in {"a": (0.1, 0.5), "b": (0.3, 0.4), "c": (0.2, 0.9)}.items()
        for g, t in zip((1, 8), values, strict=True)
    ]
)


def test_label_by_puts_the_varied_value_into_the_scorer():
    rows = sweeps.label_by(ROWS, "scorers.disco.groups")
    assert set(rows.scorer) == {"disco groups=1", "disco groups=8"}
    assert list(rows.value.unique()) == ["1", "8"]


def test_label_by_takes_whole_values_and_options_that_were_added():
    jobs = ["dataset.root='/d/my cats' seed=1", "seed=2 ++dataset.root='/d/my dogs'", "seed=3", None]
    rows = sweeps.label_by(pd.DataFrame({"overrides": jobs, "scorer": ["disco"] * 4}), "dataset.root")
    assert list(rows.scorer) == ["disco root='/d/my cats'", "disco root='/d/my dogs'"]


def test_label_by_names_what_was_varied():
    with pytest.raises(ModelRankError, match=r"dataset, scorers\.disco\.groups"):
        sweeps.label_by(ROWS, "scorers.disco.components")


def test_comparisons_are_against_the_first_scorer():
    rows = sweeps.label_by(ROWS, "scorers.disco.groups")
    found = sweeps.comparisons(rows, "tau_w").set_index("scorer").loc["disco groups=8"]
    assert found.against == "disco groups=1"
    assert (found.wins, found.losses) == (3, 0)
    assert found.difference == pytest.approx((0.4 + 0.1 + 0.7) / 3)


def test_figures_are_drawn(tmp_path):
    rows = sweeps.label_by(ROWS, "scorers.disco.groups")
    sweeps.ablation(rows, "scorers.disco.groups", "tau_w").savefig(tmp_path / "ablation.png")
    found = sweeps.standing(rows, "tau_w")
    assert dict(found.ranks) == {"disco groups=8": 1.0, "disco groups=1": 2.0}
    assert found.datasets == 3
    sweeps.rank_diagram(found, "tau_w").savefig(tmp_path / "ranks.png")
    assert (tmp_path / "ablation.png").stat().st_size > 5000
    assert sweeps.standing(rows[rows.value == "1"], "tau_w") is None


def test_a_regret_is_better_when_it_is_lower():
    rows = sweeps.label_by(ROWS.rename(columns={"tau_w": "regret_at_1"}), "scorers.disco.groups")
    assert next(iter(sweeps.standing(rows, "regret_at_1").ranks)) == "disco groups=1"
    found = sweeps.comparisons(rows, "regret_at_1").iloc[0]
    assert (found.wins, found.losses) == (0, 3)
    assert found.difference == pytest.approx((0.4 + 0.1 + 0.7) / 3), "in the metric's own sign"


def test_scorers_are_compared_on_the_models_that_all_have():
    rows = pd.DataFrame(
        [
            {"dataset": d, "scorer": s, "tau_w": 0.9 if s == "few" else 0.5, "n_models": 4 if s == "few" else 9}
            | {"tau_w_common": 0.2 if s == "few" else 0.4, "models_common": "a b c d"}
            for d in "abc"
            for s in ("all", "few")
        ]
    )
    (found,) = sweeps.comparisons(rows, "tau_w").to_dict(orient="records")
    assert (found["scorer"], found["wins"], found["losses"]) == ("few", 0, 3)
    other = rows.scorer.eq("few") & rows.dataset.eq("a")
    moved = rows.assign(models_common=rows.models_common.mask(other, "a b c e"))
    (found,) = sweeps.comparisons(moved, "tau_w").to_dict(orient="records")
    assert found["datasets"] == 2, "over other models on a, so not compared there"
    earlier = rows.drop(columns=["tau_w_common", "models_common"])
    assert sweeps.comparisons(earlier, "tau_w").empty
    assert len(sweeps.comparisons(earlier.assign(n_models=9), "tau_w")) == 1


def test_a_scorer_that_one_hub_lacks_is_not_compared_over_other_cells():
    """b is behind a wherever both have a value; that a alone has one in a hard hub makes it no worse."""
    rows = pd.DataFrame(
        [
            {"hub": hub, "protocol": "full", "dataset": dataset, "scorer": scorer, "seed": 0, "tau_w": value}
            for dataset in "xyz"
            for hub, scorer, value in (("easy", "a", 0.8), ("easy", "b", 0.7), ("hard", "a", 0.1))
        ]
    )
    assert sweeps.standing(rows, "tau_w") is None
    both = pd.concat([rows, rows[rows.hub == "hard"].assign(scorer="b", tau_w=0.05)])
    found = sweeps.comparisons(both, "tau_w").iloc[0]
    assert (found.scorer, found.wins, found.losses) == ("b", 0, 6)
    assert sweeps.standing(both, "tau_w").datasets == 6


def test_a_mean_over_seeds_is_of_those_that_all_scorers_have():
    cell = {"hub": "h", "protocol": "full"}
    rows = pd.DataFrame(
        [
            cell | {"dataset": d, "scorer": scorer, "seed": seed, "tau_w": value}
            for d in "xyz"
            for scorer, seed, value in (("a", 0, 0.5), ("b", 0, 0.4), ("a", 1, 0.1))
        ]
    )
    assert sweeps.comparisons(rows, "tau_w").iloc[0].difference == pytest.approx(-0.1)
    missing = [cell | {"dataset": d, "scorer": "b", "seed": 1, "tau_w": float("nan")} for d in "xyz"]
    rows = pd.concat([rows, pd.DataFrame(missing)])
    assert sweeps.comparisons(rows, "tau_w").iloc[0].difference == pytest.approx(-0.1), "a job that has no value"


def test_the_thick_line_ends_where_a_data_set_does():
    rows = sweeps.label_by(ROWS[~((ROWS.dataset == "c") & ROWS.overrides.str.endswith("8"))], "scorers.disco.groups")
    lines = {line.get_label(): line.get_ydata() for line in sweeps.ablation(rows, "groups", "tau_w").axes[0].lines}
    assert lines["disco, mean of its lines"].tolist() == pytest.approx([0.2, float("nan")], nan_ok=True)


def test_rows_without_overrides_cannot_be_labelled():
    with pytest.raises(ModelRankError, match=r"stage\.by=scorers\.disco\.groups needs .* lack overrides"):
        sweeps.label_by(ROWS.drop(columns="overrides"), "scorers.disco.groups")


def test_settings_that_vary_are_not_averaged():
    rows = ROWS.assign(hub="h", protocol="full", seed=0)
    with pytest.raises(ModelRankError, match=r"2 rows of disco on a differ by .*stage\.by=scorers\.disco\.groups"):
        pivots(rows)
    (table,) = pivots(sweeps.label_by(rows, "scorers.disco.groups")).values()
    assert table.loc["disco groups=8", "a"] == 0.5


def test_winners_are_counted_over_data_sets_not_seeds():
    rows = pd.DataFrame(
        [
            {"hub": "h", "protocol": "p", "dataset": d, "seed": seed, "scorer": scorer, "winner": winner, "best": d}
            for seed in (0, 1)
            for d in "xyz"
            for scorer, winner in (("logme", "m"), ("disco", "m" if d == "x" else "n"))
        ]
    ).assign(n_models=9)
    found = sweeps.named_first(rows).set_index("scorer")
    assert found.models.to_dict() == {"measured best": 3, "logme": 1, "disco": 2}
    assert found.loc["disco", ["datasets", "among", "commonest", "times"]].tolist() == [3, 9, "n", 2]
    assert sweeps.named_first(rows[rows.dataset == "x"]).empty


def test_the_measured_best_is_that_of_the_scorer_with_most_models():
    cell = {"hub": "h", "protocol": "p", "seed": 0}
    rows = pd.DataFrame(
        cell | {"dataset": d, "scorer": scorer, "winner": best, "best": best, "n_models": n}
        for d in "ab"
        for scorer, best, n in (("leep", "x", 3), ("disco", "y", 5))
    )
    found = sweeps.named_first(rows).set_index("scorer")
    assert found.commonest.to_dict() == {"measured best": "y", "leep": "x", "disco": "y"}
