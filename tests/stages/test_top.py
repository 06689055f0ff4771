"""`top`: models that cannot be among the first are dropped on a sample, the others see all images."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_dir

from modelrank.data.images import ImageData, ImageSplit
from modelrank.data.target import Target
from modelrank.root import CONF
from modelrank.stages import score
from modelrank.types import FeatureSet, ModelRankError

APART = {"a": 3.0, "b": 2.5, "c": 0.2, "d": 0.1, "e": 0.0}  # how far the classes are, of their spread


@pytest.fixture
def images() -> ImageData:
    splits = {}
    for name, n in {"train": 600, "val": 200}.items():
        splits[name] = ImageSplit(np.zeros((n, 2, 2, 3), np.uint8), np.arange(n) % 4, [f"{i}" for i in range(n)])
    return ImageData("d", "classification", tuple("abcd"), "accuracy", splits, "here", "CC0", "f")


@pytest.fixture
def seen(monkeypatch) -> list[tuple[str, int]]:
    """Features without images: (model, rows) of each extraction."""
    asked: list[tuple[str, int]] = []

    def feature_sets(cfg, models, data):
        for name, model in models.items():
            targets = torch.from_numpy(data.scored_targets())
            asked.append((name, len(targets)))
            noise = torch.randn(len(targets), 16, generator=torch.Generator().manual_seed(3))
            yield model, FeatureSet(noise + APART[name] * torch.eye(16)[targets], targets)

    monkeypatch.setattr(score, "feature_sets", feature_sets)
    return asked


def composed(tmp_path, *more: str):
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose("config", ["scorer=[disco,ncc]", f"paths.cache={tmp_path}", "paths.run=here", *more])


MODELS = {name: SimpleNamespace(name=name) for name in APART}


def test_the_first_stay_and_the_others_have_rows_with_the_reason(tmp_path, images, seen):
    hub = score.score_hub(composed(tmp_path, "top=2"), MODELS, images)
    assert list(hub.main.scores) == ["a", "b"]
    assert [row for row in seen if row[1] == 800] == [("a", 800), ("b", 800)]
    assert [row for row in seen if row[0] == "e"] == [("e", 50)]
    dropped = hub.rows[hub.rows.status == "not_applicable"]
    assert sorted(zip(dropped.model, dropped.scorer, strict=True)) == [(m, s) for m in "cde" for s in ("disco", "ncc")]
    assert dropped.reason.str.match(r"not among the first 2: on 0.0625 of the images disco is at most 0\.\d+").all()
    whole = score.score_hub(composed(tmp_path), {name: MODELS[name] for name in "ab"}, images)
    assert {m: s.value for m, s in whole.main.scores.items()} == {m: s.value for m, s in hub.main.scores.items()}


def test_nothing_is_dropped_where_there_are_no_more_models_or_no_intervals(tmp_path, images, seen):
    score.score_hub(composed(tmp_path, "top=5"), MODELS, images)
    assert {rows for _, rows in seen} == {800}
    with pytest.raises(ModelRankError, match=r"top=2 .* needs `stability`"):
        score.score_hub(composed(tmp_path, "top=2", "stability=null"), MODELS, images)


@pytest.mark.parametrize("top", ["0", "-1", "0.5", "some"])
def test_a_top_that_is_no_number_of_models_is_refused(tmp_path, images, top):
    with pytest.raises(ModelRankError, match=f"^top={top}: give how many models"):
        score.score_hub(composed(tmp_path, f"top={top}"), MODELS, images)


def test_saved_features_cannot_be_sampled(tmp_path):
    target = Target("t", "classification", "accuracy", np.arange(8) % 2, [], "own", "targets.npy", "f")
    with pytest.raises(ModelRankError, match=r"^top=2 .* not for detection or saved features"):
        score.shortlist(composed(tmp_path, "top=2"), MODELS, target)
