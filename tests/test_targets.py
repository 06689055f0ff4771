"""Targets are what scikit-learn's type_of_target says that they are."""

import warnings

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.utils.multiclass import type_of_target

from modelrank.targets import read_targets

RNG = np.random.default_rng(0)
LABELS = RNG.integers(0, 4, 40)
TASKS = {
    "binary": "classification",
    "multiclass": "classification",
    "multilabel-indicator": "multilabel",
    "continuous": "regression",
    "continuous-multioutput": "regression",
}


@pytest.mark.parametrize("y", [
    LABELS, LABELS % 2, LABELS.astype(float), LABELS[:, None], LABELS[:, None].astype(float), LABELS > 1,
    LABELS.astype(str), LABELS.astype(np.uint8), RNG.normal(size=40), RNG.normal(size=(40, 1)),
    RNG.normal(size=(40, 3)), RNG.integers(0, 2, (40, 3)), RNG.integers(0, 2, (40, 3)).astype(float),
    RNG.integers(0, 2, (40, 3)) > 0,
])  # fmt: skip
def test_the_task_is_scikit_learns(y):
    found, task = read_targets(y, None)
    assert task == TASKS[type_of_target(y)]
    assert found.dtype.kind == ("f" if task == "regression" else "i")
    if task != "regression":
        np.testing.assert_array_equal(found, np.unique(y.reshape(found.shape), return_inverse=True)[1])


def test_whole_numbers_in_several_columns_are_refused_unless_the_task_is_said():
    y = RNG.integers(0, 5, (40, 3))
    for given in (y, y.astype(float), y.astype(str)):
        with pytest.raises(ValueError, match=r"3 columns of .*say task='regression'"):
            read_targets(given, None)
    assert read_targets(y, "regression")[0].dtype == np.float64


def test_whole_floats_that_look_like_quantities_are_classes_with_a_word():
    y = np.arange(40.0)
    with pytest.warns(UserWarning, match=r"taken for 40 classes of 40 samples.*say task='regression'"):
        assert read_targets(y, None)[1] == "classification"
    assert read_targets(y, "regression")[1] == "regression"


def test_one_hot_rows_are_several_labels_with_a_word():
    with pytest.warns(UserWarning, match=r"exactly one 1 in each of 40 rows.*targets\.argmax\(1\).*task='multilabel'"):
        assert read_targets(np.eye(4)[LABELS], None)[1] == "multilabel"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        read_targets(np.eye(4)[LABELS], "multilabel")
        read_targets(np.vstack([np.eye(4)[LABELS], [1, 1, 0, 0]]), None)


def test_objects_of_boxes_have_classes_too():
    assert read_targets(LABELS.astype(str), None, boxes=True)[1] == "detection"


@pytest.mark.parametrize(("y", "task", "message"), [
    (pd.Series([0, 1, None, 1], dtype="Int64"), None, "1 of 4 are missing"),
    (pd.Series(["a", None, "b"]), None, "1 of 3 are missing"),
    (pd.Categorical(["a", None, "b"]), None, "1 of 3 are missing"),
    (np.array(["a", 1, "b"], dtype=object), None, "mix text and int"),
    (np.array([[1], [2, 3]], dtype=object), None, "must hold numbers or text, got list"),
    (np.array(["2020-01-01"], dtype="datetime64[D]"), None, "must hold numbers or text, got datetime64"),
    (np.array([0.5, 1.0]), "classification", r"wants whole numbers or text as targets; they hold 0\.5"),
    (np.array([np.nan, 1.0]), "classification", "1 of 2 are missing"),
    (np.array(["a", "b"]), "regression", "targets are text"),
    (np.ma.masked_equal(LABELS, 2), None, "are missing"),
    (np.eye(4)[LABELS], "classification", r"wants one class a sample.*targets\.argmax\(1\)"),
    (LABELS[:, None, None], None, r"of shape \(40, 1, 1\)"),
    (3, None, r"of shape \(\)"),
    ([], None, r"targets are empty, of shape \(0,\); give one for each row of the features"),
    ([], "regression", "targets are empty"),
    (LABELS, "clasification", "task='clasification': give one of classification, "),
])  # fmt: skip
def test_what_cannot_be_read_is_said(y, task, message):
    with pytest.raises(ValueError, match=message):
        read_targets(y, task)


def test_a_tensor_of_any_type():
    for dtype in (torch.int32, torch.float16, torch.bfloat16, torch.float64):
        assert read_targets(torch.from_numpy(LABELS).to(dtype), None)[0].tolist() == LABELS.tolist()
    assert read_targets(torch.from_numpy(LABELS > 1), None)[1] == "classification"


def test_whole_numbers_with_gaps_and_few_samples_each_are_said_to_be_taken_for_classes():
    ages = np.random.default_rng(0).integers(18, 90, 150)
    with pytest.warns(UserWarning, match=r"taken for \d+ classes of 150 samples; if they are quantities"):
        assert read_targets(ages, None)[1] == "classification"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        read_targets(np.arange(150) % 50, None)
        read_targets(np.repeat([3, 17, 90], 50), None)
        read_targets(ages, "classification")
