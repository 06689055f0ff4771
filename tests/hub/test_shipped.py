"""The encoders that are shipped: their bytes are the pinned ones, they load, and they are small."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from hydra import compose, initialize_config_dir

from modelrank import build
from modelrank.hub import shipped
from modelrank.hub.checkpoint_files import digest
from modelrank.hub.penultimate import feature_dimension
from modelrank.types import MissingAsset, ModelRankError

ROOT = Path(__file__).parents[2]
HUBS = ("self_supervised_offline", "checkpoints_offline")


@pytest.fixture(scope="module", params=HUBS)
def hub(request):
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        return build.models(compose("config", [f"hub={request.param}", f"paths.cache={ROOT / 'nowhere'}"]))


def weights_of(hub):
    return {name: model.weights for name, model in hub.items() if model.weights is not None}


def test_every_model_loads_and_differs_from_the_others(hub):
    images = torch.rand(4, 3, 32, 32)
    seen = []
    for name, model in hub.items():
        assert model.name == name
        assert model.availability(Path("nowhere")).state == "present"
        network = model.load(Path("nowhere"))
        with torch.no_grad():
            features = network(images)
        assert features.shape == (4, feature_dimension(network, size=32))
        assert features.isfinite().all()
        assert features.std() > 1e-3, f"{name}: the features of different images are the same"
        seen.append(json.dumps(model.identity(), sort_keys=True))
    assert len(set(seen)) == len(seen)


def test_the_pinned_hash_is_that_of_the_file_and_of_its_record(hub):
    for weights in weights_of(hub).values():
        file = shipped.FOLDER / f"{weights.name}.safetensors"
        assert weights.sha256 == digest(file)
        run = weights.name.split("_step")[0]
        record = json.loads((shipped.FOLDER / f"{run}.json").read_text())
        assert record["sha256"][file.name] == weights.sha256
        assert record["commit"]
        assert "-dirty" not in record["commit"]
        assert (shipped.FOLDER / f"{run}.csv").is_file()


def test_pre_training_beats_its_own_start():
    for path in shipped.FOLDER.glob("*.json"):
        record = json.loads(path.read_text())
        assert record["knn"] > record["knn_untrained"] + 0.02, path.stem


def test_the_hub_is_as_wide_as_it_claims():
    records = [json.loads(path.read_text()) for path in shipped.FOLDER.glob("*.json")]
    assert len(records) >= 8
    assert len({record["encoder"] for record in records}) >= 3
    assert {"supervised", "simclr", "moco", "byol", "rotation"} <= {record["objective"] for record in records}
    assert {record["dataset"] for record in records} == {"cifar10", "fashion_mnist"}
    assert sum(path.stat().st_size for path in shipped.FOLDER.iterdir()) < 15e6


def test_no_file_is_shipped_that_no_hub_has():
    used = set()
    for name in HUBS:
        with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
            used |= {w.name for w in weights_of(build.models(compose("config", [f"hub={name}"]))).values()}
    assert {path.stem for path in shipped.FOLDER.glob("*.safetensors")} == used


@pytest.fixture
def one(monkeypatch, tmp_path):
    """One shipped file in a folder of the test's own."""
    source = next(iter(sorted(shipped.FOLDER.glob("resnet8_*.safetensors"))))
    shutil.copy(source, tmp_path)
    monkeypatch.setattr(shipped, "FOLDER", tmp_path)
    return shipped.ShippedWeights(source.stem, digest(source)), tmp_path / source.name


def test_an_installed_package_says_that_it_has_no_weights(one):
    weights, path = one
    path.unlink()
    assert weights.availability(Path("cache"), "x").state == "missing"
    with pytest.raises(MissingAsset, match=rf"no weights of {weights.name}: they are shipped as .* which is gone"):
        weights.load_into(torch.nn.Linear(1, 1), Path("cache"))


def test_a_changed_file_is_refused(one):
    weights, path = one
    path.write_bytes(path.read_bytes()[:-1] + b"\0")
    with pytest.raises(ModelRankError, match="is not the file that conf pins"):
        weights.load_into(torch.nn.Linear(1, 1), Path("cache"))


def test_another_architecture_is_refused(one):
    weights, path = one
    with pytest.raises(ModelRankError, match=f"{path.name} does not fit the architecture"):
        weights.load_into(torch.nn.Linear(1, 1), Path("cache"))
