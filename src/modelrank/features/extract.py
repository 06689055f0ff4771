"""Features of one model on one data set: from the store when they are there, else by one pass over the images.

Torch is imported when features are read, Lightning only when a model has to run.
"""

from __future__ import annotations

import gc
import json
import logging
import os
import weakref
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modelrank.features.store import Entry, FeatureStore
from modelrank.provenance import versions
from modelrank.types import FeatureSet, ModelRankError

if TYPE_CHECKING:
    import pytorch_lightning as pl
    from torch import Tensor, nn

    from modelrank.data.images import ImageData, ImageSplit
    from modelrank.features.box_pooling import BoxPooling
    from modelrank.hub.model import PretrainedModel
    from modelrank.hub.preprocessing import Preprocessing

DTYPES = ("float32", "float16")
PRECISIONS = ("32-true", "bf16-mixed", "16-mixed")  # of Lightning
log = logging.getLogger(__name__)


def extract(
    model: PretrainedModel,
    data: ImageData,
    *,
    store: FeatureStore,
    cache: Path,
    trainer: Callable[..., pl.Trainer],
    scored: Sequence[str],
    image_size: int | None,
    batch_size: int | None,
    workers: int | None = None,
    dtype: str = "float32",
    precision: str = "32-true",
    compile: bool = False,
    boxes: Mapping[str, Any] | None = None,
    seed: int = 0,
) -> FeatureSet:
    """Penultimate features (N x D) and source logits (N x S or None) of the scored splits, in their order.

    Detection: one row a box, in the order of `data.boxes.box_rows`, its features pooled over it as `boxes` says
    (arguments of `features.box_pooling.BoxPooling`); no logits, since no classifier sees a box alone.

    Deterministic: evaluation transform, `precision` arithmetic on one device, stored as `dtype`. Of several processes
    that ask for the same features one works and the others wait. A killed extraction goes on where it stopped, with the
    same batches, so its result is the same as that of an uninterrupted one.

    image_size: side in pixels, None for the model's own. batch_size, workers: of the loader; no part of the key.
        batch_size None: chosen by the device (`batch_size_for`).
    workers: processes that decode images; None: one a core where there are images to decode. Decoded images are kept
    in `data.pixels`, so that the next model finds them.
    compile: by torch.compile first, once a network; like the device no part of the key (float32, which is without
        TF32 on GPUs, agrees to rounding).
    seed: of the random control's weights.
    Raises ModelRankError for features that are NaN or infinite, a store that cannot be written, a wrong `dtype`, a
    `precision` that the device does not have, boxes with `compile`, and what loading the model or an image raises.
    Cost: one forward pass per image; memory N x (D + S) beyond the model.
    """
    if dtype not in DTYPES:
        raise ModelRankError(f"extraction.dtype={dtype}: give one of {', '.join(DTYPES)}")
    if precision not in PRECISIONS:
        raise ModelRankError(f"extraction.precision={precision}: give one of {', '.join(PRECISIONS)}")
    if compile and data.task == "detection":
        raise ModelRankError("extraction.compile=true is for images; box features read maps inside the network")
    scored = list(scored)
    preprocessing = model.preprocessing.at(image_size)
    pooling = _pooling(boxes) if data.task == "detection" else None
    identity = _identity(model, data, scored, preprocessing, pooling, dtype=dtype, precision=precision, seed=seed)
    key = store.key(identity)
    entry = store.load(key, warn=False)  # a damaged file is judged again under the lock, and then with a warning
    if entry is None:
        with store.lock(key):
            entry = store.load(key)
            if entry is None:
                network = model.load(cache, seed=seed)
                held = weakref.ref(network)
                tensors, facts = _forward(
                    model,
                    network,
                    _splits(data, scored, preprocessing),
                    preprocessing,
                    pooling,
                    store=store,
                    key=key,
                    trainer=trainer,
                    batch_size=batch_size,
                    workers=workers,
                    dtype=dtype,
                    precision=precision,
                    compile=compile,
                )
                del network
                if held() is not None:  # it holds itself, and Python counts objects, not gigabytes
                    gc.collect()
                entry = Entry(tensors, facts | {"identity": identity, "model": model.name, "dataset": data.name})
                store.save(key, entry.tensors, entry.header)
    facts = {"parameters": float(entry.header["parameters"])}
    if model.imagenet_accuracy is not None:
        facts["imagenet_accuracy"] = model.imagenet_accuracy
    found = entry.tensors
    return FeatureSet(
        found["features"],
        found["targets"],
        data.task,
        logits=found.get("logits"),
        boxes=found.get("boxes"),
        image=found.get("image"),
        facts=facts,
        key=key,
        made_by=entry.header.get("versions", ""),
        seconds=float(entry.header["seconds"]),
    )


def kept(
    model: PretrainedModel,
    data: ImageData,
    *,
    store: FeatureStore,
    scored: Sequence[str],
    image_size: int | None,
    dtype: str = "float32",
    precision: str = "32-true",
    boxes: Mapping[str, Any] | None = None,
    seed: int = 0,
) -> bool:
    """Whether `extract` would find these features in the store."""
    preprocessing = model.preprocessing.at(image_size)
    pooling = _pooling(boxes) if data.task == "detection" else None
    identity = _identity(model, data, list(scored), preprocessing, pooling, dtype=dtype, precision=precision, seed=seed)
    return store.path(store.key(identity)).exists()


def _identity(
    model: PretrainedModel,
    data: ImageData,
    scored: list[str],
    preprocessing: Preprocessing,
    pooling: BoxPooling | None,
    *,
    dtype: str,
    precision: str,
    seed: int,
) -> dict[str, Any]:
    """All that decides what the features are."""
    identity = {
        "model": model.identity(seed=seed),
        "data": data.fingerprint,
        "splits": scored,
        "preprocessing": preprocessing.identity(),
        "dtype": dtype,
        "layer": "penultimate" if pooling is None else pooling.identity(),
    }
    if precision != "32-true":  # the keys of float32 are older than the choice
        identity["precision"] = precision
    if "rest" in scored:  # no part of the fingerprint, which is of what networks learn from and are tested on
        identity["rest"] = data.splits["rest"].digest()
    return identity


def _splits(data: ImageData, scored: Sequence[str], preprocessing: Preprocessing) -> list[ImageSplit]:
    if data.task == "detection":  # boxes count pixels of the image at its full size
        return [data.splits[name] for name in scored]
    from modelrank.data.decoded import Shrink

    return [data.shrunk(name, Shrink(preprocessing.resize, preprocessing.interpolation)) for name in scored]


def _pooling(boxes: Mapping[str, Any] | None) -> BoxPooling:
    from modelrank.features.box_pooling import BoxPooling

    if boxes is None:
        raise ModelRankError("extraction.boxes is empty, but detection needs it: layer, grid and reduce")
    return BoxPooling(**boxes)


def _forward(
    model: PretrainedModel,
    network: nn.Module,
    splits: Sequence[ImageSplit],
    preprocessing: Preprocessing,
    pooling: BoxPooling | None,
    *,
    store: FeatureStore,
    key: str,
    trainer: Callable[..., pl.Trainer],
    batch_size: int | None,
    workers: int | None,
    dtype: str,
    precision: str,
    compile: bool,
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The tensors that are stored and the facts for their header.

    `sample_ids` is the UTF-8 text of a JSON list of the ids of the images; `split` holds for each row the position in
    the identity's `splits` and `image` the image. Detection has `boxes` too (M x 4, as in FeatureSet).
    """
    import torch
    from torch.utils.data import Subset

    from modelrank.data.loader import loader
    from modelrank.features.box_pooling import over_boxes
    from modelrank.features.extraction import FeatureWriter, batch_size_for, float32, over_images
    from modelrank.trainers import SILENT, in_batches_that_fit, own_device, quiet

    parameters = sum(parameter.numel() for parameter in network.parameters())  # before box features drop the classifier
    if pooling is None:
        plan = over_images(network, splits, preprocessing)
    else:
        plan = over_boxes(network, splits, preprocessing, pooling)
    of_row = plan.known["image"]
    writer = FeatureWriter(model.name, len(of_row), dtype=getattr(torch, dtype), store=store, key=key)

    def make() -> pl.Trainer:
        # One device whatever fine-tuning uses: under DDP the other ranks wait for the lock and then read.
        alone = {"devices": own_device(trainer), "strategy": "auto"}
        runner = trainer(callbacks=[writer], precision=precision, **alone, **SILENT)
        if runner.precision != precision:  # Lightning takes another where the device has none
            raise ModelRankError(
                f"extraction.precision={precision}: not on this device, where {runner.precision} is nearest"
            )
        return runner

    def predict(images: int) -> pl.Trainer:
        batches = loader(
            # Parts end where batches end, so the batches of the images that are left are those of a first run.
            Subset(plan.images, of_row[writer.missing].unique().tolist()),
            batch_size=images,
            workers=_workers(splits, images) if workers is None else workers,
            collate_fn=plan.collate,
        )
        runner = make()
        runner.predict(plan.task, batches, return_predictions=False)
        return runner

    with quiet(), float32():
        size = batch_size
        if size is None:
            size = batch_size_for(plan, make())
            log.debug("%s: %d images at a time", model.name, size)
        if compile:
            network.compile()
        try:
            runner = in_batches_that_fit(predict, size, model.name, "extraction.batch_size")
        except AssertionError as error:  # so say networks that take one size
            raise ModelRankError(
                f"{model.name} cannot be run at {preprocessing.size} px: {error} Its own size: hub.image_size=null; "
                "to be fine-tuned at it too, protocol.image_size=N"
            ) from error
    for name, _ in list(plan.task.named_children()):  # trainer and task hold each other, but not the network any longer
        delattr(plan.task, name)
    if writer.missing:
        raise ModelRankError(
            f"{model.name}: {len(writer.missing)} of {len(of_row)} rows have no features; "
            "take fast_dev_run or limit_predict_batches out of the trainer's settings"
        )
    ids = json.dumps([name for split in splits for name in split.ids]).encode()
    of_image = torch.repeat_interleave(torch.tensor([len(split) for split in splits])).to(torch.uint8)
    tensors = {
        **writer.tensors,
        **plan.known,
        "split": of_image[of_row],
        "sample_ids": torch.frombuffer(bytearray(ids), dtype=torch.uint8),
    }
    return tensors, {
        "images": len(plan.images),
        "dimension": tensors["features"].shape[1],
        "source_classes": tensors["logits"].shape[1] if "logits" in tensors else None,
        "parameters": parameters,
        "seconds": round(writer.seconds, 3),
        "images_per_second": round(len(plan.images) / writer.seconds, 2),
        "device": str(runner.strategy.root_device),
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": versions(),
    }


def _workers(splits: Sequence[ImageSplit], batch_size: int) -> int:
    """One a core that this process may use (16 at most, each holds two batches), where images are to be decoded.

    Reading decoded ones is no work, but on a GPU two processes read while it computes.
    """
    import torch

    from modelrank.data.decoded import Shrunk

    count = sum(len(split) for split in splits)
    missing = sum(split.images.missing() if isinstance(split.images, Shrunk) else len(split) for split in splits)
    if not missing:
        return 2 if torch.accelerator.is_available() else 0
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    workers = min(cores, 16, -(-missing // batch_size))
    log.info("%d of %d images are to be decoded, by %d processes", missing, count, workers)
    return workers
