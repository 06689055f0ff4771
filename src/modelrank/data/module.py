"""The data loaders of one target data set, for extraction (predict) and for fine-tuning (train, val, test)."""

from __future__ import annotations

from collections.abc import Sequence

import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader

from modelrank.data.boxes import detection_batch
from modelrank.data.images import ImageData, Transform, TransformedImages
from modelrank.types import ModelRankError


def check_scored(scored: Sequence[str]) -> tuple[str, ...]:
    """The splits to score; ModelRankError unless they are 'train', 'val' or both."""
    if not scored or len(set(scored)) < len(scored) or not set(scored) <= {"train", "val"}:
        raise ModelRankError(
            f"dataset.scored={list(scored)}: give [train], [val] or [train, val]; "
            "test images measure the accuracy that scores are to predict, so they are never scored"
        )
    return tuple(scored)


class ImageDataModule(pl.LightningDataModule):
    """Batches are (images B x 3 x H x W, targets B | B x C | B x K, index B); detection: `boxes.detection_batch`.

    train:   `train_splits` shuffled, with `train_transform`; ('train', 'val') for the final retraining. A last
             batch that is not full is left out (a batch of one image breaks batch normalisation).
    predict: the scored splits (`data.scored` unless given) one after the other, never shuffled; the index is the
             row of the image in that sequence.
    seed:    of the shuffling and of the loader's workers.
    """

    def __init__(
        self,
        data: ImageData,
        train_transform: Transform,
        eval_transform: Transform,
        batch_size: int = 64,
        workers: int = 0,
        train_splits: Sequence[str] = ("train",),
        seed: int = 0,
        scored: Sequence[str] | None = None,
    ) -> None:
        super().__init__()
        if "test" in train_splits:
            raise ValueError("train_splits: test images are never trained on")
        self.data, self.train_transform, self.eval_transform = data, train_transform, eval_transform
        self.batch_size, self.workers, self.train_splits, self.seed = batch_size, workers, tuple(train_splits), seed
        self.scored = check_scored(data.scored if scored is None else scored)

    def train_dataloader(self) -> DataLoader:
        return self._loader(self.train_splits, self.train_transform, shuffle=True)

    def val_dataloader(self) -> DataLoader:
        return self._loader(("val",), self.eval_transform)

    def test_dataloader(self) -> DataLoader:
        return self._loader(("test",), self.eval_transform)

    def predict_dataloader(self) -> DataLoader:
        return self._loader(self.scored, self.eval_transform)

    def _loader(self, splits: Sequence[str], transform: Transform, shuffle: bool = False) -> DataLoader:
        images = TransformedImages([self.data.splits[name] for name in splits], transform)
        return DataLoader(
            images,
            batch_size=self.batch_size,
            shuffle=shuffle,
            drop_last=shuffle and len(images) > self.batch_size,
            collate_fn=detection_batch if self.data.task == "detection" else None,
            num_workers=self.workers,
            persistent_workers=self.workers > 0,
            pin_memory=torch.cuda.is_available(),
            generator=torch.Generator().manual_seed(self.seed),  # its own: the global one stays untouched
        )
