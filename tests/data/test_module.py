from pathlib import Path

import numpy as np
import pytest
import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf
from tests.data.making import CONF, noise
from torch.utils.data import RandomSampler
from torchvision.transforms import v2

from modelrank.data.images import ImageData, ImageSplit
from modelrank.data.module import ImageDataModule


def plain(image):
    return torch.from_numpy(np.asarray(image).copy()).permute(2, 0, 1).float()


def other(image):
    return -plain(image)


@pytest.fixture(scope="module")
def data():
    config = OmegaConf.create({"dataset": OmegaConf.load(CONF / "digits.yaml")})
    return instantiate(config.dataset, subsample={"train": 50, "val": 20, "test": 30}).load(Path("/nowhere"))


def order(loader):
    return torch.cat([index for _, _, index in loader]).tolist()


def training(data, steps, **settings):
    module = ImageDataModule(data, other, plain, **settings)
    module.steps = steps
    return module.train_dataloader()


def test_train_is_shuffled_by_the_seed_and_uses_its_own_transform(data):
    def epochs(seed):
        torch.manual_seed(seed + 99)  # the global state does not matter
        return [order(training(data, range(5 * n, 5 * n + 5), batch_size=10, seed=seed)) for n in range(2)]

    first, second = epochs(0)
    assert sorted(first) == sorted(second) == list(range(50))
    assert first != second
    assert [first, second] == epochs(0) != epochs(1)
    images, _, _ = next(iter(training(data, range(1))))
    assert images.max() <= 0


def test_a_step_has_the_same_batch_whoever_begins_where(data):
    noisy = v2.Compose([plain, lambda image: image + torch.rand(())])
    module = ImageDataModule(data, noisy, plain, batch_size=8, seed=3)
    module.steps = range(20)
    state = torch.get_rng_state()
    whole = list(module.train_dataloader())
    assert torch.equal(state, torch.get_rng_state())
    module.steps = range(13, 20)
    rest = list(module.train_dataloader())
    assert len(rest) == 7
    for (images, targets, index), (again, same, number) in zip(whole[13:], rest, strict=True):
        assert torch.equal(images, again)
        assert torch.equal(targets, same)
        assert torch.equal(index, number)
    assert not torch.equal(whole[0][0], whole[6][0])


def test_retraining_on_train_and_val(data):
    assert sorted(order(training(data, range(7), batch_size=10, train_splits=("train", "val")))) == list(range(70))
    with pytest.raises(ValueError, match="test"):
        ImageDataModule(data, other, plain, train_splits=("train", "test"))


def test_last_batch_of_training_is_never_a_single_image(data):
    module = ImageDataModule(data, other, plain, batch_size=7)
    assert {len(index) for _, _, index in training(data, range(30), batch_size=7)} == {7}
    assert len(order(module.test_dataloader())) == 30
    assert len(order(training(data, range(1), batch_size=500))) == 50


def test_val_and_test_are_not_shuffled(data):
    module = ImageDataModule(data, other, plain, batch_size=8)
    for loader, size in ((module.val_dataloader(), 20), (module.test_dataloader(), 30)):
        assert order(loader) == list(range(size))
        assert not isinstance(loader.sampler, RandomSampler)


def test_workers_give_the_same_batches(data):
    alone, helped = (ImageDataModule(data, other, plain, batch_size=16, workers=w) for w in (0, 1))
    for (a, _, i), (b, _, j) in zip(alone.test_dataloader(), helped.test_dataloader(), strict=True):
        torch.testing.assert_close(a, b)
        torch.testing.assert_close(i, j)


def test_multilabel_batches(data):
    hot = np.eye(4, 3, dtype=np.int64)
    split = ImageSplit(noise(4, 8, 8), hot, list("abcd"))
    several = ImageData(
        "m", "multilabel", ("x", "y", "z"), "map11", dict.fromkeys(("train", "val", "test"), split), "", "", ""
    )
    _, targets, _ = next(iter(ImageDataModule(several, other, plain, batch_size=4).val_dataloader()))
    assert targets.dtype == torch.float32
    assert targets.tolist() == hot.tolist()
