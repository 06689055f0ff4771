"""Image classifiers of Hugging Face transformers: a repository of its hub, or a folder that `save_pretrained` wrote."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import try_to_load_from_cache
from torch import Tensor, nn

from modelrank.hub.model import PretrainedModel
from modelrank.hub.preprocessing import Preprocessing
from modelrank.keys import digest
from modelrank.packages import impatient
from modelrank.types import Availability, MissingAsset, ModelRankError

EXTRA = "hub=huggingface needs transformers: pip install 'modelrank[huggingface]'"
WEIGHTS = "model.safetensors"  # the only form that is read: it cannot run code
NOT_DECIDING = ("transformers_version", "_name_or_path", "architectures", "dtype")  # of a config


def hub(names: Sequence[str]) -> dict[str, PretrainedModel]:
    """`hub=huggingface 'hub.names=[OWNER/NAME,OWNER/NAME@REVISION,FOLDER]'`; a folder's model is called after it."""
    found: dict[str, PretrainedModel] = {}
    for given in [names] if isinstance(names, str) else names:
        model = pretrained(given)
        if model.name in found:
            raise ModelRankError(f"hub.names: two models are called {model.name}; rename one folder")
        found[model.name] = model
    if not found:
        raise ModelRankError(
            "hub.names is empty: name repositories of the Hugging Face hub or folders, for example "
            "'hub.names=[microsoft/resnet-50]'"
        )
    return found


def pretrained(given: str) -> PretrainedModel:
    """One model: `OWNER/NAME`, `OWNER/NAME@REVISION` or a folder. Of the hub, weights are read at the commit that the
    configuration was read at, and that commit is part of the model's identity.

    Images are resized by their short side and cropped in the centre, also where its own processor squeezes them into a
    square. MissingAsset where it cannot be had; ModelRankError for what is no image classifier, has no image processor
    beside it, or wants pixels that are neither 0..1 nor normalised from there.
    """
    try:
        from transformers import AutoConfig
        from transformers.image_processing_base import ImageProcessingMixin
        from transformers.utils.logging import disable_progress_bar
    except ImportError as error:
        raise ModelRankError(EXTRA) from error
    disable_progress_bar()
    folder = Path(given).expanduser()
    local = folder.is_dir()
    place, _, revision = (str(folder), "", "") if local else given.partition("@")
    try:
        with impatient():
            config = AutoConfig.from_pretrained(place, revision=revision or "main")
            commit = getattr(config, "_commit_hash", None) or revision or "main"
            processor, _ = ImageProcessingMixin.get_image_processor_dict(place, revision=commit)
    except (OSError, ValueError) as error:
        raise MissingAsset(
            f"hub.names: {given} is no folder, and transformers cannot get its configuration and image processor "
            f"({' '.join(str(error).split())[:200]}); give a folder with config.json, preprocessor_config.json and "
            f"{WEIGHTS}, as save_pretrained of the model and of its image processor write them"
        ) from error
    kinds = config.architectures or []
    if not any(kind.endswith("ForImageClassification") for kind in kinds):
        raise ModelRankError(
            f"hub.names: {given} is no image classifier of transformers, but {', '.join(kinds) or '?'}"
        )
    content = {key: value for key, value in config.to_dict().items() if key not in NOT_DECIDING}
    return PretrainedModel(
        name=folder.name if local else place,
        architecture=partial(network, config=json.dumps(content, sort_keys=True)),
        weights=HuggingFaceWeights(place, None if local else commit),
        family=config.model_type,
        pretraining="your own folder" if local else f"as published by {place.partition('/')[0]} ({commit[:12]})",
        licence="your own" if local else f"see {place} on the Hugging Face hub",
        preprocessing=_preprocessing(given, processor, config.model_type),
    )


class Logits(nn.Module):
    """images B x 3 x H x W -> B x S, of a model that wraps them in an output object."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        return self.network(pixel_values=images).logits


def network(config: str) -> nn.Module:
    """The untrained network of a configuration (JSON)."""
    from transformers import AutoConfig, AutoModelForImageClassification

    return Logits(AutoModelForImageClassification.from_config(AutoConfig.for_model(**json.loads(config))))


def _preprocessing(given: str, processor: Mapping[str, Any], family: str) -> Preprocessing:
    rescale = processor.get("rescale_factor", 1 / 255) if processor.get("do_rescale", True) else 1.0
    if abs(rescale * 255 - 1) > 1e-3 or processor.get("rescale_offset"):
        raise ModelRankError(f"hub.names: {given} scales pixels by {rescale:.4g}, which is not supported (1/255 is)")
    if processor.get("do_flip_channel_order", family.startswith("mobilevit")):
        raise ModelRankError(f"hub.names: {given} takes blue before red, which is not supported")
    resize = _side(processor.get("size", 224))
    size = _side(processor.get("crop_size", resize)) if processor.get("do_center_crop") else resize
    if "crop_pct" in processor and size < 384:  # ConvNeXt's way: it enlarges, then crops
        resize = int(size / processor["crop_pct"])
    if family == "levit":
        resize = int(256 / 224 * size)
    normalise = processor.get("do_normalize", True)
    if normalise and not {"image_mean", "image_std"} <= set(processor):
        raise ModelRankError(
            f"hub.names: the image processor of {given} does not say how it normalises; write image_mean and "
            "image_std, or do_normalize: false, into its preprocessor_config.json"
        )
    twice = 2 if processor.get("include_top") else 1  # EfficientNet's way: once more by the deviation alone
    return Preprocessing(
        size=size,
        resize=max(size, resize),
        interpolation="bicubic" if processor.get("resample") == 3 else "bilinear",  # PIL's numbers
        mean=processor["image_mean"] if normalise else (0.0, 0.0, 0.0),
        std=tuple(std**twice for std in processor["image_std"]) if normalise else (1.0, 1.0, 1.0),
    )


def _side(size: int | Mapping[str, int]) -> int:
    return size if isinstance(size, int) else size.get("shortest_edge") or min(size["height"], size["width"])


@dataclass(frozen=True)
class HuggingFaceWeights:
    """model.safetensors of a folder (commit None), or of a repository at one commit."""

    place: str
    commit: str | None

    def availability(self, cache: Path, name: str) -> Availability:
        if self.commit is None:
            file = Path(self.place) / WEIGHTS
            state = "present" if file.is_file() else "missing"
            return Availability("weights", name, state, str(file))
        if isinstance(path := try_to_load_from_cache(self.place, WEIGHTS, revision=self.commit), str):
            return Availability("weights", name, "present", path)
        return Availability("weights", name, "fetchable", f"{self.place} at {self.commit} on the Hugging Face hub")

    def identity(self) -> dict[str, Any]:
        """A folder's weights by their bytes; a repository's by its commit."""
        if self.commit is None:
            return {"huggingface": digest(Path(self.place) / WEIGHTS)}
        return {"huggingface": self.place, "commit": self.commit}

    def load_into(self, model: nn.Module, cache: Path) -> None:
        """Through transformers' own loader; all weights must be there."""
        from transformers import AutoModelForImageClassification

        try:
            with impatient(), torch.random.fork_rng(devices=[]):
                loaded, found = AutoModelForImageClassification.from_pretrained(
                    self.place, revision=self.commit or "main", use_safetensors=True, output_loading_info=True
                )
        except Exception as error:  # of the network, of a file that is damaged or does not fit: each its own
            raise MissingAsset(
                f"transformers cannot read {WEIGHTS} of {self.place}: {' '.join(str(error).split())[:300]}"
            ) from error
        if missing := sorted(found["missing_keys"]):  # transformers would go on with random numbers
            raise ModelRankError(f"{self.place}: {WEIGHTS} lacks {', '.join(missing[:4])} ({len(missing)} in all)")
        model.get_submodule("network").load_state_dict(loaded.state_dict())
