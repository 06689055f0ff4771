"""One forward pass over images: a Lightning module that only predicts, and the writer that keeps what it says."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import BasePredictionWriter
from torch import Tensor, nn
from torch.utils.data import Dataset

from modelrank import stopping
from modelrank.data.images import ImageSplit, TransformedImages
from modelrank.features.store import FeatureStore
from modelrank.hub.penultimate import FeatureExtractor
from modelrank.hub.preprocessing import Preprocessing
from modelrank.progress import Progress
from modelrank.trainers import doubled, out_of_memory
from modelrank.types import ModelRankError

FIRST = 64  # images in a batch, where nobody says how many; on CPUs more make nothing faster
USED = 0.8  # of a GPU's memory: the rest is for what the allocator cannot join
PART_SECONDS = 30.0  # at most this much work is lost when the process is killed


@contextmanager
def float32() -> Iterator[None]:
    """Products and convolutions of float32 are computed in it, and afterwards as before. GPUs else convolve in TF32,
    10 bits of mantissa for 23, by torch's default, and multiply in it where somebody said so."""
    backends: Any = torch.backends  # whose stubs know of no precision
    kinds = [backends.cuda.matmul, backends.cudnn.conv, backends.cudnn.rnn]
    kinds += [backends.mkldnn.matmul, backends.mkldnn.conv, backends.mkldnn.rnn]
    before = [kind.fp32_precision for kind in kinds]
    try:
        for kind in kinds:
            kind.fp32_precision = "ieee"
        yield
    finally:
        for kind, precision in zip(kinds, before, strict=True):
            kind.fp32_precision = precision


@dataclass(frozen=True)
class Plan:
    """A pass over images: what is read, what runs on it, and what is known of each row of features beforehand.

    task:  its `predict_step` gives (row numbers, features, logits or None).
    known: N rows each: `targets`, `image` (the index of the row's image), more where a task has more.
    """

    images: CroppedImages | TransformedImages
    task: pl.LightningModule
    known: dict[str, Tensor]
    collate: Callable[[Any], Any] | None = None


def over_images(network: nn.Module, splits: Sequence[ImageSplit], preprocessing: Preprocessing) -> Plan:
    """One row an image; the splits are those of `ImageData.shrunk`."""
    images = CroppedImages(splits, preprocessing)
    targets = torch.from_numpy(np.concatenate([split.targets for split in splits]))
    known = {"targets": targets, "image": torch.arange(len(images))}
    return Plan(images, FeatureExtraction(FeatureExtractor(network), preprocessing), known)


def batch_size_for(plan: Plan, runner: pl.Trainer) -> int:
    """FIRST, and on a GPU doubled from there until its memory is used. Cost: a forward pass for each size tried."""
    device = runner.strategy.root_device
    if device.type != "cuda" or not isinstance(plan.images, CroppedImages):
        return FIRST
    pixels, _ = plan.images[0]
    plan.task.to(device).eval()

    def peak(size: int) -> int:
        torch.cuda.reset_peak_memory_stats(device)
        batch = pixels.to(device).expand(size, *pixels.shape).contiguous()
        with torch.inference_mode(), runner.precision_plugin.forward_context():
            plan.task.predict_step((batch, torch.arange(size)), 0)
        return torch.cuda.max_memory_allocated(device)

    free, _ = torch.cuda.mem_get_info(device)
    usable = int(USED * (free + torch.cuda.memory_allocated(device)))
    try:
        return doubled(FIRST, len(plan.images), usable, peak)
    except Exception as error:
        if not out_of_memory(error):
            raise
        torch.cuda.empty_cache()
        return FIRST  # which is halved where it does not fit


class CroppedImages(Dataset[tuple[Tensor, int]]):
    """Shrunk splits in order as (pixels H x W x 3 uint8, index over all of them)."""

    def __init__(self, splits: Sequence[ImageSplit], preprocessing: Preprocessing) -> None:
        self.images, self.crop = [split.images for split in splits], preprocessing.crop
        self.rows = np.concatenate([split.rows for split in splits])
        self.split = np.repeat(np.arange(len(splits)), [len(split) for split in splits])

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        pixels = self.images[self.split[index]][int(self.rows[index])]
        return torch.from_numpy(self.crop(pixels).copy()), index


class FeatureExtraction(pl.LightningModule):
    """Batches (pixels B x H x W x 3 uint8, index B) to (index B, features B x D, logits B x S or None).

    Bytes travel to the device and are normalised there; the rest is float32. Channels last: convolutions want it
    (mobilenet_v2 at 112 px on two cores took half the CPU time), nothing minds it.
    """

    def __init__(self, extractor: FeatureExtractor, preprocessing: Preprocessing) -> None:
        super().__init__()
        self.preprocessing = preprocessing
        self.extractor = extractor.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue] torch's stub

    def predict_step(self, batch: Sequence[Any], batch_idx: int) -> tuple[Tensor, Tensor, Tensor | None]:
        pixels, index = batch
        features, logits = self.extractor(self.preprocessing.normalise(pixels))
        return index, features, logits


class FeatureWriter(BasePredictionWriter):
    """Puts each batch into rows of arrays that are allocated once, and every PART_SECONDS into a part file.

    The rows of an earlier, killed run are read from the store's part files; `missing` says which are left to do.

    tensors: `features` N x D and, with a source head, `logits` N x S, of `dtype`, on the CPU; empty before the first
             batch, since only that tells D and S.
    seconds: wall time spent on the rows that are there, earlier runs included.
    """

    def __init__(self, name: str, count: int, *, dtype: torch.dtype, store: FeatureStore, key: str) -> None:
        super().__init__("batch")
        self.name, self.dtype, self.store, self.key = name, dtype, store, key
        self.tensors: dict[str, Tensor] = {}
        self.done = torch.zeros(count, dtype=torch.bool)
        self.unsaved = torch.zeros(count, dtype=torch.bool)
        self.seconds = 0.0
        self.progress: Progress | None = None  # until the first batch; a run may be stopped before
        for part in store.parts(key):
            rows = part.tensors.pop("index")
            self._put(rows, part.tensors)
            self.seconds += part.header["seconds"]

    @property
    def missing(self) -> list[int]:
        return (~self.done).nonzero().flatten().tolist()

    def on_predict_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.part_started = time.perf_counter()
        self.progress = Progress(self.name, len(self.done), "rows", done=int(self.done.sum()))

    def write_on_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        prediction: tuple[Tensor, Tensor, Tensor | None],
        batch_indices: Sequence[int] | None,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int,
    ) -> None:
        rows, features, logits = prediction
        rows = rows.cpu()
        values = {"features": features} | ({} if logits is None else {"logits": logits})
        self._put(rows, {name: self._checked(name, value, rows) for name, value in values.items()})
        self.unsaved[rows] = True
        assert self.progress is not None
        self.progress.update(len(rows))
        stopping.again()  # some library may have swallowed it
        late = time.perf_counter() - self.part_started > PART_SECONDS
        if late and not self.done.all():  # when all is done the file follows
            self._save_part()

    def on_predict_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._close()
        self.seconds += time.perf_counter() - self.part_started

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        self._close()
        if isinstance(exception, KeyboardInterrupt) and self.unsaved.any() and not self.done.all():
            self._save_part()

    def _close(self) -> None:
        if self.progress is not None:
            self.progress.close()

    def _put(self, rows: Tensor, values: dict[str, Tensor]) -> None:
        for name, value in values.items():
            if name not in self.tensors:
                self.tensors[name] = torch.zeros(len(self.done), value.shape[1], dtype=self.dtype)
            self.tensors[name][rows] = value
        self.done[rows] = True

    def _checked(self, name: str, values: Tensor, rows: Tensor) -> Tensor:
        stored = values.to("cpu", self.dtype)
        if bad := int((~torch.isfinite(stored)).sum()):
            way_out = "its weights or its preprocessing are wrong for it"
            if torch.isfinite(values).all():
                way_out = f"they are too large for {self.dtype}: use extraction.dtype=float32"
            raise ModelRankError(
                f"{self.name}: {bad} of {stored.numel()} {name} of the rows {int(rows.min())} to {int(rows.max())} "
                f"are NaN or infinite; {way_out}"
            )
        return stored

    def _save_part(self) -> None:
        rows = self.unsaved.nonzero().flatten()
        now = time.perf_counter()
        values = {name: tensor[rows] for name, tensor in self.tensors.items()}
        self.store.save_part(self.key, values | {"index": rows}, {"seconds": now - self.part_started})
        self.seconds += now - self.part_started
        self.unsaved[:] = False
        self.part_started = now
