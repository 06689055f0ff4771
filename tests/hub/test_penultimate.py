import pytest
import torch
from timm import create_model
from torch import nn
from torchvision.models import mobilenet_v2, resnet18, squeezenet1_1

from modelrank.hub.architectures import mobilenet_v2_trunk, resnet50_thin, vgg16_trunk
from modelrank.hub.penultimate import FeatureExtractor, classifier, feature_dimension, replace_head


def tiny_vit(**changed):
    return create_model("vit_tiny_patch16_224", img_size=32, depth=2, **changed)


BUILDERS = {
    "resnet18": (resnet18, 512, 1000),
    "mobilenet_v2": (mobilenet_v2, 1280, 1000),
    "squeezenet1_1": (squeezenet1_1, 512, 1000),
    "resnet50_thin": (resnet50_thin, 1024, 2),
    "vit": (tiny_vit, 192, 1000),
    "vit without head": (lambda: tiny_vit(num_classes=0), 192, None),
    "mobilenet_v2 without head": (mobilenet_v2_trunk, 1280, None),
    "vgg16 trunk": (lambda: vgg16_trunk(batch_norm=False), 512, None),
}


@pytest.fixture(scope="module")
def images():
    return torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("name", BUILDERS)
def test_features_and_logits(name, images):
    build, dimension, outputs = BUILDERS[name]
    model = build().eval()
    with torch.no_grad():
        features, logits = FeatureExtractor(model)(images)
        plain = model(images)
    assert features.shape == (2, dimension)
    assert feature_dimension(model, size=32) == dimension
    if outputs is None:
        assert logits is None
    else:
        assert logits is not None
        assert torch.equal(logits, plain)
        assert logits.shape == (2, outputs)


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v2", "resnet50_thin", "vit"])
def test_the_features_are_what_the_classifier_takes(name, images):
    model = BUILDERS[name][0]().eval()
    found = classifier(model)
    assert found is not None
    with torch.no_grad():
        features, logits = FeatureExtractor(model)(images)
        torch.testing.assert_close(found[1](features), logits)


def test_the_classifier_of_squeezenet_is_its_last_convolution(images):
    model = squeezenet1_1().eval()
    assert classifier(model) == ("classifier.1", model.classifier[1])
    with torch.no_grad():
        features, _ = FeatureExtractor(model)(images)
        torch.testing.assert_close(features, model.features(images).mean(dim=(2, 3)))


def test_no_hook_stays_on_the_model(images):
    model = resnet18().eval()
    FeatureExtractor(model)(images)
    assert not model.fc._forward_pre_hooks


@pytest.mark.parametrize("name", BUILDERS)
def test_a_new_head_sits_on_the_same_features_and_everything_trains(name, images):
    build, dimension, _ = BUILDERS[name]
    model = build().eval()
    with torch.no_grad():
        features, _ = FeatureExtractor(model)(images)
    model.requires_grad_(False)
    tuned = replace_head(model, 7, size=32)
    with torch.no_grad():
        torch.testing.assert_close(tuned.head(features), tuned(images))
    assert tuned.head.weight.shape == (7, dimension)
    assert not tuned.training
    tuned.train()(images).square().sum().backward()
    assert all(parameter.requires_grad for parameter in tuned.parameters())
    assert torch.cat([p.grad.flatten() for p in tuned.parameters() if p.grad is not None]).isfinite().all()
    assert tuned.head.weight.grad.abs().sum() > 0


def test_probing_leaves_mode_and_running_statistics_alone():
    model = vgg16_trunk(batch_norm=True, layers=7).train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    feature_dimension(model, size=32)
    assert model.training
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_models_whose_features_are_not_defined_are_refused(images):
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.head = nn.Linear(32, 32)

        def forward(self, x):
            return self.head(self.head(x))

    with pytest.raises(ValueError, match="classifier head of Twice ran 2 times"):
        FeatureExtractor(Twice())(images)
    with pytest.raises(ValueError, match="ReLU has no parameters"):
        FeatureExtractor(nn.ReLU())(images)
