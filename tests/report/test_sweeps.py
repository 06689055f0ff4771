import pandas as pd
import pytest

from modelrank.report import sweeps
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
    sweeps.rank_diagram(rows, "tau_w").savefig(tmp_path / "ranks.png")
    assert (tmp_path / "ablation.png").stat().st_size > 5000
    assert sweeps.rank_diagram(rows[rows.value == "1"], "tau_w") is None
