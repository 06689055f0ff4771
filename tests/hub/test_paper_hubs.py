"""The hubs of the paper's benchmarks: every model built without weights; the ids are those of the published tables."""

import csv
from pathlib import Path

import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate

from modelrank.hub.model import PretrainedModel
from modelrank.hub.penultimate import FeatureExtractor
from modelrank.hub.preprocessing import IMAGENET_MEAN, IMAGENET_STD, Preprocessing

ROOT = Path(__file__).parents[2]
HUBS = {  # features, logits; from the papers
    "supervised": {
        "resnet34": (512, 1000),
        "resnet50": (2048, 1000),
        "resnet101": (2048, 1000),
        "resnet152": (2048, 1000),
        "densenet121": (1024, 1000),
        "densenet169": (1664, 1000),
        "densenet201": (1920, 1000),
        "mobilenet_v2": (1280, 1000),
        "mnasnet1_0": (1280, 1000),
        "googlenet": (1024, 1000),
        "inception_v3": (2048, 1000),
    },
    "self_supervised": {
        "byol": (2048, None),
        "deepcluster-v2": (2048, None),
        "infomin": (2048, None),
        "insdis": (2048, None),
        "moco-v1": (2048, None),
        "moco-v2": (2048, None),
        "pcl-v1": (2048, None),
        "pcl-v2": (2048, None),
        "sela-v2": (2048, None),
        "simclr-v1": (2048, None),
        "simclr-v2": (2048, None),
        "swav": (2048, None),
    },
    "vit": {
        "deit_tiny": (192, 1000),
        "deit_small": (384, 1000),
        "deit_base": (768, 1000),
        "dino_small": (384, None),
        "dino_base": (768, None),
        "mocov3_small": (384, None),
        "pvt_tiny": (512, 1000),
        "pvt_small": (512, 1000),
        "pvt_medium": (512, 1000),
        "pvtv2_b2": (512, 1000),
        "pvtv2_b3": (512, 1000),
        "swin_t": (768, 1000),
        "swin_s": (768, 1000),
    },
}
PARAMETERS = {  # millions, from the papers: tell a right width with a wrong depth
    "resnet34": 21.8, "resnet152": 60.2, "densenet201": 20.0, "mnasnet1_0": 4.4, "deit_base": 86.6,
    "mocov3_small": 21.7, "pvt_tiny": 13.2, "pvt_small": 24.5, "pvt_medium": 44.2, "pvtv2_b2": 25.4, "pvtv2_b3": 45.2,
    "swin_t": 28.3, "swin_s": 49.6,
}  # fmt: skip


def hub(name: str, cache: Path) -> dict[str, PretrainedModel]:
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        cfg = compose(overrides=[f"+hub={name}", f"+paths.cache={cache}"])
    return {key: instantiate(spec) for key, spec in cfg.models.items()}


@pytest.fixture(scope="module", params=HUBS)
def models(request, tmp_path_factory):
    return request.param, hub(request.param, tmp_path_factory.mktemp("cache"))


def test_a_hub_has_the_models_of_its_published_table(models):
    name, found = models
    with (ROOT / "experiments/truth/published.csv").open() as file:
        published = {row["model"] for row in csv.DictReader(file) if row["hub"] == name}
    assert set(found) == set(HUBS[name]) == published
    assert all(key == model.name for key, model in found.items())
    assert all(model.weights is not None for model in found.values()), "no random control among the paper's models"
    assert all(model.family and model.pretraining and model.licence for model in found.values())


def test_every_model_sees_what_the_benchmark_shows(models):
    for name, model in models[1].items():
        plain = name.startswith("simclr")
        mean, std = ((0, 0, 0), (1, 1, 1)) if plain else (IMAGENET_MEAN, IMAGENET_STD)
        assert model.preprocessing == Preprocessing(224, 224, "bicubic", mean, std), name


@pytest.mark.parametrize(("hub_name", "name"), [(one, name) for one, names in HUBS.items() for name in names])
def test_its_features_and_logits_have_the_right_width(hub_name, name, tmp_path):
    model = hub(hub_name, tmp_path)[name]
    with torch.device("meta"), torch.no_grad():  # shapes only: nothing is computed
        network = model.architecture().eval()
        features, logits = FeatureExtractor(network)(torch.zeros(2, 3, 224, 224))
    assert features.shape == (2, HUBS[hub_name][name][0])
    assert (None if logits is None else logits.shape[1]) == HUBS[hub_name][name][1]
    if name in PARAMETERS:
        assert sum(p.numel() for p in network.parameters()) / 1e6 == pytest.approx(PARAMETERS[name], abs=0.06)
    assert (model.imagenet_accuracy is not None) == (logits is not None)


@pytest.mark.parametrize("name", ["googlenet", "inception_v3"])
def test_networks_with_auxiliary_heads_train_without_them_and_take_imagenets_normalisation(name, tmp_path):
    with torch.device("meta"):
        network = hub("supervised", tmp_path)[name].architecture().train()
        outputs = network(torch.zeros(2, 3, 224, 224))
    assert outputs.shape == (2, 1000)
    assert network.transform_input
    assert not [key for key in network.state_dict() if "aux" in key.lower()]


def test_the_heads_of_moco_v3_are_twelve(tmp_path):
    with torch.device("meta"):
        network = hub("vit", tmp_path)["mocov3_small"].architecture()
    assert {block.attn.num_heads for block in network.blocks} == {12}


def test_what_is_missing_is_said_without_network(models, tmp_path):
    states = {name: model.availability(tmp_path) for name, model in models[1].items()}
    missing = {name for name, known in states.items() if known.state == "missing"}
    own = {"supervised": set(), "self_supervised": set(HUBS["self_supervised"])}
    assert missing == own.get(models[0], {"pvt_tiny", "pvt_small", "pvt_medium", "mocov3_small"})
    for name in missing:
        assert f"weights/{models[0]}/" in states[name].where
        assert "(from " in states[name].where
    assert all(known.state == "fetchable" for name, known in states.items() if name not in missing)
