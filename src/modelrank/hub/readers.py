"""From the bytes of a weight file to named tensors, one function a format; no format may run code.

Every reader takes the file's content and returns {name: tensor}, in the order of the file, with PyTorch's layouts:
convolutions out x in x height x width, linear layers out x in.
"""

from __future__ import annotations

import io
import pickle
import re
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from modelrank.types import ModelRankError


def torch_state_dict(content: bytes) -> dict[str, Tensor]:
    """A state dict saved by torch."""
    try:
        state = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError) as error:  # torch's own advice is to run its code: withheld
        raise ModelRankError("the weight file is damaged or holds more than tensors, which is not read") from error
    if not isinstance(state, Mapping) or not all(isinstance(value, Tensor) for value in state.values()):
        raise ModelRankError("the weight file holds something else than a mapping of names to tensors")
    return dict(state)


def keras_pickle(content: bytes) -> dict[str, Tensor]:
    """A plain pickle of {layer: [kernel, bias]}, kernels height x width x in x out, as `layer.0` and `layer.1`."""
    layers = _ArrayUnpickler(io.BytesIO(content)).load()
    return {f"{layer}.{i}": _from_keras(array) for layer, arrays in layers.items() for i, array in enumerate(arrays)}


def keras_hdf5(content: bytes) -> dict[str, Tensor]:
    """Keras 3 weights (HDF5), kernels height x width x in x out, named by their path in the file."""
    import h5py

    found: dict[str, Tensor] = {}
    with h5py.File(io.BytesIO(content)) as file:

        def take(name: str, item: Any) -> None:
            if isinstance(item, h5py.Dataset):
                found[name] = _from_keras(item[...])

        file.visititems(take)
    return found


def onnx_parameters(content: bytes) -> dict[str, Tensor]:
    """The initialisers of an ONNX graph, in the order of their use.

    Exporters make the names of constants up (`onnx::MatMul_1966`), so the weights of convolutions and of matrix
    products are named after what they compute: `PATH.weight` and `PATH.bias` for an output named `PATH/Conv:0`. The
    matrix of `x @ W` is in x out, so it is transposed. All others keep their own names.
    """
    import onnx
    from onnx import numpy_helper

    graph = onnx.load_model_from_string(content).graph
    initialisers = {item.name: item for item in graph.initializer}
    found: dict[str, Tensor] = {}
    for node in graph.node:
        path = re.sub(r"(/(Conv|MatMul|FusedBatchNormV3))?(_output_0|:0)$", "", node.output[0]).strip("/")
        for position, name in enumerate(node.input):
            if name not in initialisers:
                continue
            # a copy: numpy_helper gives a view of read-only bytes
            tensor = torch.from_numpy(np.array(numpy_helper.to_array(initialisers[name])))
            if node.op_type in ("Conv", "MatMul"):
                name = path.replace("/", ".") + (".weight" if position == 1 else ".bias")
                tensor = tensor.T.contiguous() if node.op_type == "MatMul" else tensor
            found[name] = tensor
    return found


def _from_keras(array: np.ndarray) -> Tensor:
    tensor = torch.from_numpy(np.array(array, dtype=np.float32))
    return tensor.permute(3, 2, 0, 1).contiguous() if tensor.ndim == 4 else tensor


class _ArrayUnpickler(pickle.Unpickler):
    """Rebuilds numpy arrays in built-in containers; any other name in the pickle is refused, never imported."""

    ALLOWED = frozenset({"_reconstruct", "ndarray", "dtype"})

    def find_class(self, module: str, name: str) -> Any:
        if name in self.ALLOWED and module in ("numpy", "numpy.core.multiarray", "numpy._core.multiarray"):
            return super().find_class("numpy._core.multiarray" if name == "_reconstruct" else "numpy", name)
        raise ModelRankError(f"the weight file asks for {module}.{name}; only numpy arrays are read from a pickle")
