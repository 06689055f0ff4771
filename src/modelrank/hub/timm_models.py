"""Any model of timm with its published weights; timm's own configuration gives the preprocessing."""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from functools import partial
from pathlib import Path
from typing import Any

import timm
import torch
from huggingface_hub import try_to_load_from_cache
from timm.models import clean_state_dict
from torch import nn

from modelrank.hub.checkpoint_files import SUFFIXES
from modelrank.hub.model import PretrainedModel
from modelrank.hub.preprocessing import Preprocessing
from modelrank.hub.state_dicts import RULES, read_checkpoint
from modelrank.hub.weights import check_floating
from modelrank.keys import digest
from modelrank.packages import impatient
from modelrank.types import Availability, MissingAsset, ModelRankError

RESIZABLE = ("vision_transformer", "deit", "swin_transformer")  # fixed in size unless asked; at their own size the same
HF_FILES = ("model.safetensors", "pytorch_model.bin")  # what timm looks for, in its order

log = logging.getLogger(__name__)


def pretrained(
    model: str,
    name: str | None = None,
    folder: str | None = None,
    preprocessing: Preprocessing | None = None,
    pretraining: str | None = None,
    imagenet_accuracy: float | None = None,
    key: str = "",
) -> PretrainedModel:
    """One model of timm, `NAME` or `NAME.TAG`; `name`: its id in our results (default: `model`).

    folder: where the user's own weight file may lie, as MODEL.safetensors, MODEL.pth or under its published name;
            key: where in it the network is, see `state_dicts.read_checkpoint`.
    preprocessing: None for timm's own: the centre crop takes `crop_pct` of the image (other modes are not followed).
    pretraining: words for the report; None for timm's tag.
    """
    try:
        cfg = timm.get_pretrained_cfg(model, allow_unregistered=False) if timm.is_model(model) else None
    except RuntimeError:  # the model is known, the tag is not
        cfg = None
    if cfg is None or not (cfg.hf_hub_id or cfg.url):
        close = get_close_matches(model, timm.list_models(pretrained=True), 5)
        raise ModelRankError(f"timm has no pre-trained model {model!r}; close names: {', '.join(close) or 'none'}")
    family = timm.models.model_entrypoint(model.partition(".")[0]).__module__.rpartition(".")[2]
    options = {"num_classes": cfg.num_classes} | ({"dynamic_img_size": True} if family in RESIZABLE else {})
    return PretrainedModel(
        name=name or model,
        architecture=partial(timm.create_model, model, **options),
        weights=TimmWeights(model, cfg.hf_hub_id, str(cfg.url) if cfg.url else None, folder, key, options),
        family=family,
        pretraining=pretraining or cfg.tag or "timm's default weights",
        licence=cfg.license or "not stated by timm",
        preprocessing=preprocessing or _published_preprocessing(cfg),
        imagenet_accuracy=imagenet_accuracy,
    )


def _published_preprocessing(cfg: Any) -> Preprocessing:
    size = cfg.input_size[-1]
    return Preprocessing(
        size=size,
        resize=math.floor(size / cfg.crop_pct),
        interpolation="bilinear" if cfg.interpolation == "bilinear" else "bicubic",
        mean=cfg.mean,
        std=cfg.std,
    )


def hub(names: Sequence[str], folder: str | None = None, key: str = "") -> dict[str, PretrainedModel]:
    """`hub=timm 'hub.names=[resnet18.a1_in1k, vit_tiny*]'`: a name, a name with a tag, or a glob over all of them."""
    found: dict[str, PretrainedModel] = {}
    for given in [names] if isinstance(names, str) else names:
        matched = timm.list_models(given, pretrained=True) if set(given) & set("*?[") else [given]
        if not matched:
            raise ModelRankError(f"hub.names: timm has no pre-trained model that matches {given!r}")
        for model in matched:
            try:
                found[model] = pretrained(model, folder=folder, key=key)
            except ModelRankError as error:
                if model == given:
                    raise
                log.warning("%s is left out: %s", model, error)  # one of hundreds that a glob brought
    if not found:
        raise ModelRankError("hub.names is empty: name models of timm, for example 'hub.names=[resnet18,vit_tiny*]'")
    return found


@dataclass(frozen=True)
class TimmWeights:
    """Weights of one timm model: the user's own file in `folder`, else what timm has cached or downloads.

    What timm has is checked where its hash is known: the Hugging Face cache names a large file after its SHA-256, and
    many file names end in the first digits of theirs. Others are believed, as timm does; no revision is pinned.
    """

    model: str
    hf_hub_id: str | None
    url: str | None
    folder: str | None = None
    key: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)

    def availability(self, cache: Path, name: str) -> Availability:
        if path := self._own() or self._cached():
            return Availability("weights", name, "present", str(path))
        return Availability("weights", name, "fetchable", f"timm's download from {self.hf_hub_id or self.url}")

    def identity(self) -> dict[str, Any]:
        """The user's own file by its content; timm's by its published place, which timm does not pin further."""
        if own := self._own():
            return {"timm": self.model, "sha256": digest(own), "key": self.key, "reading": RULES}
        return {"timm": self.model, "hf_hub_id": self.hf_hub_id, "url": self.url}

    def load_into(self, model: nn.Module, cache: Path) -> None:
        """Through timm's own loader, which knows how each published file becomes a state of today's modules.

        MissingAsset: it cannot be had. ModelRankError: it does not fit, or is not the file that was published.
        """
        own = self._own()
        overlay = {"state_dict": clean_state_dict(read_checkpoint(own, self.key))} if own else None
        if overlay:
            check_floating(overlay["state_dict"], model.state_dict(), where=str(own))
        try:
            with impatient(), torch.random.fork_rng(devices=[]):
                loaded = timm.create_model(self.model, pretrained=True, pretrained_cfg_overlay=overlay, **self.options)
        except Exception as error:  # of the network (each client has its own errors), or of a file that does not fit
            reason = " ".join(str(error).split())[:300] or type(error).__name__
            if own:
                raise ModelRankError(f"{own} does not fit timm's {self.model}: {reason}") from error
            place = f"{self.folder}/{self.model}.safetensors" if self.folder else "a folder named by hub.folder"
            raise MissingAsset(
                f"timm cannot get the weights of {self.model} from {self.hf_hub_id or self.url} ({reason}); "
                f"put the file by hand at {place}"
            ) from error
        if not own and (path := self._cached()):
            _check(Path(path))
        model.load_state_dict(loaded.state_dict())

    def _own(self) -> Path | None:
        if not self.folder:
            return None
        root = Path(str(self.folder)).expanduser()
        names = [f"{self.model}{suffix}" for suffix in SUFFIXES] + [Path(self.url).name if self.url else self.model]
        return next((root / name for name in names if (root / name).is_file()), None)

    def _cached(self) -> str | None:
        if self.hf_hub_id:  # timm asks the Hugging Face hub first where it can
            found = (try_to_load_from_cache(self.hf_hub_id, file) for file in HF_FILES)
            return next((path for path in found if isinstance(path, str)), None)
        path = Path(torch.hub.get_dir()) / "checkpoints" / Path(self.url or "-").name
        return str(path) if path.is_file() else None


def _check(path: Path) -> None:
    blob = path.resolve().name  # in the cache of Hugging Face a link to blobs/SHA-256
    known = re.fullmatch(r"[a-f0-9]{64}", blob) or re.search(r"(?<=-)[a-f0-9]{8,64}(?=\.)", path.name)
    if known and not (found := digest(path)).startswith(known[0]):
        raise ModelRankError(
            f"{path}: its sha256 is {found}, published is {known[0]}; remove it, and it is fetched again"
        )
