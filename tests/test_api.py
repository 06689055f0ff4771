import doctest
import re
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib.figure import Figure
from sklearn.base import clone
from sklearn.exceptions import NotFittedError

import modelrank
from modelrank import api
from modelrank.types import ModelRankError, ScorerNotApplicable

RNG = np.random.default_rng(0)
LABELS = RNG.integers(0, 3, 60)
FEATURES = RNG.normal(size=(60, 8)) + 2 * np.eye(3, 8)[LABELS]
LOGITS = RNG.normal(size=(60, 5))
BOXES = RNG.uniform(size=(60, 4))


@pytest.mark.parametrize("shown", [api.score, modelrank.ModelSelector])
def test_the_example_in_the_docstring(shown):
    runner = doctest.DocTestRunner(verbose=False)
    (test,) = (
        test for test in doctest.DocTestFinder().find(shown, "x", globs={"modelrank": modelrank}) if test.examples
    )
    assert runner.run(test).failed == 0


def test_importing_the_package_does_not_load_torch():
    code = "import modelrank, sys; assert not {'torch', 'numpy', 'hydra'} & set(sys.modules); modelrank.score"
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True, timeout=120)


@pytest.mark.parametrize(
    "features",
    [
        FEATURES,
        torch.from_numpy(FEATURES),
        np.asfortranarray(FEATURES),
        FEATURES[::-1][::-1],
        FEATURES.astype(">f8"),
        FEATURES.tolist(),
        torch.from_numpy(FEATURES).requires_grad_(),
    ],
    ids=["numpy", "torch", "fortran", "negative strides", "big endian", "lists", "with gradient"],
)
def test_any_kind_of_array(features):
    wanted = modelrank.score("logme", FEATURES, LABELS).value
    assert modelrank.score("logme", features, LABELS).value == pytest.approx(wanted, rel=1e-9)


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.uint16, np.int64, ">i4"])
def test_any_kind_of_label(dtype):
    wanted = modelrank.score("logme", FEATURES, LABELS).value
    assert modelrank.score("logme", FEATURES, (LABELS * 40 + 3).astype(dtype)).value == pytest.approx(wanted)
    assert modelrank.score("logme", FEATURES, torch.tensor(LABELS, dtype=torch.int32)).value == pytest.approx(wanted)


@pytest.mark.parametrize("make", [
    lambda y: y[:, None], lambda y: y.astype(float), lambda y: y[:, None].astype(np.float32), lambda y: y.astype(str),
    lambda y: [f"class {k}" for k in y], lambda y: y.astype(object), lambda y: torch.from_numpy(y)[:, None],
    lambda y: torch.from_numpy(y).half(), lambda y: pd.Series(y), lambda y: pd.DataFrame({"y": y}),
    lambda y: pd.Series(y).astype("category"), lambda y: pd.Categorical(y.astype(str)),
    lambda y: pd.Series(y, dtype="Int64"), lambda y: pd.Series(y.astype(str), dtype="string"),
])  # fmt: skip
def test_labels_as_tables_hold_them(make):
    wanted = modelrank.score("logme", FEATURES, LABELS).value
    for task in (None, "classification"):
        assert modelrank.score("logme", FEATURES, make(LABELS), task=task).value == pytest.approx(wanted, rel=1e-9)
    assert modelrank.rank({"a": FEATURES}, make(LABELS), "logme").scores["a"].value == pytest.approx(wanted, rel=1e-9)


def test_names_of_the_package():
    assert issubclass(modelrank.ScorerNotApplicable, modelrank.ModelRankError)
    assert isinstance(modelrank.score("knn", FEATURES, LABELS), modelrank.Score)
    assert isinstance(modelrank.rank({"a": FEATURES}, LABELS), modelrank.Ranking)
    assert set(modelrank.__all__) <= {name for name in modelrank.__all__ if getattr(modelrank, name)}
    with pytest.raises(AttributeError):
        modelrank.nothing  # noqa: B018


def test_read_only_arrays_and_integers():
    frozen = FEATURES.copy()
    frozen.setflags(write=False)
    assert modelrank.score("disco", frozen, LABELS).value == modelrank.score("disco", FEATURES, LABELS).value
    pixels = (FEATURES * 20).astype(np.uint8)
    assert (
        modelrank.score("knn", pixels, LABELS).value == modelrank.score("knn", pixels.astype(np.float32), LABELS).value
    )


def test_the_task_is_guessed_from_the_targets():
    assert "cls" in modelrank.score("disco", FEATURES, LABELS, boxes=BOXES).parts
    assert modelrank.score("disco", FEATURES, BOXES).value < 0
    assert modelrank.score("disco", FEATURES, BOXES[:, 0]).value < 0
    assert 0 < modelrank.score("disco", FEATURES, BOXES > 0.5).value < 1
    assert modelrank.score("logme", FEATURES, LABELS.astype(float), task="regression").value


def test_hyperparameters_replace_those_of_the_yaml():
    score = modelrank.score("disco", FEATURES, LABELS, components=6, groups=3)
    assert score.parts["components"] == 6
    assert len(score.parts["ratio"]) == 3
    assert modelrank.score("disco", FEATURES, LABELS).parts["components"] == 8


def test_unknown_names_are_answered_with_the_right_ones():
    with pytest.raises(ModelRankError, match=r"no scorer 'dicso'.*disco.*logme"):
        modelrank.score("dicso", FEATURES, LABELS)
    with pytest.raises(ModelRankError, match=r"disco has no parameter pcadim; it has components, groups"):
        modelrank.score("disco", FEATURES, LABELS, pcadim=3)


def test_arguments_in_the_order_of_the_other_function_are_said():
    with pytest.raises(
        ModelRankError, match=r"first argument is a ndarray; give the scorer's name first: score\('disco'"
    ):
        modelrank.score(FEATURES, LABELS, "disco")
    with pytest.raises(ValueError, match="features is empty; give a mapping"):
        modelrank.rank({}, LABELS)


def test_bad_arrays():
    with pytest.raises(ValueError, match="480 NaN"):
        modelrank.score("disco", FEATURES * np.nan, LABELS)
    with pytest.raises(ValueError, match="below 0"):
        modelrank.score("disco", FEATURES, LABELS - 1)
    with pytest.raises(ValueError, match="must hold numbers"):
        modelrank.score("disco", FEATURES.astype(str), LABELS)
    with pytest.raises(ScorerNotApplicable, match="needs logits"):
        modelrank.score("leep", FEATURES, LABELS)


def test_ranking():
    noise = RNG.normal(size=(60, 16))
    ranking = modelrank.rank({"noise": noise, "good": FEATURES, "broken": noise * np.nan}, LABELS)
    assert list(ranking.scores) == ["good", "noise"]
    assert ranking.best == "good"
    assert ranking.scorer == "disco"
    assert "NaN" in ranking.failed["broken"]


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda folder: folder / "none.npy", r"none\.npy cannot be read: No such file"),
        (lambda folder: folder, "cannot be read: Is a directory"),
        (lambda folder: torch.from_numpy(FEATURES).to_sparse(), r"features must be a dense tensor .*\.to_dense"),
        (lambda folder: torch.from_numpy(FEATURES) * 1j, r"dense tensor of real numbers, got torch\.complex128"),
    ],
    ids=["missing", "folder", "sparse", "complex"],
)
def test_features_that_cannot_be_read_fail_by_themselves(tmp_path, make, reason):
    ranking = modelrank.rank({"good": FEATURES, "bad": make(tmp_path)}, LABELS, "ncc")
    assert ranking.best == "good"
    assert re.search(reason, ranking.failed["bad"])
    with pytest.raises(ValueError, match=reason):
        modelrank.score("ncc", make(tmp_path), LABELS)


def test_a_ranking_as_table_and_drawing():
    broken = "<b>broken</b> $x_1$"
    ranking = modelrank.rank(
        {"noise": RNG.normal(size=(60, 8)), "good": FEATURES, broken: FEATURES * np.nan}, LABELS, "etran_lda"
    )
    frame = ranking.to_frame()
    assert frame.model.tolist() == ["good", "noise", broken]
    assert frame.index[:2].tolist() == [1, 2]
    assert frame.index.isna().tolist() == [False, False, True]
    assert frame.score[1] == ranking.scores["good"].value
    assert "NaN" in frame.reason.iloc[2]
    head, _, first, second, failed = repr(ranking).splitlines()
    assert head == "2 models by etran_lda, best first"
    assert "good" in first
    assert "noise" in second
    assert f"{broken}: features holds" in failed
    page = ranking._repr_html_()
    assert "&lt;b&gt;broken" in page
    assert "<b>" not in page
    axes = ranking.plot(axes=Figure().subplots())
    assert [label.get_text() for label in axes.get_yticklabels()] == ["noise", "good"]
    axes.figure.canvas.draw()


def test_a_score_as_table_and_drawing():
    score = modelrank.score("disco", FEATURES, LABELS, groups=4)
    frame = score.to_frame()
    assert frame.loc["value", 1] == score.value
    assert frame.loc["ratio"].dropna().tolist() == score.parts["ratio"].tolist()
    assert frame.columns.tolist() == list(range(1, 9))
    assert repr(score).startswith(f"score {score.value:.4g} in ")
    assert len(repr(score).splitlines()) == 2 + 1 + len(score.parts)
    axes = score.plot(axes=Figure().subplots())
    assert [line.get_label() for line in axes.lines] == ["ratio", "task"]
    assert axes.lines[0].get_ydata().tolist() == score.parts["ratio"].tolist()
    assert len(score.plot("singular_values", axes=Figure().subplots()).lines) == 1
    with pytest.raises(ModelRankError, match=r"no part 'groups' to draw; .*: ratio, singular_values, task"):
        score.plot("groups")
    with pytest.raises(ModelRankError, match="no part to draw"):
        modelrank.score("knn", FEATURES, LABELS).plot()


def test_a_selector_keeps_the_conventions_of_scikit_learn():
    selector = modelrank.ModelSelector("disco", {"groups": 4})
    assert selector.get_params() == {"scorer": "disco", "hyperparameters": {"groups": 4}}
    assert clone(selector).get_params() == selector.get_params()
    with pytest.raises(NotFittedError):
        selector.transform({"a": FEATURES})
    hub = {"noise": RNG.normal(size=(60, 8)), "good": FEATURES}
    assert selector.fit(hub, LABELS) is selector
    assert selector.ranking_.scores["good"].value == modelrank.score("disco", FEATURES, LABELS, groups=4).value
    assert selector.transform(hub) is FEATURES
    assert (
        selector.set_params(scorer="leep", hyperparameters=None).fit(hub, LABELS, logits={"noise": LOGITS}).best_
        == "noise"
    )
    with pytest.raises(ModelRankError, match="no features of noise"):
        selector.transform({"good": FEATURES})


def test_ranking_by_a_scorer_of_the_whole_hub():
    hub = {"a": FEATURES, "b": FEATURES + RNG.normal(size=FEATURES.shape)}
    ranking = modelrank.rank(hub, LABELS, "disco", boxes=BOXES)
    assert sorted(score.value for score in ranking.scores.values()) in ([0.0, 2.0], [1.0, 1.0])


def test_ranking_by_facts_and_logits():
    hub = {"a": FEATURES, "b": FEATURES}
    by_size = modelrank.rank(hub, LABELS, "parameters", facts={"a": {"parameters": 1e6}, "b": {"parameters": 2e6}})
    assert by_size.best == "b"
    by_leep = modelrank.rank(hub, LABELS, "leep", logits={"a": LOGITS})
    assert list(by_leep.scores) == ["a"]
    assert "logits" in by_leep.failed["b"]
    with pytest.raises(ValueError, match="logits names models"):
        modelrank.rank(hub, LABELS, "leep", logits={"c": LOGITS})


def test_facts_that_are_no_numbers_are_refused():
    with pytest.raises(ValueError, match=r"facts: parameters='5M' is no number; parameters needs the number of"):
        modelrank.score("parameters", FEATURES, LABELS, facts={"parameters": "5M"})
    with pytest.raises(ValueError, match=r"facts=5: give a mapping"):
        modelrank.score("parameters", FEATURES, LABELS, facts=5)
    assert modelrank.score("parameters", FEATURES, LABELS, facts={"parameters": np.int64(5)}).value == 5


def test_nothing_to_rank():
    with pytest.raises(ModelRankError, match="below 0"):
        modelrank.rank({"a": FEATURES}, LABELS - 1)


def test_rows_of_one_image_are_kept_together():
    x, y, image = np.array([[0.0], [0.1], [1.0], [1.1]]), np.array([0, 0, 1, 1]), np.array([5, 5, 9, 9])
    assert modelrank.score("knn", x, y).value == 1
    assert modelrank.score("knn", x, y, image=image).value == 0
    assert modelrank.rank({"a": x}, y, "knn", image=image).scores["a"].value == 0
    with pytest.raises(ValueError, match=r"image has shape \(3,\), features has 4 rows"):
        modelrank.score("knn", x, y, image=image[:3])


def test_what_is_no_hub_and_no_scorer_is_said():
    rng, labels = np.random.default_rng(0), np.arange(30) % 3
    features = rng.normal(size=(30, 4))
    with pytest.raises(ValueError, match="features is a list; give a mapping"):
        modelrank.rank([features], labels)
    with pytest.raises(ModelRankError, match="give the name of one scorer"):
        modelrank.rank({"a": features}, labels, ["disco", "logme"])
    with pytest.raises(ValueError, match="features is masked in 1 places"):
        modelrank.score("disco", np.ma.masked_values(features, features[3, 2]), labels)


def test_the_names_are_listed_for_completion():
    assert {"score", "rank", "load", "ModelSelector"} <= set(dir(modelrank))
    assert modelrank.__version__
