import pytest

from modelrank.recommend.budget import seconds, spoken
from modelrank.types import ModelRankError


@pytest.mark.parametrize(
    ("budget", "expected"),
    [
        ("90s", 90),
        ("20min", 1200),
        ("20 min", 1200),
        ("2h", 7200),
        ("1.5h", 5400),
        ("1h30m", 5400),
        ("1d 2h", 93600),
        (0.25, 250),
        ("1", 1000),
        (0, 0),
    ],
)
def test_times_and_shares(budget, expected):
    assert seconds(budget, 1000.0) == expected


@pytest.mark.parametrize("budget", ["soon", "20", -0.1, "-5min", "1.5", None, "20 parsecs", "1h30", "nan", "inf"])
def test_anything_else_is_refused_with_examples(budget):
    with pytest.raises(ModelRankError, match="20min"):
        seconds(budget, 1000.0)


def test_spoken():
    assert [spoken(value) for value in (12.3, 100, 1200, 7200)] == ["12 s", "100 s", "20 min", "2.0 h"]
