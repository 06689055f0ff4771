import pytest
import torch

from modelrank.hub.penultimate import FeatureExtractor
from modelrank.hub.pvt import Attention, PyramidVisionTransformer


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return PyramidVisionTransformer([1, 1, 1, 1], outputs=5).eval()


@pytest.mark.parametrize("size", [64, 224])
def test_any_multiple_of_32_goes_in_and_the_class_token_comes_out(network, size):
    with torch.no_grad():
        features, logits = FeatureExtractor(network)(torch.randn(2, 3, size, size))
    assert features.shape == (2, 512)
    torch.testing.assert_close(network.head(features), logits)


def test_its_parameters_have_the_published_names_and_shapes(network):
    shapes = {name: tuple(value.shape) for name, value in network.state_dict().items()}
    published = {  # of pvt_*.pth
        "cls_token": (1, 1, 512),
        "pos_embed1": (1, 3136, 64),
        "pos_embed4": (1, 50, 512),
        "patch_embed1.proj.weight": (64, 3, 4, 4),
        "patch_embed3.norm.bias": (320,),
        "block1.0.attn.sr.weight": (64, 64, 8, 8),
        "block2.0.attn.norm.weight": (128,),
        "block3.0.attn.kv.weight": (640, 320),
        "block4.0.attn.q.bias": (512,),
        "block1.0.mlp.fc1.weight": (512, 64),
        "block4.0.mlp.fc2.weight": (512, 2048),
        "norm.weight": (512,),
        "head.weight": (5, 512),
    }
    assert {name: shapes[name] for name in published} == published
    assert "block4.0.attn.sr.weight" not in shapes, "the last stage attends to its whole map"


def test_attention_is_softmax_attention_over_the_reduced_map():
    torch.manual_seed(0)
    attention = Attention(12, heads=3, reduction=2).eval()
    x = torch.randn(2, 16, 12)
    with torch.no_grad():
        got = attention(x, (4, 4))
        reduced = attention.sr(x.transpose(1, 2).reshape(2, 12, 4, 4)).reshape(2, 12, 4).transpose(1, 2)
        k, v = attention.kv(attention.norm(reduced)).split(12, dim=2)
        heads = []
        for h in range(3):
            part = slice(4 * h, 4 * h + 4)
            weights = (attention.q(x)[..., part] @ k[..., part].transpose(1, 2) / 2).softmax(dim=2)
            heads.append(weights @ v[..., part])
        torch.testing.assert_close(got, attention.proj(torch.cat(heads, dim=2)))


def test_positions_matter_and_are_resized(network):
    image = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        assert not torch.allclose(network(image), network(image.flip(3)), atol=1e-4)
