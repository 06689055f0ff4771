import pytest
import torch
from experiments.pretraining.augment import Augmentation

NOTHING = {"smallest_crop": 1.0, "flip": False, "jitter": 0.0, "grey": 0.0}


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def images():
    return torch.rand(32, 3, 12, 10, generator=generator(7))


def test_views_are_images_and_differ(images):
    before = images.clone()
    first, again, other = (Augmentation()(images, generator(seed)) for seed in (0, 0, 1))
    assert first.shape == images.shape
    assert first.min() >= 0
    assert first.max() <= 1
    assert torch.equal(first, again)
    assert ((first - other).abs().amax((1, 2, 3)) > 0.05).all()
    assert torch.equal(images, before)


def test_with_every_change_off_the_view_is_the_image(images):
    torch.testing.assert_close(Augmentation(**NOTHING)(images, generator()), images)


def test_half_of_the_views_are_mirrored(images):
    views = Augmentation(**{**NOTHING, "flip": True})(images, generator())
    same = (views - images).abs().amax((1, 2, 3)) < 1e-4
    mirrored = (views - images.flip(3)).abs().amax((1, 2, 3)) < 1e-4
    assert (same | mirrored).all()
    assert 8 < mirrored.sum() < 24


def test_grey_views_have_the_luminance_of_the_image(images):
    views = Augmentation(**{**NOTHING, "grey": 1.0})(images, generator())
    luminance = 0.299 * images[:, 0] + 0.587 * images[:, 1] + 0.114 * images[:, 2]
    for channel in range(3):
        torch.testing.assert_close(views[:, channel], luminance)


def test_a_grey_image_keeps_its_hue(images):
    grey = images[:, :1].expand(-1, 3, -1, -1).contiguous()
    strong = Augmentation(smallest_crop=1.0, flip=False, jitter=1.0, brightness=0, contrast=0, saturation=0.9, hue=0.5)
    torch.testing.assert_close(strong(grey, generator()), grey, atol=1e-5, rtol=0)


def test_contrast_moves_pixels_about_the_mean_luminance(images):
    images = 0.4 + 0.2 * images  # far from the ends, where values are cut off
    only = Augmentation(smallest_crop=1.0, flip=False, jitter=1.0, brightness=0, saturation=0, hue=0, grey=0)
    views = only(images, generator())
    weights = torch.tensor([0.299, 0.587, 0.114])
    torch.testing.assert_close(
        torch.einsum("c,bchw->b", weights, views), torch.einsum("c,bchw->b", weights, images), rtol=1e-5, atol=1e-4
    )
    assert (views - images).abs().max() > 0.01


def test_a_crop_is_a_part_of_the_image():
    """Of an image that is its own column number, a crop of half the area is a narrower range of numbers."""
    ramp = (torch.arange(32) / 31).expand(64, 3, 32, 32).contiguous()
    only = Augmentation(**{**NOTHING, "smallest_crop": 0.25})
    views = only(ramp, generator())
    spread = views.amax((1, 2, 3)) - views.amin((1, 2, 3))
    assert spread.max() <= 1
    assert spread.min() < 0.6
    assert spread.min() > 0.25  # a quarter of the area, at most 4 : 3 high
