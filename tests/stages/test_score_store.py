from functools import partial

import numpy as np
import pytest
import torch

from modelrank.scorers.disco import disco
from modelrank.scorers.subsets import Subscores, subscores
from modelrank.stages import score_store
from modelrank.stages.score_store import Scored, ScoreStore
from modelrank.types import FeatureSet, Score, ScorerNotApplicable


@pytest.fixture
def features():
    generator = torch.Generator().manual_seed(0)
    return FeatureSet(torch.randn(60, 20, generator=generator), torch.arange(60) % 3)


def test_what_is_read_is_what_was_computed(tmp_path, features):
    store, scorer = ScoreStore(tmp_path), partial(disco, groups=4)
    scored = Scored(scorer(features), "careful", subscores(scorer, features, resamples=5))
    content = {"features": "a", "scorer": scorer}
    assert store.remembered(content, lambda: scored) is scored
    again = ScoreStore(tmp_path).remembered(content, lambda: pytest.fail("computed again"))
    assert isinstance(again.outcome, Score)
    assert isinstance(again.subscores, Subscores)
    assert (again.outcome.value, again.outcome.seconds) == (scored.outcome.value, scored.outcome.seconds)
    assert again.warning == "careful"
    assert again.outcome.parts.keys() == scored.outcome.parts.keys()
    for name, part in scored.outcome.parts.items():
        np.testing.assert_array_equal(again.outcome.parts[name], part)
        assert isinstance(again.outcome.parts[name], type(part))
    assert again.subscores.factor == scored.subscores.factor
    assert [score.value for score in again.subscores.scores] == [score.value for score in scored.subscores.scores]


def test_refusals_are_kept_and_errors_are_not(tmp_path):
    store = ScoreStore(tmp_path)
    refused = Scored(ScorerNotApplicable("no logits"), "", "no logits")
    store.remembered("a", lambda: refused)
    again = store.remembered("a", lambda: pytest.fail("computed again"))
    assert isinstance(again.outcome, ScorerNotApplicable)
    assert str(again.outcome) == "no logits"
    store.remembered("b", lambda: Scored(ValueError("full disk"), "", ""))
    assert store.remembered("b", lambda: refused) is refused


def test_other_features_settings_or_code_have_other_scores(tmp_path, monkeypatch):
    store, calls = ScoreStore(tmp_path), []

    def value(content):
        return store.remembered(content, lambda: (calls.append(1), Scored(Score(float(len(calls))), "", ""))[1])

    base = {"features": "a", "scorer": partial(disco, groups=4), "stability": {"resamples": 5}}
    contents = [base, base | {"features": "b"}, base | {"scorer": partial(disco, groups=5)}, base | {"stability": None}]
    assert len({value(content).outcome.value for content in contents}) == 4
    assert value(base).outcome.value == 1
    monkeypatch.setattr(score_store, "code", lambda: "changed")
    assert value(base).outcome.value == 5


def test_what_scorers_compute_with_is_part_of_their_code_and_versions(tmp_path, monkeypatch):
    solver = tmp_path / "linear.py"
    solver.write_text("old")
    known, told = {}, score_store.version
    for name, change in {
        "as it is": lambda: None,
        "solver": lambda: monkeypatch.setattr(score_store, "LINEAR", solver),
        "edited": lambda: solver.write_text("new"),
        "scipy": lambda: monkeypatch.setattr(score_store, "version", lambda p: "0" if p == "scipy" else told(p)),
        "scikit-learn": lambda: monkeypatch.setattr(score_store, "version", lambda package: "0"),
    }.items():
        change()
        score_store.code.cache_clear()
        scored = Scored(Score(float(len(known))), "", "")
        known[name] = ScoreStore(tmp_path).remembered("a", lambda scored=scored: scored).outcome.value
    score_store.code.cache_clear()
    assert list(known.values()) == [0, 1, 2, 3, 4]


def test_words_about_scorers_are_no_part_of_their_code(tmp_path, monkeypatch):
    solver = tmp_path / "linear.py"
    monkeypatch.setattr(score_store, "LINEAR", solver)

    def code(source):
        solver.write_text(source)
        score_store.code.cache_clear()
        return score_store.code()

    told = code('"""A module."""\n\ndef solve(x):\n    """Solves."""\n    return [x, 1]  # both\n')
    assert told == code(
        'def solve(x):\n    """Solves\n    it."""\n    # both\n    return [\n        x,\n        1,\n    ]\n'
    )
    assert told != code("def solve(x):\n    return [x, 2]\n")
    assert told != code('def solve(x):\n    x = "A text that is no docstring"\n    return [x, 1]\n')
    score_store.code.cache_clear()


def test_a_damaged_file_is_computed_anew(tmp_path):
    store = ScoreStore(tmp_path)
    store.remembered("a", lambda: Scored(Score(1.0), "", ""))
    (path,) = tmp_path.glob("*.json")
    path.write_text(path.read_text()[:-9])
    assert store.remembered("a", lambda: Scored(Score(2.0), "", "")).outcome.value == 2
    assert store.remembered("a", lambda: pytest.fail("computed again")).outcome.value == 2


def test_a_disk_that_takes_nothing_costs_no_score(tmp_path):
    (tmp_path / "file").write_text("no folder can be made below a file")
    scored = Scored(Score(0.5), "", "")
    assert ScoreStore(tmp_path / "file").remembered({"features": "a"}, lambda: scored) is scored
