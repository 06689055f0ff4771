import pandas as pd
import pytest

from modelrank.truth.elsewhere import elsewhere
from modelrank.truth.imported import imported
from modelrank.truth.ledger import Asked
from modelrank.types import ModelRankError, NotMeasured

ASKED = Asked({"a": "A", "b": "B", "c": "C"}, "digits", "D", "tiny", "P")


@pytest.fixture
def take(tmp_path):
    def call(rows, asked=ASKED):
        pd.DataFrame(rows).to_csv(tmp_path / "mine.csv", index=False)
        tables = {"ledger_table": tmp_path / "memory/measured.csv", "named_table": tmp_path / "memory/imported.csv"}
        return imported(asked, file=tmp_path / "mine.csv", paths=[], **tables)

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
    assert found.columns[0].startswith("pets by full (mine")
    with pytest.raises(NotMeasured):
        take(plain("cars") + plain("pets", (0.3, 0.2, 0.1)))
    found = take.remembered()
    assert {title.split()[0]: found[title].tolist() for title in found} == {
        "pets": [0.3, 0.2, 0.1],
        "cars": [0.5, 0.6, 0.7],
    }, "imported again is replaced, what was imported before stays"


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
    assert take.remembered().columns.tolist() == ["cars by tiny (P)"]


@pytest.mark.parametrize(("rows", "says"), [
    ([{"dataset": "x", "model": "a"}], "lacks the columns accuracy"),
    (plain("x", (50, 60, 70)), r"mine\.csv: 3 accuracies are missing or no fraction of 1"),
    (plain("x") + plain("x"), r"rows are there twice, first \(mine, x, a, full\)"),
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
