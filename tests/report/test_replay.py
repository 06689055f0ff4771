"""What the page of a race says of the shipped replay is what its rows say."""

from pathlib import Path

import pandas as pd
import pytest
from tests.report.test_race import MADE, MODELS, TRIALS

from modelrank.report import race
from modelrank.report.replay import shipped

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "experiments/results/replay"


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    drawn = race.draw(TRIALS, "a<b>", "accuracy", 240)
    return race.write(tmp_path_factory.mktemp("page"), "a", MODELS, drawn, {}, MADE, "", shipped(FOLDER)).read_text()


def test_the_page_of_a_race_shows_regret_against_cost_beside_the_race(page, check_page):
    race, replayed = check_page(page).iter("figure")
    words = set(replayed.itertext())
    assert {"random", "static order", "memory", "recommend"} <= words
    assert "share of the cost of training all models, %" in words
    assert "training steps" in set(race.itertext())


def test_it_says_on_what_tables_and_by_which_command(page, check_page):
    verdict = pd.read_csv(FOLDER / "verdict.csv")
    text = " ".join("".join(check_page(page).itertext()).split())
    assert (
        f"Not of this race: each data set of {verdict.hubs.max()} tables of accuracies, {verdict.datasets.max()} in"
        in text
    )
    command = "python run.py stage=replay 'stage.measured=[experiments/truth/measured.csv]'"
    assert command in text
    assert command in (ROOT / "experiments/README.md").read_text(), "where its rows come from"
    tenth = verdict.loc[(verdict.budget == "share") & (verdict.amount == 0.1)].set_index("policy").relative
    assert f"recommend leaves {tenth.recommend:.2f} [" in text


def test_it_counts_the_models_that_each_scorer_names(page, check_page):
    rows = pd.read_csv(FOLDER / "winners.csv")
    tables = [table for table in check_page(page).iter("table") if "winners" in set(table.itertext())]
    cells = [[cell.text for cell in row.iter("td")] for row in tables[0].iter("tr")][1:]
    said = {(policy, hub): (int(sets), int(winners)) for policy, hub, sets, winners, *_ in cells}
    scored = rows.loc[rows.policy.str.startswith("scorer ")].set_index(["policy", "hub"])
    for policy, hub in scored.index:
        assert said[policy, hub] == tuple(scored.loc[(policy, hub), ["datasets", "models"]])
    assert {hub for policy, hub in said if policy == "measured best"} == set(scored.index.get_level_values("hub"))
    assert len(said) == len(scored) + scored.index.get_level_values("hub").nunique(), "of scorers alone"
