import pytest

from modelrank.csv_file import read_csv


@pytest.mark.parametrize(("text", "says"), [
    (b"a,b\n1,0,9\n", "lines have more fields than the header"),
    (b"a,b\n1,2\n1,2,3\n", "Expected 2 fields in line 3, saw 3$"),
    (b"", "No columns"),
    (b"a,b\n\xff\xfe,2\n", "decode"),
])  # fmt: skip
def test_what_is_no_table_is_refused(tmp_path, text, says):
    (tmp_path / "t.csv").write_bytes(text)
    with pytest.raises(ValueError, match=says):
        read_csv(tmp_path / "t.csv")


def test_the_first_column_is_no_index(tmp_path):
    (tmp_path / "t.csv").write_text("a,b\n1,2,\n3,4,\n")
    assert read_csv(tmp_path / "t.csv").to_dict("list") == {"a": [1, 3], "b": [2, 4]}
