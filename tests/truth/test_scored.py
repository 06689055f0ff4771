import pytest

from modelrank.truth.scored import remember, rows
from modelrank.types import ModelRankError

ROW = {"dataset": "x", "model": "a", "scorer": "knn", "model_id": "m", "data_id": "d", "scorer_id": "s", "score": 0.5}


def test_rows_of_all_files_that_are_there_and_the_last_wins(tmp_path):
    remember(tmp_path / "shipped.csv", [ROW, ROW | {"data_id": "e", "score": 0.25}])
    remember(tmp_path / "own.csv", [ROW | {"score": 0.75}])
    found = rows([tmp_path / "shipped.csv", tmp_path / "own.csv", tmp_path / "none.csv"])
    assert found.set_index("data_id").score.to_dict() == {"d": 0.75, "e": 0.25}
    assert rows([]).empty


def test_a_table_that_cannot_be_read_is_named(tmp_path):
    (tmp_path / "bad.csv").write_text("dataset,model\nx,a\n")
    with pytest.raises(ModelRankError, match=r"cannot read the table of scores .*bad\.csv"):
        rows([tmp_path / "bad.csv"])
