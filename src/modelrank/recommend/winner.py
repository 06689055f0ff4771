"""A fine-tuned network to take home: weights as safetensors, what they need to be used as JSON, and back."""

from __future__ import annotations

import copy
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from PIL import Image
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from modelrank.data.images import ImageData
from modelrank.data.pixels import as_rgb, fault
from modelrank.hub.checkpoint_files import digest
from modelrank.hub.model import PretrainedModel
from modelrank.hub.penultimate import classifier, replace_head
from modelrank.hub.preprocessing import Preprocessing
from modelrank.recommend.architecture import built, described, recipe
from modelrank.types import ModelRankError

FORMAT = 1
WEIGHTS, FACTS = "model.safetensors", "model.json"
TASKS = ("classification", "multilabel", "regression")
BATCH = 32  # images at a time

Picture = Image.Image | np.ndarray | str | Path


@dataclass(frozen=True)
class FineTuned:
    """A network that was fine-tuned on a data set.

    network: images B x 3 x size x size, float32, to B x C logits (regression: B x K numbers).
    facts:   what model.json holds: task, classes, preprocessing, metric, accuracies, licences, provenance.
    """

    network: nn.Module
    facts: Mapping[str, Any]

    @property
    def classes(self) -> list[str]:
        return list(self.facts["classes"])

    def __repr__(self) -> str:
        kinds = f", {len(self.classes)} classes" if self.classes else ""
        return f"FineTuned({self.facts['name']} on {self.facts.get('dataset', 'images')}: {self.facts['task']}{kinds})"

    def predict(self, images: Picture | Sequence[Picture] | np.ndarray) -> list[Any]:
        """For each image the name of its class (multilabel: the names; regression: the numbers).

        images: one or several; files, PIL images, or H x W (x 3 or 4) uint8 arrays (several: N x H x W x 3), of any
        size. ModelRankError names a file that cannot be read, and says what else is no image.
        """
        values = self.outputs(images)
        if self.facts["task"] == "regression":
            return values.tolist()
        names = self.classes
        if self.facts["task"] == "multilabel":
            return [[names[index] for index in np.flatnonzero(row > 0.5)] for row in values]
        return [names[index] for index in values.argmax(1)]

    @torch.inference_mode()
    def outputs(self, images: Picture | Sequence[Picture] | np.ndarray) -> np.ndarray:
        """N x C float32 probabilities of the classes (regression: N x K numbers)."""
        given = _several(images)
        transform = Preprocessing(**self.facts["preprocessing"]).evaluation()
        device = next(self.network.parameters()).device
        found = [
            self.network(torch.stack([transform(_rgb(image)) for image in batch]).to(device)).float().cpu()
            for batch in _batches(given)
        ]
        values = torch.cat(found) if found else torch.zeros(0, self.facts["outputs"])
        if self.facts["task"] == "classification":
            values = values.softmax(1)
        elif self.facts["task"] == "multilabel":
            values = values.sigmoid()
        return values.numpy()


def save(
    folder: Path,
    network: nn.Module,
    model: PretrainedModel,
    data: ImageData,
    preprocessing: Preprocessing,
    facts: Mapping[str, Any],
) -> dict[str, Any]:
    """Write model.safetensors and model.json into `folder`, each by renaming; returns what model.json holds.

    network: what fine-tuning made of `model` (see `replace_head`). facts: what else to keep, JSON-able (accuracies,
    provenance). The weights have the names that the library of the network gives them, its classifier being the new
    head, wherever that is the same function, so that they can be loaded without this package.
    """
    if data.task not in TASKS:
        raise ModelRankError(f"a fine-tuned model of {data.task} cannot be kept; these can: {', '.join(TASKS)}")
    outputs = cast(nn.Linear, network.get_submodule("head")).out_features
    whole = _whole(model.architecture(), network, preprocessing.size)
    kept = network if whole is None else whole
    state = {name: value.detach().cpu().contiguous().clone() for name, value in kept.state_dict().items()}
    folder.mkdir(parents=True, exist_ok=True)
    weights = folder / f"{WEIGHTS}.{os.getpid()}.tmp"
    save_file(state, weights, metadata={"format": "pt"})
    architecture = described(model.architecture)
    content: dict[str, Any] = {
        "format": FORMAT,
        "name": model.name,
        "task": data.task,
        "classes": list(data.classes),
        "outputs": outputs,
        "architecture": architecture,
        "whole": whole is not None,
        "preprocessing": preprocessing.identity(),
        "sha256": digest(weights),
        "licences": {"weights": model.licence, "images": data.licence},
        "pretraining": model.pretraining,
        "recipe": recipe(architecture, whole is not None, outputs),
        **facts,
    }
    text = folder / f"{FACTS}.{os.getpid()}.tmp"
    text.write_text(json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False), encoding="utf-8")
    weights.replace(folder / WEIGHTS)
    text.replace(folder / FACTS)
    return content


def load(folder: str | Path, *, architecture: Callable[[], nn.Module] | None = None) -> FineTuned:
    """A network that `stage=recommend` or `stage=finetune keep=best` has left in `folder` (or in `folder`/model), in
    eval mode on the CPU.

    architecture: builds the network before its fine-tuning, for one that is not of timm, torchvision or modelrank.
    ModelRankError: no such folder, damaged files, or a network that is not built from what a file says.
    """
    folder = Path(folder)
    folder = folder.parent if folder.is_file() else folder
    if not (folder / FACTS).is_file() and (folder / "model" / FACTS).is_file():  # the folder of the run
        folder = folder / "model"
    try:
        facts = json.loads((folder / FACTS).read_text(encoding="utf-8"))
        wanted = facts["sha256"]
        known = facts["format"] == FORMAT and facts["task"] in TASKS
        outputs, whole, size = int(facts["outputs"]), bool(facts["whole"]), int(facts["preprocessing"]["size"])
    except FileNotFoundError:
        raise ModelRankError(f"{folder} holds no fine-tuned model: it has no {FACTS}") from None
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise ModelRankError(f"{folder / FACTS} is damaged ({error!r}); write it anew by the same command") from error
    if not known:
        raise ModelRankError(f"{folder / FACTS}: format {facts['format']}, task {facts['task']}: not of this version")
    path = folder / WEIGHTS
    if not path.is_file() or digest(path) != wanted:
        raise ModelRankError(f"{path} is not the file that {FACTS} tells of (sha256); write both anew")
    network = assembled(built(facts["architecture"], architecture), outputs, size, whole=whole)
    try:
        network.load_state_dict(load_file(path))
    except (SafetensorError, RuntimeError) as error:
        raise ModelRankError(f"{path} does not fit {facts['architecture']['name']}: {error}") from error
    return FineTuned(network.eval(), facts)


def assembled(source: nn.Module, outputs: int, size: int, *, whole: bool) -> nn.Module:
    """The network with a head for `outputs`: in place of its classifier (`whole`), or as `replace_head` does."""
    if not whole:
        return replace_head(source, outputs, size=size)
    found = classifier(source)
    if found is None or not isinstance(found[1], nn.Linear):
        raise ModelRankError(f"{type(source).__name__} has no linear classifier that the saved head could replace")
    _put(source, found[0], nn.Linear(found[1].in_features, outputs))
    return source


@torch.no_grad()
def _whole(source: nn.Module, network: nn.Module, size: int) -> nn.Module | None:
    """The trained network with its head in the place of the source's classifier; None where that is another function
    (a convolution with more behind it, positions that are pooled first)."""
    found = classifier(source)
    if found is None or not isinstance(found[1], nn.Linear):
        return None
    whole = copy.deepcopy(network.get_submodule("backbone")).cpu().eval()
    _put(whole, found[0], copy.deepcopy(network.get_submodule("head")).cpu())
    images = torch.linspace(-2, 2, 2 * 3 * size * size).reshape(2, 3, size, size)
    try:
        same = torch.allclose(whole(images), copy.deepcopy(network).cpu().eval()(images), rtol=1e-4, atol=1e-5)
    except (RuntimeError, ValueError):
        return None
    return whole if same else None


def _put(network: nn.Module, name: str, layer: nn.Module) -> None:
    parent, _, leaf = name.rpartition(".")
    setattr(network.get_submodule(parent), leaf, layer)


def _several(images: Any) -> list[Picture]:
    several = isinstance(images, np.ndarray) and images.ndim == 1 and images.dtype.kind in "OUT"  # a table's column
    batch = several or (isinstance(images, np.ndarray) and images.ndim == 4)
    one = isinstance(images, Picture | torch.Tensor) and not batch
    given: list[Any] = [images] if one or not isinstance(images, Iterable) else [*images]
    for image in given:
        array = isinstance(image, np.ndarray)
        colours = not array or image.ndim == 2 or (image.ndim == 3 and image.shape[2] in (3, 4))
        empty = (array and not image.size) or (isinstance(image, Image.Image) and 0 in image.size)
        if not isinstance(image, Picture) or (array and image.dtype != np.uint8) or not colours or empty:
            raise ModelRankError(
                f"{_what(image)} is no image; give files, PIL images, or H x W x 3 arrays of uint8 (0 to 255)"
            )
    return given


def _what(image: Any) -> str:
    """Without its numbers."""
    if isinstance(image, Image.Image):
        return f"a PIL image of {image.width} x {image.height} pixels, mode {image.mode},"
    if isinstance(image, np.ndarray | torch.Tensor):
        kind = "an array" if isinstance(image, np.ndarray) else "a tensor"
        return f"{kind} of {image.dtype}, {tuple(image.shape)},"
    return repr(image)


def _rgb(image: Picture) -> Image.Image:
    try:
        return as_rgb(image)
    except ModelRankError:  # it names the file
        raise
    except Exception as error:  # decoders raise errors of every kind, and PIL images decode when they are used
        raise ModelRankError(f"{_what(image)} cannot be read: {fault(error)}") from error


def _batches(images: Sequence[Picture]) -> Iterator[Sequence[Picture]]:
    for start in range(0, len(images), BATCH):
        yield images[start : start + BATCH]
