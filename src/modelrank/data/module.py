"""The data loaders of one target data set, for fine-tuning: train, val and test."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import Any

import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader, Dataset, default_collate

from modelrank.data.boxes import detection_batch
from modelrank.data.images import ImageData, Transform, TransformedImages
from modelrank.data.loader import loader
from modelrank.ranks import place
from modelrank.types import ModelRankError


class ImageDataModule(pl.LightningDataModule):
    """Batches are (images B x 3 x H x W, targets B | B x C | B x K, index B); detection: `boxes.detection_batch`.

    train:   the batches of `steps` (see `StepBatches`) of `train_splits`, with `train_transform`; ('train', 'val') for
             a retraining.
    seed:    of the order of the training images and of their random transforms.

    Under DDP each rank has its share of each training batch, and each image to measure on is seen by one rank; the
    trainer must leave the loaders as they are (`use_distributed_sampler=False`).
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
    ) -> None:
        super().__init__()
        if "test" in train_splits:
            raise ValueError("train_splits: test images are never trained on")
        self.data, self.train_transform, self.eval_transform = data, train_transform, eval_transform
        self.batch_size, self.workers, self.train_splits, self.seed = batch_size, workers, tuple(train_splits), seed
        self.steps = range(0)

    def train_dataloader(self) -> DataLoader:
        images = TransformedImages([self.data.splits[name] for name in self.train_splits], self.train_transform)
        return loader(
            StepBatches(images, self.batch_size, self.seed, self._collate),
            batch_size=None,  # an item is a batch
            sampler=self.steps,
            workers=self.workers,
            seed=self.seed,
        )

    def val_dataloader(self) -> DataLoader:
        return self._loader(("val",), self.eval_transform)

    def test_dataloader(self) -> DataLoader:
        return self._loader(("test",), self.eval_transform)

    @property
    def _collate(self) -> Any:
        return detection_batch if self.data.task == "detection" else default_collate

    def _loader(self, splits: Sequence[str], transform: Transform) -> DataLoader:
        images = TransformedImages([self.data.splits[name] for name in splits], transform)
        rank, ranks = place()
        return loader(
            images,
            # Each image on one rank, once. Lightning's sampler would fill the last round up with images seen already.
            sampler=range(rank, len(images), ranks),
            batch_size=self.batch_size,
            collate_fn=self._collate,
            workers=self.workers,
            persistent_workers=self.workers > 0,
            seed=self.seed,
        )


class StepBatches(Dataset[Any]):
    """Item s is the batch of training step s, a function of `seed` and s alone: whoever starts at any step, with any
    number of workers, sees the same images in the same crops.

    The images are dealt in a new order each epoch; what is left over of an epoch is left out (a batch of one image
    breaks batch normalisation). Under DDP each rank gets its share of the batch.
    """

    def __init__(self, images: TransformedImages, batch_size: int, seed: int, collate: Any) -> None:
        self.images, self.batch_size, self.seed, self.collate = images, min(batch_size, len(images)), seed, collate

    def __getitem__(self, step: int) -> Any:
        epoch, number = divmod(step, len(self.images) // self.batch_size)
        shuffled = torch.Generator().manual_seed(seed_of_step(self.seed, epoch, "order"))
        order = torch.randperm(len(self.images), generator=shuffled)
        batch = order[number * self.batch_size : (number + 1) * self.batch_size].tolist()
        rank, ranks = place()
        if len(batch) % ranks:  # the mean of the ranks' gradients would not be that of the batch
            raise ModelRankError(
                f"{len(batch)} images a step cannot be shared equally by {ranks} processes; "
                "give another protocol.batch_size or trainer.devices"
            )
        batch = batch[rank::ranks]
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed_of_step(self.seed, step, "images", rank))
            return self.collate([self.images[index] for index in batch])


def seed_of_step(seed: int, step: int, purpose: str, rank: int = 0) -> int:
    """A seed for one use of random numbers in one step, unlike those of other steps, uses, seeds and processes."""
    return zlib.crc32(f"{seed} {step} {purpose}{f' {rank}' if rank else ''}".encode())
