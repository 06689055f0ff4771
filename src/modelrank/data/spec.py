"""A data set as its YAML describes it: which copies to look for, how it is split, what is drawn, what is scored."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, get_args

import numpy as np

from modelrank.data.copies import Contents, ImageCopy, Places
from modelrank.data.images import ImageData, ImageSplit, Metric, check_metric, repeated
from modelrank.data.sampling import draw
from modelrank.keys import key
from modelrank.settings import check_number, texts
from modelrank.types import Availability, MissingAsset, ModelRankError, Task

log = logging.getLogger(__name__)


def _check_scored(scored: Sequence[str]) -> tuple[str, ...]:
    """The splits to score; ModelRankError unless they are of 'train', 'val' and 'rest'."""
    if not scored or len(set(scored)) < len(scored) or not set(scored) <= {"train", "val", "rest"}:
        raise ModelRankError(
            f"dataset.scored={list(scored)}: give some of [train, val, rest]; "
            "test images measure the accuracy that scores are to predict, so they are never scored"
        )
    return tuple(scored)


@dataclass(frozen=True)
class DatasetSpec:
    """The target of conf/dataset/*.yaml.

    copies:    ways to get the images, best first; the first that is present is read, else the first that can be
               fetched. With `root` only the user's own files are looked for, there.
    val, test: the share of the train images that becomes a split that the set does not define.
    seed:      of the splits and subsamples. Not the run's seed: measured accuracies belong to one choice of images.
    subsample: images per split, stratified (random for multi-label and regression); null or absent = all. `rest`: how
               many of the train images that are not drawn (absent = none).
    scored:    the splits that the scorers see: some of [train, val, rest]. Images of `rest` are only scored, for
               scorers that need more images than a network is fine-tuned on.
    mirror:    whether a mirrored image has the same target, so that training may flip it.
    classes:   the names expected, in the order of the targets; None = as the copy has them.
    """

    name: str
    task: Task
    metric: Metric
    copies: Mapping[str, ImageCopy]
    licence: str
    classes: Sequence[str] | None = None
    root: str | None = None
    val: float = 0.2
    test: float = 0.2
    seed: int = 0
    subsample: Mapping[str, int | None] | None = field(default_factory=dict)
    scored: Sequence[str] = ("train", "val")
    on_unreadable: Literal["refuse", "skip"] = "refuse"
    mirror: bool = True

    def __post_init__(self) -> None:
        for name in ("classes", "scored"):
            object.__setattr__(self, name, texts(getattr(self, name)))
        if isinstance(self.name, int):  # a year, say
            object.__setattr__(self, "name", str(self.name))
        if not isinstance(self.name, str) or self.name in ("", "..") or Path(self.name).name != self.name:
            raise ModelRankError(f"dataset.name={self.name!r} names a folder of files too: give text without /")
        _check_scored(self.scored)
        check_number("dataset.seed", self.seed, least=0, whole=True)
        for name in ("val", "test"):
            check_number(f"dataset.{name}", getattr(self, name), above=0, most=1)
        if self.val + self.test >= 1:
            raise ModelRankError(
                f"dataset.val={self.val}, dataset.test={self.test}: give shares that leave a train set"
            )
        if not isinstance(self.subsample, Mapping | None):
            raise ModelRankError(
                f"dataset.subsample={self.subsample}: say of which split: dataset.subsample.train={self.subsample}"
            )
        for split, size in (self.subsample or {}).items():
            fits = size is None or (isinstance(size, int) and size >= 2)
            if split not in ("train", "val", "test", "rest") or not fits:
                raise ModelRankError(
                    f"dataset.subsample.{split}={size}: give train, val, test, rest: 2 or more, or null (all)"
                )
        if self.task not in get_args(Task):
            raise ModelRankError(f"dataset.task={self.task}: give one of {', '.join(get_args(Task))}")
        check_metric(self.task, self.metric)
        if self.on_unreadable not in ("refuse", "skip"):
            raise ModelRankError(f"dataset.on_unreadable={self.on_unreadable}: give refuse or skip")

    def availability(self, cache: Path) -> Availability:
        """Whether the images are here, can be fetched, or must be put somewhere; starts no download."""
        places, copies = self._places(cache), self._copies()
        try:
            for copy in copies:
                if path := copy.present(places):
                    return Availability("images", self.name, "present", str(path))
        except ModelRankError as error:  # a package file whose bytes are not the pinned ones
            return Availability("images", self.name, "missing", str(error))
        if origins := [origin for copy in copies if (origin := copy.origin(places))]:
            return Availability("images", self.name, "fetchable", ", or else ".join(origins))
        return Availability("images", self.name, "missing", _ways(copies, places))

    def load(self, cache: Path) -> ImageData:
        """Find or fetch the images, then split and subsample; image files are opened only when they are asked for.

        MissingAsset when no copy can be had, ModelRankError when the copy is not usable (which file, what to do).
        """
        contents = self._contents(self._places(cache))
        classes = tuple(self.classes or contents.classes)
        if contents.classes != classes:
            raise ModelRankError(
                f"{self.name}: classes {contents.classes} in {contents.source}, but {classes} in its YAML"
            )
        if (found := _kind(contents.splits["train"].targets)) != self.task:
            raise ModelRankError(f"{self.name}: dataset.task={self.task}, but {contents.source} is for {found}")
        if self.task not in ("regression", "detection") and len(classes) < 2:
            raise ModelRankError(f"{self.name}: classes {list(classes)} in {contents.source}; at least two are needed")
        complete = self._complete(contents.splits)
        splits = {name: self._subsample(name, split) for name, split in complete.items()}
        for name, split in splits.items():
            if not len(split):
                own = name in contents.splits
                cut = "" if own else "; it is cut from train, which keeps one image a class: add images, or this split"
                raise ModelRankError(f"{self.name}: no image for the split {name!r} in {contents.source}{cut}")
            if self.task == "detection" and not any(len(boxes.labels) for boxes in split.targets):
                raise ModelRankError(
                    f"{self.name}: no object in the {len(split)} {name} images of {contents.source}; put their "
                    "annotations where the data set's YAML says, or leave a split without annotations out"
                )
        notes = (*contents.notes, *repeated(contents.splits), *self._not_judged(splits, classes))
        for note in notes:
            log.warning("%s: %s", self.name, note)
        learnt = fingerprint(contents.identity, splits)  # what a network meets; `rest` is none of it
        splits |= self._rest(complete["train"], splits["train"])
        return ImageData(
            name=self.name,
            task=self.task,
            classes=classes,
            metric=self.metric,
            splits=splits,
            source=contents.source,
            licence=self.licence,
            fingerprint=learnt,
            scored=tuple(name for name in _check_scored(self.scored) if name in splits),
            split_rule=self._rule(contents.splits, splits),
            mirror=self.mirror,
            notes=notes,
        )

    def _places(self, cache: Path) -> Places:
        store = Path(cache).expanduser() / "datasets" / self.name
        own = Path(str(self.root)).expanduser() if self.root else store
        return Places(own, store, Path(cache).expanduser(), self.on_unreadable)

    def _copies(self) -> list[ImageCopy]:
        return [copy for copy in self.copies.values() if copy.user_files or not self.root]

    def _contents(self, places: Places) -> Contents:
        copies = self._copies()
        for copy in copies:
            if copy.present(places):
                return copy.read(places)
        reasons = []
        for copy in copies:
            if copy.origin(places):
                try:
                    copy.fetch(places)
                except MissingAsset as error:
                    log.warning("%s: %s", self.name, error)
                    reasons.append(str(error))
                else:
                    return copy.read(places)
        wanted = _ways(copies, places)
        raise MissingAsset(f"no images for the data set {self.name}: {wanted}{''.join(f' ({r})' for r in reasons)}")

    def _strata(self, split: ImageSplit) -> np.ndarray | None:
        return split.targets if self.task == "classification" else None

    def _complete(self, splits: Mapping[str, ImageSplit]) -> dict[str, ImageSplit]:
        """train, val and test, where a missing one is cut from train: whole groups if there are groups, stratified
        otherwise, copies of a picture together, and never the last picture of a class."""
        cut, whole = dict(splits), splits["train"]
        for name, share in (("test", self.test), ("val", self.val)):
            if name in splits:
                continue
            train, purpose = cut["train"], f"split {name}"
            if train.groups is not None and whole.groups is not None:
                groups = np.unique(train.groups)
                size = round(share * len(np.unique(whole.groups)))
                chosen = draw(None, size, self.seed, purpose, count=len(groups))
                mask = np.isin(train.groups, groups[chosen])
            else:
                first = train.firsts()
                once = np.unique(first)
                size, strata = round(share * len(np.unique(whole.firsts()))), self._strata(train.take(once))
                chosen = draw(strata, size, self.seed, purpose, count=len(once), keep=1)
                mask = np.isin(first, once[chosen])
            cut[name], cut["train"] = train.take(np.flatnonzero(mask)), train.take(np.flatnonzero(~mask))
        return {name: cut[name] for name in ("train", "val", "test")}

    def _not_judged(self, splits: Mapping[str, ImageSplit], classes: Sequence[str]) -> list[str]:
        """Sentences on classes of which a split has no image, or no object."""
        notes = []
        thing = {"classification": "image", "detection": "object"}.get(self.task)
        for name in ("train", "val", "test") if thing else ():
            targets = splits[name].targets
            labels = np.concatenate([boxes.labels for boxes in targets]) if self.task == "detection" else targets
            counts = np.bincount(labels, minlength=len(classes))
            if none := [kind for kind, count in zip(classes, counts, strict=True) if not count]:
                what = "learnt" if name == "train" else "judged"
                notes.append(
                    f"{len(none)} of {len(classes)} classes have no {name} {thing} and are not {what} there: "
                    f"{', '.join(none[:3])}{', ...' if len(none) > 3 else ''}"
                )
        return notes

    def _subsample(self, name: str, split: ImageSplit) -> ImageSplit:
        size = (self.subsample or {}).get(name)
        if size is None or size >= len(split):
            return split
        return split.take(draw(self._strata(split), size, self.seed, f"subsample {name}", count=len(split)))

    def _rest(self, whole: ImageSplit, drawn: ImageSplit) -> dict[str, ImageSplit]:
        """Train images beyond those that are drawn, where such are scored and there are any."""
        size = (self.subsample or {}).get("rest")
        left = np.flatnonzero(~np.isin(whole.rows, drawn.rows))
        if "rest" not in self.scored or size is None or not len(left):
            return {}
        return {"rest": self._subsample("rest", whole.take(left))}

    def _rule(self, given: Mapping[str, ImageSplit], splits: Mapping[str, ImageSplit]) -> str:
        cut = [
            f"{name} = {share:.0%} of train"
            for name, share in (("val", self.val), ("test", self.test))
            if name not in given
        ]
        how = (
            "by group"
            if given["train"].groups is not None
            else "stratified"
            if self.task == "classification"
            else "random"
        )
        words = [f"the set's own {', '.join(given)}"] + [f"{', '.join(cut)} ({how}, seed {self.seed})"] * bool(cut)
        sizes = ", ".join(f"{name} {len(split)}{_objects(split)}" for name, split in splits.items())
        return f"{'; '.join(words)}; used: {sizes}; scored: {' + '.join(n for n in self.scored if n in splits)}"


def _ways(copies: Sequence[ImageCopy], places: Places) -> str:
    """What the user can do to have the images."""
    if copies and places.own != places.store and not places.own.is_dir():
        what = ": it is a file" if places.own.exists() else ""
        return f"there is no folder {places.own}, which dataset.root names{what}"
    if not copies:
        return f"dataset.root={places.own} is for files of your own, but this set is made from packages; leave it out"
    return "; or ".join(copy.wanted(places) for copy in copies)


def _kind(targets: np.ndarray) -> str:
    """The task that targets are for."""
    if targets.dtype == object:
        return "detection"
    if targets.dtype.kind == "f":
        return "regression"
    return "classification" if targets.ndim == 1 else "multilabel"


def _objects(split: ImageSplit) -> str:
    return f" ({sum(len(boxes.labels) for boxes in split.targets)} objects)" if split.targets.dtype == object else ""


def fingerprint(identity: str, splits: Mapping[str, ImageSplit]) -> str:
    """SHA-256 of the copy's content identity and of the ids and targets of each split, in order.

    The chosen ids stand for the split rule, the subsample and the seed: two ways to the same images share features.
    """
    chosen = {name: split.digest() for name, split in splits.items()}
    return key({"identity": identity, **chosen})
