import hashlib
import pickle
import urllib.error

import numpy as np
import pytest
import torchvision.datasets
from hydra.utils import instantiate
from omegaconf import OmegaConf
from tests.data.making import CONF, mnist_members, noise

from modelrank.types import MissingAsset, ModelRankError


def own(name, **changes):
    """The data set of the YAML without its package."""
    config = OmegaConf.create({"dataset": OmegaConf.load(CONF / f"{name}.yaml")})
    config.dataset.copies = {"torchvision": config.dataset.copies.torchvision}
    return instantiate(config.dataset, **changes)


def raw_mnist(root, dataset):
    for name, content in mnist_members("", zipped=False).items():
        (root / dataset / "raw").mkdir(parents=True, exist_ok=True)
        (root / dataset / "raw" / name).write_bytes(content)


@pytest.mark.parametrize(("name", "dataset"), [("mnist", "MNIST"), ("fashion_mnist", "FashionMNIST")])
@pytest.mark.parametrize("given", ["root", "cache"])
def test_users_own_idx_files(tmp_path, name, dataset, given):
    place = tmp_path / "mine" if given == "root" else tmp_path / "datasets" / name
    raw_mnist(place, dataset)
    spec = own(name, root=str(place) if given == "root" else None)
    assert spec.availability(tmp_path).where == str(place / dataset / "raw")
    data = spec.load(tmp_path)
    assert [len(data.splits[s]) for s in ("train", "val", "test")] == [80, 20, 40]
    assert str(place) in data.source
    image, target = data.splits["test"][7]
    np.testing.assert_array_equal(np.asarray(image)[..., 0], noise(40, 28, 28, seed=40)[7])
    assert target == 7


def test_users_own_cifar10(tmp_path, monkeypatch):
    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    names = [f"data_batch_{i}" for i in range(1, 6)] + ["test_batch"]
    pixels = {name: noise(20, 3072, seed=i) for i, name in enumerate(names)}
    contents = {n: pickle.dumps({"data": pixels[n], "labels": [i % 10 for i in range(20)]}) for n in names}
    words = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
    contents["batches.meta"] = pickle.dumps({"label_names": words})
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    md5 = {name: hashlib.md5(content).hexdigest() for name, content in contents.items()}
    cls = torchvision.datasets.CIFAR10  # its MD5 are those of the real files
    monkeypatch.setattr(cls, "train_list", [[n, md5[n]] for n in names[:5]])
    monkeypatch.setattr(cls, "test_list", [["test_batch", md5["test_batch"]]])
    monkeypatch.setattr(cls, "meta", {**cls.meta, "md5": md5["batches.meta"]})
    data = own("cifar10", root=str(tmp_path)).load(tmp_path / "cache")
    assert [len(data.splits[s]) for s in ("train", "val", "test")] == [80, 20, 20]
    image, target = data.splits["test"][4]
    np.testing.assert_array_equal(np.asarray(image), pixels["test_batch"][4].reshape(3, 32, 32).transpose(1, 2, 0))
    assert target == 4
    (folder / "test_batch").write_bytes(b"changed")
    with pytest.raises(ModelRankError, match="CIFAR10"):
        own("cifar10", root=str(tmp_path)).load(tmp_path / "cache")


def test_download_is_tried_once_and_its_failure_told(tmp_path, monkeypatch):
    tried = []

    def offline(self):
        tried.append(self.root)
        raise urllib.error.URLError("no route")

    monkeypatch.setattr(torchvision.datasets.MNIST, "download", offline)
    spec = own("mnist")
    assert spec.availability(tmp_path).state == "fetchable"
    with pytest.raises(MissingAsset, match=r"MNIST/raw.*download of MNIST did not work.*no route"):
        spec.load(tmp_path)
    assert len(tried) == 1
    assert not [path for path in (tmp_path / "datasets/mnist").iterdir() if path.is_dir()], "nothing half done stays"


def test_download_lands_in_place_when_complete(tmp_path, monkeypatch):
    from pathlib import Path

    monkeypatch.setattr(torchvision.datasets.MNIST, "download", lambda self: raw_mnist(Path(self.root), "MNIST"))
    data = own("mnist").load(tmp_path)
    assert len(data.splits["test"]) == 40
    assert (tmp_path / "datasets/mnist/MNIST/raw").is_dir()


def test_without_download_only_the_user_can_provide_it(tmp_path):
    config = OmegaConf.create({"dataset": OmegaConf.load(CONF / "mnist.yaml")})
    config.dataset.copies = {"torchvision": {**config.dataset.copies.torchvision, "download": False}}
    assert instantiate(config.dataset).availability(tmp_path).state == "missing"
