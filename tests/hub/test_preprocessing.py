import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import InterpolationMode, v2

from modelrank.hub.preprocessing import Preprocessing
from modelrank.types import ModelRankError

MEAN, STD = (0.1, 0.2, 0.3), (0.5, 0.25, 0.125)


def test_a_constant_image_becomes_colour_minus_mean_over_std():
    image = Image.new("RGB", (50, 80), (255, 51, 102))
    tensor = Preprocessing(size=32, resize=40, mean=MEAN, std=STD).evaluation()(image)
    assert tensor.shape == (3, 32, 32)
    assert tensor.dtype == torch.float32
    assert type(tensor) is torch.Tensor
    expected = (torch.tensor([1.0, 0.2, 0.4]) - torch.tensor(MEAN)) / torch.tensor(STD)
    torch.testing.assert_close(tensor, expected[:, None, None].expand(3, 32, 32))


def test_caffe_scale_is_255_times_the_colour_minus_the_mean():
    rule = Preprocessing(mean=[123 / 255, 117 / 255, 104 / 255], std=[1 / 255] * 3)
    tensor = rule.evaluation()(Image.new("RGB", (8, 8), (200, 117, 4)))
    torch.testing.assert_close(tensor[:, 0, 0], torch.tensor([77.0, 0.0, -100.0]), atol=1e-4, rtol=0)


def test_the_crop_keeps_the_middle():
    image = Image.new("RGB", (400, 100), (255, 0, 0))
    image.paste((0, 0, 255), (150, 0, 250, 100))
    tensor = Preprocessing(size=80, resize=100, mean=(0, 0, 0), std=(1, 1, 1)).evaluation()(image)
    assert tensor[2].min() == 1
    assert tensor[0].max() == 0


def test_another_size_keeps_the_margin_in_proportion():
    assert Preprocessing().at(112) == Preprocessing(size=112, resize=128)
    assert Preprocessing().at(None) == Preprocessing()


def test_images_smaller_than_the_model_are_enlarged():
    assert Preprocessing(size=112, resize=128).evaluation()(Image.new("RGB", (32, 32))).shape == (3, 112, 112)


def test_training_is_random_and_has_the_same_size_and_scale():
    image = Image.effect_noise((64, 64), 80).convert("RGB")
    draw = Preprocessing(size=32, resize=40).training()
    first, second = draw(image), draw(image)
    assert first.shape == second.shape == (3, 32, 32)
    assert not torch.equal(first, second)
    constant = Preprocessing(size=32, resize=40)
    black = Image.new("RGB", (64, 64))
    torch.testing.assert_close(constant.training()(black), constant.evaluation()(black))


def test_lists_of_a_yaml_compare_as_tuples():
    assert Preprocessing(mean=list(MEAN), std=list(STD)) == Preprocessing(mean=MEAN, std=STD)


@pytest.mark.parametrize("wrong", [{"size": 0}, {"size": 300}, {"mean": [0.5]}, {"std": [0.0, 1.0, 1.0]}])
def test_impossible_values_are_refused(wrong):
    with pytest.raises(ModelRankError, match="preprocessing"):
        Preprocessing(**wrong)


@pytest.mark.parametrize("size", [(41, 30), (30, 42), (30, 30), (97, 31), (300, 47)])
@pytest.mark.parametrize("rule", [Preprocessing(24, 27, "bilinear", MEAN, STD), Preprocessing(25, 30, mean=MEAN)])
def test_cropped_and_normalised_in_a_batch_is_the_evaluation_transform_bit_for_bit(size, rule):
    image = Image.effect_noise(size, 80).convert("RGB")
    shrunk = np.asarray(v2.Resize(rule.resize, InterpolationMode(rule.interpolation))(image))
    batch = rule.normalise(torch.stack([torch.from_numpy(rule.crop(shrunk).copy())] * 2))
    assert torch.equal(batch, torch.stack([rule.evaluation()(image)] * 2))
    assert batch.is_contiguous(memory_format=torch.channels_last)
