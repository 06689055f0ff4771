import numpy as np
import pytest

from modelrank.settings import check_number, numbers, texts
from modelrank.types import ModelRankError


@pytest.mark.parametrize(
    ("value", "limits", "says"),
    [
        ("5M", {"above": 0, "null": True}, "^a.b=5M: give a number above 0, not text, or null$"),
        ("6e6", {}, "^a.b=6e6: give a number, not text$"),
        (None, {"least": 1, "whole": True}, "^a.b=None: give a whole number at least 1$"),
        (2.5, {"whole": True}, "give a whole number$"),
        (True, {}, "give a number$"),
        (0, {"above": 0, "most": 1}, "give a number above 0 and at most 1$"),
        (2, {"most": 1}, "give a number at most 1$"),
        (float("nan"), {}, "give a number$"),
    ],
)
def test_what_is_no_such_number_is_said(value, limits, says):
    with pytest.raises(ModelRankError, match=says):
        check_number("a.b", value, **limits)


def test_numbers_of_any_library_within_their_limits_pass():
    for value in (1, 0.5, np.float32(0.5), np.int64(1)):
        check_number("a.b", value, above=0, most=1)
    check_number("a.b", np.int64(1), least=1, whole=True)
    check_number("a.b", None, null=True)


def test_numbers_are_one_or_more():
    assert numbers("a.b", 1e-4) == [1e-4]
    assert numbers("a.b", np.array([1.0, 2.0]), above=0) == [1.0, 2.0]
    for wrong, says in (([], "=\\[\\]: give one number or more"), ([1, -1], "=-1: give"), ("12", "=12: .*not text")):
        with pytest.raises(ModelRankError, match=says):
            numbers("a.b", wrong, above=0)


def test_a_text_is_a_list_of_one():
    assert (texts("ab"), texts(["a", "b"]), texts(None)) == (["ab"], ["a", "b"], None)
