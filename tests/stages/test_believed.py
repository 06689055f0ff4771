"""By what remembered scores are found again."""

from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pandas as pd

from modelrank.features.from_files import SavedFeatures
from modelrank.hub.model import PretrainedModel
from modelrank.hub.preprocessing import Preprocessing
from modelrank.memory.prior import believe
from modelrank.scorers.disco import disco
from modelrank.scorers.ncti import ncti
from modelrank.stages.believed import known_facts, scorer_ids
from modelrank.truth.ledger import Asked

SCORERS = {"disco": partial(disco), "ncti": partial(ncti)}


def ids(models=("a", "b"), scorers=SCORERS, relative=frozenset({"ncti"}), scored=("train",), image_size=None, hub=None):
    asked = Asked({name: name.upper() for name in models}, "digits", "D", "tiny", "P")
    hub = hub or {name: SavedFeatures(name, Path(name)) for name in models}
    return scorer_ids(scorers, hub, SimpleNamespace(scored=scored), asked, relative, image_size)["a"]


def test_a_value_that_is_scaled_over_the_hub_is_remembered_for_that_hub_only():
    smaller, larger = ids(), ids(("a", "b", "c"))
    assert smaller["disco"] == larger["disco"]
    assert smaller["ncti"] != larger["ncti"]
    assert ids(("b", "a"))["ncti"] == smaller["ncti"], "in whatever order"


def test_other_settings_or_other_images_of_the_set_are_another_value():
    assert ids(scorers=SCORERS | {"disco": partial(disco, groups=4)})["disco"] != ids()["disco"]
    assert ids(scored=("train", "val"))["disco"] != ids()["disco"]


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
