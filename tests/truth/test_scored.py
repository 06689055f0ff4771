import pytest

from modelrank.truth.ledger import Asked
from modelrank.truth.scored import recalled, remember, rows
from modelrank.types import ModelRankError

ROW = {"dataset": "x", "model": "a", "scorer": "knn", "model_id": "m", "data_id": "d", "scorer_id": "s"}
ROW |= {"images": 100, "score": 0.5}


def test_rows_of_all_files_that_are_there_and_the_last_wins(tmp_path):
    remember(tmp_path / "shipped.csv", [ROW, ROW | {"data_id": "e", "score": 0.25}])
    remember(tmp_path / "own.csv", [ROW | {"score": 0.75}])
    found = rows([tmp_path / "shipped.csv", tmp_path / "own.csv", tmp_path / "none.csv"])
    assert found.set_index("data_id").score.to_dict() == {"d": 0.75, "e": 0.25}
    assert rows([]).empty


def test_a_table_of_an_earlier_version_does_not_say_how_many_images(tmp_path):
    remember(tmp_path / "own.csv", [ROW])
    old = rows([tmp_path / "own.csv"]).drop(columns="images")
    old.to_csv(tmp_path / "own.csv", index=False)
    remember(tmp_path / "own.csv", [ROW | {"score": 0.75}])
    assert rows([tmp_path / "own.csv"]).set_index("images").score.to_dict() == {0: 0.5, 100: 0.75}


def test_scores_on_other_numbers_of_images_are_not_mixed(tmp_path):
    asked = Asked({name: name.upper() for name in "abc"}, "digits", "D", "tiny", "P")
    few = [ROW | {"model_id": one, "images": 50, "score": 0.1} for one in "ABC"]
    remember(tmp_path / "own.csv", [*few, *[row | {"images": 900, "score": 0.9} for row in few[:2]]])
    ids = {name: {"knn": "s"} for name in "abc"}

    def found():
        return recalled(asked, ids, [tmp_path / "own.csv"])["d"].knn.to_dict()

    assert found() == dict.fromkeys("abc", 0.1)
    remember(tmp_path / "own.csv", [few[2] | {"images": 900, "score": 0.9}])
    assert found() == dict.fromkeys("abc", 0.9)


def test_a_table_that_cannot_be_read_is_named(tmp_path):
    (tmp_path / "bad.csv").write_text("dataset,model\nx,a\n")
    with pytest.raises(ModelRankError, match=r"cannot read the table of scores .*bad\.csv"):
        rows([tmp_path / "bad.csv"])
