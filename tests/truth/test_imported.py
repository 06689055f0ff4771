from dataclasses import replace

import pandas as pd
import pytest

from modelrank.truth.elsewhere import elsewhere
from modelrank.truth.imported import imported
from modelrank.truth.ledger import Asked, add, vouch
from modelrank.types import ModelRankError, NotMeasured

ASKED = Asked({"a": "A", "b": "B", "c": "C"}, "digits", "D", "tiny", "P")


@pytest.fixture
def take(tmp_path):
    def call(rows, asked=ASKED, name="mine.csv"):
        file = tmp_path / name
        file.parent.mkdir(exist_ok=True)
        file.write_text(rows if isinstance(rows, str) else pd.DataFrame(rows).to_csv(index=False))
        tables = {"ledger_table": tmp_path / "memory/measured.csv", "named_table": tmp_path / "memory/imported.csv"}
        return imported(asked, file=file, paths=[], **tables)

    call.remembered = lambda: (
        elsewhere(
            ASKED, "accuracy", measured=[tmp_path / "memory/measured.csv"], named=[tmp_path / "memory/imported.csv"]
        ).accuracy
    )
    return call


def plain(dataset, values=(0.5, 0.6, 0.7)):
    return [{"dataset": dataset, "model": m, "accuracy": v} for m, v in zip("abc", values, strict=True)]


def test_three_columns_are_enough_and_stay_in_memory(take):
    truth = take(plain("digits") + plain("pets", (0.1, 0.2, 0.3)))
    assert truth.accuracy == {"a": 0.5, "b": 0.6, "c": 0.7}
    assert truth.match == "names"
    assert truth.source == "mine.csv"
    found = take.remembered()
    assert found.shape == (3, 1)
    assert found.columns[0].startswith("pets by not stated (mine")
    with pytest.raises(
        NotMeasured, match=r"no accuracies of a, b, c on digits; its data sets are cars, pets; no measured"
    ):
        take(plain("cars") + plain("pets", (0.3, 0.2, 0.1)))
    found = take.remembered()
    assert {title.split()[0]: found[title].tolist() for title in found} == {
        "pets": [0.3, 0.2, 0.1],
        "cars": [0.5, 0.6, 0.7],
    }


def titles(found):
    return [title.split()[0] for title in found]


def test_an_order_of_classifiers_is_none_of_regressors(take):
    angles = [row | {"metric": "r2"} for row in plain("angles", (0.9, 0.8, -0.7))]
    both = angles + [row | {"metric": "accuracy"} for row in plain("digits") + plain("pets", (0.1, 0.2, 0.3))]
    assert take(both).mean_rank_elsewhere == {"a": 3, "b": 2, "c": 1}


def test_values_of_another_metric_are_not_taken_for_those_of_the_data_set(take):
    with pytest.raises(ModelRankError, match=r"mine\.csv has values of accuracy on digits, where r2 is measured; .*r2"):
        take(plain("digits"), replace(ASKED, metric="r2"))
    assert take.remembered().shape == (3, 0)
    given = [row | {"metric": "r2"} for row in plain("digits")]
    assert take(given, replace(ASKED, metric="r2")).metric == "r2"


def test_rows_that_are_no_longer_in_the_file_are_forgotten(take, tmp_path):
    with pytest.raises(NotMeasured):
        take(plain("didgits") + plain("pets"))
    assert take(plain("digits")[:2]).accuracy == {"a": 0.5, "b": 0.6}, "the truth is of the file as it is"
    assert titles(take.remembered()) == [], "what the target was called before is no data set more"
    take(plain("digits") + plain("pets"))
    (tmp_path / "mine.csv").unlink()
    take(plain("digits") + plain("cars"), name="moved/mine.csv")
    assert titles(take.remembered()) == ["cars"], "the file that was moved takes its place"
    take([row | {"hub": "theirs"} for row in plain("digits") + plain("pets")], name="more.csv")
    take([row | {"hub": "theirs"} for row in plain("digits") + plain("boats")], name="others.csv")
    assert titles(take.remembered()) == ["cars", "pets", "boats"], "what was imported from other files stays"


def test_two_files_of_one_name_are_both_remembered_and_what_both_have_is_said(take, tmp_path, caplog):
    take(plain("digits") + plain("pets") + plain("cars", (0.1, 0.2, 0.3)), name="first/results.csv")
    assert "takes the place of" not in caplog.text
    take(plain("digits") + plain("cars") + plain("boats"), name="second/results.csv")
    found = take.remembered()
    assert set(titles(found)) == {"pets", "cars", "boats"}
    assert found["cars by not stated (results, imported.csv)"].tolist() == [0.5, 0.6, 0.7]
    assert f"takes the place of 6 accuracies of {tmp_path}/first/results.csv on digits, cars; a column" in caplog.text


def test_a_renamed_copy_is_no_data_set_more_and_the_target_in_other_letters_none_at_all(take):
    take(plain("digits") + plain("pets"))
    take(plain("digits") + plain("pets") + plain("cars"), name="copy.csv")
    assert titles(take.remembered()) == ["pets", "cars"]
    with pytest.raises(NotMeasured, match="its data sets are Digits; "):
        take(plain("Digits"), name="copy.csv")
    assert titles(take.remembered()) == ["pets"]


def test_names_that_match_nothing_are_said_and_spaces_are_none(take, caplog):
    truth = take("dataset, model,accuracy\ndigits,a ,0.5\n digits,b,0.6\ndigits,sea,0.7\n")
    assert truth.accuracy == {"a": 0.5, "b": 0.6}
    assert "mine.csv: not in the hub, so not used on digits: sea" in caplog.text
    assert "mine.csv: no accuracy on digits of c" in caplog.text
    with pytest.raises(NotMeasured, match=r"of a, b, c on digits; its models there are x0, .*x9 and 2 more"):
        take([{"dataset": "digits", "model": f"x{i}", "accuracy": 0.5} for i in range(12)])


def test_seeds_of_a_model_are_averaged(take):
    seeds = [row | {"seed": seed} for seed in (0, 1) for row in plain("digits", (0.5 + seed / 10, 0.6, 0.7))]
    assert take(seeds).accuracy == pytest.approx({"a": 0.55, "b": 0.6, "c": 0.7})


def test_rows_of_a_ledger_are_known_by_identity(take):
    ids = [
        row | {"model": f"called {row['model']}", "model_id": row["model"].upper(), "data_id": data}
        | {"protocol": "tiny", "protocol_id": "P", "seed": 0, "metric": "accuracy"}
        for data, dataset in (("D", "digits"), ("E", "cars"))
        for row in plain(dataset)
    ]  # fmt: skip
    truth = take(ids)
    assert truth.accuracy == {"a": 0.5, "b": 0.6, "c": 0.7}
    assert truth.match == "ids"
    assert take.remembered().columns.tolist() == ["cars by tiny (P, E)"]


def ledger_of(*accuracies, **changes):
    ids = {"data_id": "D", "protocol": "tiny", "protocol_id": "P", "seed": 0, "metric": "accuracy"} | changes
    return [row | {"model_id": row["model"].upper()} | ids for row in plain("digits", accuracies)]


def test_what_was_measured_here_is_not_replaced_by_rows_without_a_digest(take, tmp_path, caplog):
    add(tmp_path / "memory/measured.csv", ledger_of(0.1, 0.2, 0.3)[:2])
    truth = take(ledger_of(0.7, 0.8, 0.9))
    assert truth.accuracy == {"a": 0.1, "b": 0.2, "c": 0.9}
    assert "(1 of 3 rows without a digest)" in truth.source
    assert "measured.csv keeps 2 measured rows: the new ones have no digest" in caplog.text
    vouch(tmp_path / "mine.csv")
    assert take((tmp_path / "mine.csv").read_text()).accuracy == {"a": 0.7, "b": 0.8, "c": 0.9}, "measured as well"


def test_seeds_with_a_decimal_point_are_the_same_seeds(take, tmp_path):
    own = tmp_path / "memory/measured.csv"
    assert take(ledger_of(0.1, 0.2, 0.3)).accuracy["a"] == 0.1
    assert take(ledger_of(0.7, 0.8, 0.9, seed="0.0")).accuracy["a"] == 0.7
    assert pd.read_csv(own, dtype=str).seed.tolist() == ["0", "0", "0"]
    vouch(tmp_path / "mine.csv")
    assert take((tmp_path / "mine.csv").read_text()).accuracy["a"] == 0.7, "digests of the other text do not count"


@pytest.mark.parametrize(("rows", "says"), [
    ([{"dataset": "x", "model": "a"}], "lacks the columns accuracy; it has dataset, model$"),
    (plain("x", (50, 60, 70)), r"mine\.csv: 3 accuracies are missing or no fraction of 1, first 50\.0 of a on x; perc"),
    (plain("x") + plain("x"), r"rows are there twice, first \(mine, x, a, not stated\)"),
    (plain("digits") + [row | {"protocol": "linear"} for row in plain("digits")], "by several ways"),
    ([*plain("x"), {"dataset": "x", "model": "d", "accuracy": 0.1, "metric": "r2"}], "different metrics"),
    ("dataset,model,accuracy\n", "has no rows; give one for each accuracy: dataset, model, accuracy"),
    ("dataset,model,accuracy\nx,a,0,5\n", "cannot read .* lines have more fields than the header"),
    ("dataset,model,accuracy\nx,a,0.5\nx,b,0,5\n", "cannot read the table of accuracies .* Expected 3 fields"),
])  # fmt: skip
def test_a_bad_file_is_refused_and_nothing_is_remembered(take, rows, says):
    with pytest.raises(ModelRankError, match=says):
        take(rows)
    assert take.remembered().shape == (3, 0)


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(ModelRankError, match=r"cannot read the table of accuracies .*none\.csv"):
        imported(ASKED, file=tmp_path / "none.csv", paths=[], ledger_table=tmp_path / "l", named_table=tmp_path / "n")


def test_only_rows_of_the_models_asked_for_say_by_which_protocol(take):
    others = [{"dataset": "digits", "model": "alien", "accuracy": 0.9, "protocol": "full"}]
    linear = [row | {"protocol": "linear"} for row in plain("digits")]
    truth = take(others + linear)
    assert truth.protocol == "linear"
    assert set(truth.accuracy) == {"a", "b", "c"}
    with pytest.raises(ModelRankError, match=r"by several ways \(hub mine, protocol linear; hub mine, protocol full\)"):
        take(linear + [row | {"protocol": "full"} for row in plain("digits")])


def test_a_file_is_looked_for_where_the_user_is(take, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    ids = {"model_id": "A", "data_id": "D", "protocol_id": "P", "protocol": "tiny", "seed": 0, "metric": "accuracy"}
    pd.DataFrame([{"dataset": "digits", "model": "a", "accuracy": 0.5} | ids]).to_csv("theirs.csv", index=False)
    tables = {"ledger_table": tmp_path / "memory/measured.csv", "named_table": tmp_path / "memory/imported.csv"}
    assert imported(ASKED, file="theirs.csv", paths=[], **tables).accuracy == {"a": 0.5}
