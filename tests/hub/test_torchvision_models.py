import hashlib
from collections import OrderedDict
from pathlib import Path

import pytest
import torch
import torchvision.models
from torch import nn

from modelrank.hub.penultimate import FeatureExtractor
from modelrank.hub.torchvision_models import TorchvisionWeights, hub, pretrained
from modelrank.types import MissingAsset, ModelRankError


@pytest.fixture(autouse=True)
def torch_home(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    return tmp_path / "torch/hub/checkpoints"


def published(folder: Path, name: str, state) -> TorchvisionWeights:
    """A weight file named as torchvision's are, by the first digits of its hash."""
    folder.mkdir(parents=True, exist_ok=True)
    torch.save(state, folder / "raw")
    digest = hashlib.sha256((folder / "raw").read_bytes()).hexdigest()[:8]
    (folder / "raw").rename(folder / f"{name}-{digest}.pth")
    return TorchvisionWeights(f"http://localhost:9/models/{name}-{digest}.pth", str(folder))


def repeated(state):
    return OrderedDict(
        (name, torch.tensor(float(i)).expand(value.shape)) for i, (name, value) in enumerate(state.items())
    )


def test_the_users_own_file_goes_first_then_torch_hubs(tmp_path, torch_home):
    network = nn.Linear(3, 2)
    weights = published(tmp_path / "mine", "tiny", network.state_dict())
    name = Path(weights.url).name
    assert weights.availability(tmp_path, "m").where == str(tmp_path / "mine" / name)
    loaded = nn.Linear(3, 2)
    weights.load_into(loaded, tmp_path)
    assert torch.equal(loaded.weight, network.weight)
    elsewhere = TorchvisionWeights(weights.url, str(tmp_path / "empty"))
    assert elsewhere.availability(tmp_path, "m").state == "fetchable"
    torch_home.mkdir(parents=True)
    (tmp_path / "mine" / name).rename(torch_home / name)
    assert elsewhere.availability(tmp_path, "m").where == str(torch_home / name)
    elsewhere.load_into(nn.Linear(3, 2), tmp_path)


def test_a_file_with_another_hash_is_refused(tmp_path):
    weights = published(tmp_path, "tiny", nn.Linear(3, 2).state_dict())
    torch.save(nn.Linear(3, 2).state_dict(), tmp_path / Path(weights.url).name)
    with pytest.raises(ModelRankError, match="its sha256 is"):
        weights.load_into(nn.Linear(3, 2), tmp_path)


def test_without_network_one_sentence_says_what_and_where(tmp_path, torch_home):
    weights = TorchvisionWeights("http://localhost:9/models/resnet34-b627a593.pth", str(tmp_path / "mine"))
    with pytest.raises(MissingAsset) as error:
        weights.load_into(nn.Linear(3, 2), tmp_path)
    assert "resnet34-b627a593.pth" in str(error.value)
    assert str(tmp_path / "mine/resnet34-b627a593.pth") in str(error.value)
    assert not list(torch_home.glob("*.pth"))


def test_the_old_names_of_densenet_are_understood(tmp_path):
    with torch.device("meta"):
        state = torchvision.models.densenet121().state_dict()
    state = repeated(state)
    old = OrderedDict((name.replace(".norm1", ".norm.1").replace(".norm2", ".norm.2").replace(".conv1", ".conv.1")
                       .replace(".conv2", ".conv.2"), value) for name, value in state.items())  # fmt: skip
    assert "features.denseblock1.denselayer1.norm.1.weight" in old
    old = OrderedDict((name, value) for name, value in old.items() if "tracked" not in name)  # torch 0.3 had none
    weights = published(tmp_path, "densenet121", old)
    network = pretrained("densenet121").architecture()
    weights.load_into(network, tmp_path)
    found = network.state_dict()
    assert all(torch.equal(found[name], value) for name, value in state.items() if "tracked" not in name)


@pytest.mark.parametrize("name", ["googlenet", "inception_v3"])
def test_the_auxiliary_heads_of_the_file_are_left_out(name, tmp_path):
    with torch.device("meta"):
        state = torchvision.models.get_model(name, init_weights=False, aux_logits=True).state_dict()
    state = repeated(state)
    assert any("aux" in key.lower() for key in state)
    weights = published(tmp_path, name, state)
    network = pretrained(name).architecture()
    weights.load_into(network, tmp_path)
    assert all(torch.equal(value, state[key].to(value.dtype)) for key, value in network.state_dict().items())


def test_the_version_that_mnasnet_asks_for_is_kept(tmp_path):
    network = torchvision.models.mnasnet0_5()
    weights = published(tmp_path, "mnasnet", network.state_dict())
    loaded = torchvision.models.mnasnet0_5()
    weights.load_into(loaded, tmp_path)
    assert torch.equal(loaded.classifier[1].weight, network.classifier[1].weight)


def test_any_names_globs_and_weights():
    models = hub(["resnet18", "resnet50.IMAGENET1K_V1", "mnasnet0_*", "resnet50"])
    assert list(models) == ["resnet18", "resnet50.IMAGENET1K_V1", "mnasnet0_5", "mnasnet0_75", "resnet50"]
    assert all(name == model.name for name, model in models.items())
    first, second = models["resnet50.IMAGENET1K_V1"], models["resnet50"]
    assert (first.imagenet_accuracy, second.imagenet_accuracy) == (0.7613, 0.80858)
    assert (first.preprocessing.resize, second.preprocessing.resize) == (256, 232)
    assert first.preprocessing.interpolation == "bilinear"
    assert first.identity() != second.identity()
    with torch.device("meta"), torch.no_grad():
        features, logits = FeatureExtractor(models["mnasnet0_5"].architecture().eval())(torch.zeros(2, 3, 224, 224))
    assert (features.shape[1], logits.shape[1]) == (1280, 1000)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ([], "hub.names is empty"),
        (["resnet17"], "no classification model 'resnet17'"),
        (["nothing*"], r"no classification model 'nothing\*'"),
        (["resnet50.V9"], "no weights 'V9' for resnet50; it has IMAGENET1K_V1"),
    ],
)
def test_wrong_names_are_answered_with_the_right_ones(names, message):
    with pytest.raises(ModelRankError, match=message):
        hub(names)
