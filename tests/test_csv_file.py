import pytest

from modelrank.csv_file import read_csv, read_text


@pytest.mark.parametrize("read", [read_csv, read_text])
@pytest.mark.parametrize(("text", "says"), [
    (b"a,b\n1,0,9\n", "lines have more fields than the header"),
    (b"a,b\n1,2\n1,2,3\n", "Expected 2 fields in line 3, saw 3$"),
    (b"", "No columns"),
    (b"a,b\n\xff\xfe,2\n", "decode"),
])  # fmt: skip
def test_what_is_no_table_is_refused(tmp_path, read, text, says):
    (tmp_path / "t.csv").write_bytes(text)
    with pytest.raises(ValueError, match=says):
        read(tmp_path / "t.csv")


def test_the_first_column_is_no_index(tmp_path):
    (tmp_path / "t.csv").write_text("a,b\n1,2,\n3,4,\n")
    assert read_csv(tmp_path / "t.csv").to_dict("list") == {"a": [1, 3], "b": [2, 4]}


def test_names_stay_as_they_are_written(tmp_path):
    (tmp_path / "t.csv").write_text("model,note,year,score,seed\nnull,NA,2024,,1\nnan,,007,nan,2\nb,c,8,,3\n")
    table = read_csv(tmp_path / "t.csv", text=("model", "year"))
    assert table.model.tolist() == ["null", "nan", "b"]
    assert table.note[0] == "NA"
    assert table.note.isna().tolist() == [False, True, False], "an empty cell is missing"
    assert table.year.tolist() == ["2024", "007", "8"]
    assert table.score.isna().all()
    assert table.seed.tolist() == [1, 2, 3]
    assert read_text(tmp_path / "t.csv").score.tolist() == ["", "nan", ""]
