"""What every scorer promises, held over every conf/scorer/*.yaml: a new scorer is tested by being there."""

import math
import random
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf

from modelrank import build
from modelrank.scorers.contract import check_hyperparameters, facts_of, scorer, subset
from modelrank.scorers.subsets import subscores
from modelrank.types import KINDS, FeatureSet, ModelRankError, Score, ScorerNotApplicable

CONF = Path(__file__).parents[2] / "conf" / "scorer"
CONFIGS = {path.stem: OmegaConf.load(path) for path in sorted(CONF.glob("*.yaml"))}
SCORERS = {name: build.scorers(cfg)[name] for name, cfg in CONFIGS.items() if name in cfg.get("scorers", {})}
LABELLED = [name for name, scorer in SCORERS.items() if "targets" in facts_of(scorer).needs]
READS_FEATURES = [name for name, scorer in SCORERS.items() if "features" in facts_of(scorer).needs]

# Relative to this, the order of the samples and the names of the classes may move a value. Rounding only, but for:
TOLERANCE = {
    "itm": 0.05,  # accuracy on a hold-out of a dozen samples after 500 noisy steps: one sample more or less
    "pactran_gaussian": 5e-3,  # an optimum found by few steps
    "linear_probe": 0.02,  # one sample of 60 whose two best classes are nearly equal
}
ROTATION_INVARIANT = {
    "disco": {"solver": "exact"}, "logme": {}, "hscore": {}, "hscore_shrinkage": {}, "knn": {}, "ncc": {},
    "etran_lda": {}, "transrate": {}, "gbc": {}, "rankme": {}, "stable_rank": {}, "lfc": {},
}  # fmt: skip

scorers = pytest.mark.parametrize("name", SCORERS)
pytestmark = pytest.mark.filterwarnings("ignore:sfda. .* samples of:UserWarning")


def problem(name, *, n=60, d=12, classes=4, seed=0, scale=1.0, dtype=torch.float64) -> FeatureSet:
    """Noisy clusters, with all that a scorer may need, for a task that the scorer is for."""
    rng = np.random.default_rng(seed)
    labels = np.concatenate([np.arange(classes), rng.integers(0, classes, n - classes)])
    x = rng.normal(size=(n, d)) + 1.5 * rng.normal(size=(classes, d))[labels]
    logits = rng.normal(size=(n, 7)) + rng.normal(size=(classes, 7))[labels]
    task = "classification" if "classes" in facts_of(SCORERS[name]).reads else "regression"
    boxes = rng.uniform(0.1, 0.9, size=(n, 4))
    targets = {"regression": boxes, "multilabel": rng.integers(0, 2, (n, classes))}.get(task, labels)
    return FeatureSet(
        torch.from_numpy(x * scale).to(dtype),
        torch.from_numpy(targets),
        task,
        logits=torch.from_numpy(logits).to(dtype),
        boxes=torch.from_numpy(boxes).to(dtype),
        general=torch.from_numpy(rng.normal(size=(40, d)) * scale).to(dtype),
        facts={"parameters": 3.0e6, "imagenet_accuracy": 0.7, "mean_rank_elsewhere": 2.5},
    )


def fresh(data: FeatureSet, **changes) -> FeatureSet:
    return replace(data, memo={}, **changes)


def value(name, data, **hyperparameters) -> float:
    return SCORERS[name](data, **hyperparameters).value


def value_or_reason(name, data) -> float | None:
    """A finite value, or a refusal that says something."""
    reason = ""
    try:
        found = value(name, data)
    except (ScorerNotApplicable, ValueError) as refusal:
        found, reason = None, str(refusal)
    assert len(reason) > 15 if found is None else math.isfinite(found)
    return found


@scorers
def test_a_finite_value_with_seconds(name):
    score = SCORERS[name](problem(name))
    assert isinstance(score.value, float)
    assert math.isfinite(score.value)
    assert score.seconds > 0
    for part, number in score.parts.items():
        assert np.isfinite(np.asarray(number)).all(), part


@scorers
def test_the_global_seed_changes_nothing_and_is_not_changed(name):
    values = []
    for seed in (0, 1):
        random.seed(seed)
        np.random.seed(seed)  # noqa: NPY002
        torch.manual_seed(seed)
        before = random.getstate(), np.random.get_state()[1].copy(), torch.get_rng_state()  # noqa: NPY002
        values.append(value(name, problem(name)))
        assert random.getstate() == before[0]
        assert (np.random.get_state()[1] == before[1]).all()  # noqa: NPY002
        assert torch.equal(torch.get_rng_state(), before[2])
    assert values[0] == values[1]


@scorers
def test_inputs_are_not_touched(name):
    data = problem(name)
    arrays = ("features", "targets", "logits", "boxes", "general")
    before = {array: getattr(data, array).clone() for array in arrays}
    value(name, data)
    for array in arrays:
        assert torch.equal(getattr(data, array), before[array]), array


@scorers
def test_order_of_samples_and_names_of_classes_do_not_matter(name):
    tolerance = TOLERANCE.get(name, 1e-6)

    @settings(max_examples=2 if name in TOLERANCE else 5, deadline=None, database=None, derandomize=True)
    @given(order=st.permutations(range(60)), names=st.lists(st.integers(0, 1000), min_size=4, max_size=4, unique=True))
    def check(order, names):
        data = problem(name)
        targets = torch.tensor(names)[data.targets] if data.targets.ndim == 1 else data.targets
        changed = fresh(
            data,
            features=data.features[order],
            targets=targets[order],
            logits=data.logits[order],
            boxes=data.boxes[order],
        )
        assert value(name, changed) == pytest.approx(value(name, data), rel=tolerance, abs=1e-9)

    check()


@pytest.mark.parametrize("name", ROTATION_INVARIANT)
@settings(max_examples=5, deadline=None, database=None, derandomize=True)
@given(seed=st.integers(0, 2**32 - 1))
def test_rotations_of_the_features_do_not_matter(name, seed):
    data = problem(name)
    rotation = torch.linalg.qr(torch.from_numpy(np.random.default_rng(seed).normal(size=(12, 12)))).Q
    chosen = ROTATION_INVARIANT[name]
    turned = value(name, fresh(data, features=data.features @ rotation), **chosen)
    assert turned == pytest.approx(value(name, data, **chosen), rel=1e-6)


BY_COMPONENTS = [name for name in SCORERS if facts_of(SCORERS[name]).on_subsets == "components"]


@pytest.mark.parametrize("name", BY_COMPONENTS)
def test_intervals_by_components_are_those_of_the_scorer(name):
    """Columns of zeros change nothing, and without the weak of 300 components the value moves over subsets as it does
    with them (same subsets, so the noise of twelve draws cancels)."""
    data = problem(name, n=400, d=300)
    falling = data.features * torch.arange(1, 301, dtype=torch.float64) ** -0.7
    some = torch.from_numpy(np.random.default_rng(2).random(400) < 0.5)  # else all are told apart on every subset
    data = fresh(data, features=falling, targets=torch.where(some, data.targets.roll(7), data.targets))
    zeros = torch.zeros(400, 40, dtype=torch.float64)
    wider = fresh(data, features=torch.cat([data.features, zeros], 1))
    assert value(name, wider) == pytest.approx(value(name, data), rel=1e-5)
    drawn = np.array([score.value for score in subscores(SCORERS[name], data, seed=1).scores])
    rng, whole = np.random.default_rng(1), []
    for _ in drawn:
        rows = torch.from_numpy(np.sort(rng.choice(400, 200, replace=False)))
        whole.append(value(name, subset(data, rows)))
    assert 0.6 < drawn.std() / np.std(whole) < 1.7


@scorers
def test_precision_of_the_input(name):
    half = problem(name, dtype=torch.float16)
    arrays = ("features", "logits", "boxes", "general")

    def cast(dtype):
        return fresh(half, **{array: getattr(half, array).to(dtype) for array in arrays})

    single = value(name, cast(torch.float32))
    assert value(name, half) == pytest.approx(single, rel=1e-5)
    assert value(name, cast(torch.float64)) == pytest.approx(single, rel=max(1e-4, TOLERANCE.get(name, 0)))


@scorers
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_cuda_gives_the_same_value(name):
    data = problem(name)
    arrays = ("features", "targets", "logits", "boxes", "general")
    there = fresh(data, **{array: getattr(data, array).cuda() for array in arrays})
    assert value(name, there) == pytest.approx(value(name, data), rel=TOLERANCE.get(name, 1e-6))


@pytest.mark.parametrize("order", [1, -1])
def test_sharing_intermediate_results_changes_no_value(order):
    data = problem("disco")
    applicable = [name for name in SCORERS if data.kind in facts_of(SCORERS[name]).reads]
    for name in applicable[::order]:
        assert value(name, data) == value(name, fresh(data)), name


@scorers
@pytest.mark.parametrize(
    "hard",
    [
        {"n": 20, "d": 50},
        {"n": 12, "d": 30, "classes": 12},
        {"n": 30, "d": 1},
        {"n": 2, "d": 3, "classes": 2},
        {"scale": 1e-6},
        {"scale": 1e6},
        {"scale": 1e6, "dtype": torch.float32},
        {"scale": 1e-6, "dtype": torch.float32},
    ],
    ids=str,
)
def test_hard_sizes_and_scales(name, hard):
    value_or_reason(name, problem(name, **hard))


@scorers
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("kind", ["constant", "duplicate", "offset", "all constant", "all zero", "equal rows"])
def test_degenerate_columns(name, kind, dtype):
    data = problem(name, dtype=dtype)
    x = data.features.clone()
    if kind == "constant":
        x[:, 3], x[:, 5] = 0.1, 0
    elif kind == "duplicate":
        x[:, 3:6] = x[:, :3]
    elif kind == "offset":
        x += 1000
    elif kind == "all constant":
        x[:] = 0.1
    elif kind == "all zero":
        x[:] = 0
    else:
        x[20:40] = x[:20]
    value_or_reason(name, fresh(data, features=x))


@scorers
def test_classes_of_one_sample(name):
    data = problem(name)
    if data.targets.ndim == 1:
        targets = data.targets.clone()
        targets[:10] = torch.arange(100, 110)
        value_or_reason(name, fresh(data, targets=targets))


@pytest.mark.parametrize("name", LABELLED)
def test_labels_that_are_refused(name):
    data = problem(name)
    if data.targets.ndim == 1:
        with pytest.raises(ValueError, match="one class"):
            value(name, fresh(data, targets=torch.full((60,), 7)))
        with pytest.raises(ValueError, match="below 0"):
            value(name, fresh(data, targets=data.targets - 1))
    with pytest.raises(ValueError, match="rows"):
        value(name, fresh(data, targets=data.targets[:-1]))


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("name", READS_FEATURES)
def test_features_that_are_not_finite_are_refused(name, bad):
    data = problem(name)
    x = data.features.clone()
    x[3, 4] = bad
    with pytest.raises(ValueError, match="1 NaN or infinite value"):
        value(name, fresh(data, features=x))


@pytest.mark.parametrize("name", ["disco", "logme", "ncc"])
@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        (lambda boxes: boxes[:, :3], r"boxes must be N x 4 .*\(60, 3\)"),
        (lambda boxes: boxes[:, :1], r"boxes must be N x 4 .*\(60, 1\)"),
        (lambda boxes: boxes[:, 0], r"boxes must be a matrix .*\(60,\)"),
        (lambda boxes: boxes[:-1], "boxes has 59 rows, features has 60"),
        (lambda boxes: boxes * 640, r"boxes must be within 0\.\.1 .*divide pixels by the width and height"),
        (lambda boxes: boxes - 0.5, r"boxes must be within 0\.\.1 .*got -0\.3"),
        (lambda boxes: boxes / (boxes > 0.2), "boxes holds .* NaN or infinite values of 240"),
    ],
)
def test_boxes_that_are_none_are_refused_wherever_they_are_given(name, wrong, says):
    data = fresh(problem(name), task="detection")
    with pytest.raises(ValueError, match=says):
        value(name, fresh(data, boxes=wrong(data.boxes)))
    assert math.isfinite(value(name, fresh(data, boxes=data.boxes * 1.05)))


@scorers
def test_what_is_missing_is_said(name):
    data = problem(name)
    bare = fresh(data, logits=None, boxes=None, general=None, facts={})
    needs = facts_of(SCORERS[name]).needs - {"features", "targets"}
    if needs:
        with pytest.raises(ScorerNotApplicable, match="needs"):
            value(name, bare)
    else:
        value_or_reason(name, bare)


@scorers
def test_a_task_that_it_is_not_for_is_said(name):
    for task in (task for task, kind in KINDS.items() if kind not in facts_of(SCORERS[name]).reads):
        with pytest.raises(ScorerNotApplicable, match=f"not for {task}"):
            value(name, fresh(problem(name), task=task))


@pytest.mark.parametrize("name", [name for name in SCORERS if facts_of(SCORERS[name]).combine])
def test_a_hub_of_one_and_of_equals_has_values(name):
    combine = facts_of(SCORERS[name]).combine
    score = SCORERS[name](problem(name))
    assert all(math.isfinite(v) for v in combine({"only": score}).values())
    both = combine({"a": score, "b": score})
    assert both["a"] == both["b"]


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"covariance": "sharde"}, r"disco: covariance='sharde' .*: 'identity', 'shared', 'diagonal', 'per_class'$"),
        ({"weighting": "foo"}, r"weighting='foo' .*: 'ratio', 'uniform', 'energy' or int$"),
        ({"groups": 2.5}, r"groups=2\.5 .*: int$"),
        ({"centre_targets": "foo"}, r"centre_targets='foo' .*: bool$"),
        ({"sampling": {"hard": "all"}}, r"sampling=\{'hard': 'all'\} .*: Mapping\[str, float\] \| None$"),
        ({"covarience": "shared"}, r"disco has no parameter covarience; it has components, groups, solver, covariance"),
    ],
)
def test_a_hyperparameter_that_is_none_is_refused(wrong, says):
    data = FeatureSet(torch.randn(30, 8), torch.arange(30) % 3)
    with pytest.raises(ModelRankError, match=says):
        SCORERS["disco"](data, **wrong)
    spec = {"_target_": "modelrank.scorers.disco.disco", "_partial_": True} | wrong
    cfg = OmegaConf.create({"scorers": {"mine": spec}})
    with pytest.raises(ModelRankError, match=f"scorers.mine: .*{says}"):
        build.scorers(cfg)


def test_a_whole_number_is_a_floating_one_too_and_a_users_scorer_need_not_say_types():
    check_hyperparameters(SCORERS["disco"].func, {"rms_norm": 1, "weighting": 2})

    @scorer()
    def mine(data, *, anything=1):
        return Score(float(anything))

    assert mine(FeatureSet(torch.randn(30, 8), torch.arange(30) % 3), anything=2.5).value == 2.5
