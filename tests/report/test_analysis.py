import numpy as np
import pandas as pd
import pytest

from modelrank.report.analysis import spectral_change


def rows(models=("a", "$b_{"), groups=4, between=True):
    rng = np.random.default_rng(0)
    names = ("change", "change_fixed", "change_resampled", "unrelated", "ratio_before", "ratio_after")
    table = pd.DataFrame([{"model": model, "group": g + 1} for model in models for g in range(groups)])
    for name in (*names, "task_before", "task_after", "change_between_seeds"):
        table[name] = rng.random(len(table))
    return table if between else table.assign(change_between_seeds=np.nan)


def lines_of(table):
    return [name for name in table if name.startswith("change") or name == "unrelated"]


@pytest.mark.parametrize("between", [True, False])
def test_a_line_of_panels_a_model_with_what_the_rows_say(tmp_path, between):
    table = rows(between=between)
    table.loc[table.index[-1], "change"] = 3.0
    figure = spectral_change(table)
    assert len(figure.axes) == 2 * 3
    first = table[table.model == "a"]
    lines = {line.get_label(): line.get_ydata() for line in figure.axes[0].lines}
    np.testing.assert_array_equal(lines["before / after"], first.change)
    assert ("between two seeds" in lines) == between
    assert figure.axes[0].get_ylim()[0] == 0
    assert figure.axes[0].get_ylim()[1] > table[[*lines_of(table)]].max().max(), "no line leaves its panel"
    ratios = {line.get_label(): line.get_ydata() for line in figure.axes[1].lines}
    np.testing.assert_array_equal(ratios["before"], first.ratio_before)
    np.testing.assert_array_equal(ratios["after fine-tuning"], first.ratio_after)
    np.testing.assert_array_equal(figure.axes[5].lines[1].get_ydata(), table[table.model == "$b_{"].task_after)
    figure.savefig(tmp_path / "analysis.png", facecolor="white")
    assert (tmp_path / "analysis.png").stat().st_size > 10_000
