"""By what remembered scores are found again."""

from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from omegaconf import OmegaConf

from modelrank.features.from_files import SavedFeatures
from modelrank.hub.model import PretrainedModel
from modelrank.hub.preprocessing import Preprocessing
from modelrank.memory.prior import believe
from modelrank.scorers.disco import disco
from modelrank.scorers.linear_probe import linear_probe
from modelrank.scorers.ncti import ncti
from modelrank.stages.believed import known_facts, probed_level, scorer_ids, told_apart
from modelrank.stages.score import ScoredHub
from modelrank.truth.ledger import Asked
from modelrank.types import FeatureSet

SCORERS = {"disco": partial(disco), "ncti": partial(ncti)}


def ids(models=("a", "b", "c"), scaled=None, scorers=SCORERS, image_size=None, hub=None, task="classification", **more):
    """scaled: the models whose values of NCTI were scaled together; None: all."""
    asked = Asked({name: name.upper() for name in models}, "digits", "D", "tiny", "P")
    ranking = SimpleNamespace(scores=dict.fromkeys(scaled or models))
    scored = ScoredHub(pd.DataFrame(), {"ncti": ranking}, {}, frozenset({"ncti"}))  # pyright: ignore[reportArgumentType]
    cfg = OmegaConf.create({"hub": {"image_size": image_size}, "extraction": {"boxes": {"pool": 3}}} | more)
    hub = hub or {name: SavedFeatures(name, Path(name)) for name in models}
    return scorer_ids(cfg, scorers, hub, SimpleNamespace(task=task), asked, scored)["a"]  # pyright: ignore[reportArgumentType]


def test_a_value_that_is_scaled_over_the_hub_is_remembered_for_that_hub_only():
    smaller, larger = ids(("a", "b")), ids()
    assert smaller["disco"] == larger["disco"]
    assert smaller["ncti"] != larger["ncti"]
    assert ids(("b", "a"))["ncti"] == smaller["ncti"], "in whatever order"
    assert ids(scaled=("a", "b"))["ncti"] == smaller["ncti"], "a model that has no value took no part"


def test_scores_that_an_interval_cannot_tell_apart_are_equal():
    scores = pd.DataFrame(
        {"disco": {"a": 0.43281, "b": 0.7, "c": 0.43279, "d": np.nan}, "ncti": dict.fromkeys("abcd", 1)}
    )
    rows = pd.DataFrame({"scorer": "disco", "score_low": [0.38, 0.6, 0.38], "score_high": [0.48, 0.8, 0.48]})
    found = told_apart(scores, rows)
    assert found.disco.a == found.disco.c == pytest.approx(0.4328)
    assert found.disco.b == 0.7
    assert np.isnan(found.disco.d)
    assert found.ncti.equals(scores.ncti), "of which no interval is known"
    assert told_apart(scores, rows.assign(score_low=None, score_high=None)).equals(scores)
    assert told_apart(scores, pd.DataFrame()).equals(scores)


def test_other_settings_are_another_value():
    assert ids(scorers=SCORERS | {"disco": partial(disco, groups=4)})["disco"] != ids()["disco"]


def test_features_that_are_made_in_another_way_give_another_value():
    assert ids(general={"name": "openclipart"})["disco"] not in (
        ids()["disco"],
        ids(general={"name": "emoji"})["disco"],
    )
    pooled = [ids(task="detection", extraction={"boxes": {"pool": size}})["disco"] for size in (3, 5)]
    assert pooled[0] != pooled[1]
    assert ids(extraction={"boxes": {"pool": 5}})["disco"] == ids()["disco"], "images are not pooled over boxes"


def test_images_of_another_size_are_another_value():
    model = PretrainedModel("a", Path, None, "none", "none", "MIT", Preprocessing(size=224))
    hub = {"a": model, "b": model}
    assert ids(hub=hub)["disco"] == ids(hub=hub, image_size=224)["disco"] != ids(hub=hub, image_size=56)["disco"]


def test_an_imagenet_accuracy_places_a_model_that_no_data_set_tells_of():
    models = {
        name: PretrainedModel(name, Path, None, "net", "ImageNet", "MIT", imagenet_accuracy=accuracy)
        for name, accuracy in {"good": 0.8, "bad": 0.5, "unknown": None, "fair": 0.6, "fine": 0.7}.items()
    }
    elsewhere = pd.DataFrame({"x": {"bad": 0.5, "fair": 0.6, "fine": 0.7}}, index=list(models))
    mean = dict(zip(models, believe(elsewhere, facts=known_facts(models)).mean, strict=True))
    assert mean["good"] > mean["fine"] > mean["unknown"] > mean["bad"]
    assert known_facts({"saved": SavedFeatures("saved", Path("saved"))}) is None


def test_the_level_to_expect_is_in_units_of_the_metric():
    """Nine of ten images are of one class, and nothing tells them apart: accuracy .9, mean over the classes .5."""
    noise = torch.randn(400, 4, generator=torch.Generator().manual_seed(0))
    scores = {"a": linear_probe(FeatureSet(noise, (torch.arange(400) % 10 == 0).long()), strengths=[10.0])}
    assert probed_level(scores, "accuracy") == pytest.approx(0.9, abs=0.01)
    assert probed_level(scores, "mean_per_class_accuracy") == pytest.approx(0.5, abs=0.01)
