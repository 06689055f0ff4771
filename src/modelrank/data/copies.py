"""What the ways to get a data set's images have in common: a folder, torchvision's files, a registry package."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from modelrank.data.images import ImageSplit


@dataclass(frozen=True)
class Places:
    """Where a data set may lie on this machine, and what to do with files that are no images.

    own:   the user's own copy (`dataset.root`, or cache/datasets/NAME).
    store: cache/datasets/NAME, where converted packages are kept.
    cache: the root of the cache (packages are at cache/packages).
    """

    own: Path
    store: Path
    cache: Path
    on_unreadable: Literal["refuse", "skip"] = "refuse"


@dataclass(frozen=True)
class Contents:
    """A data set as its copy has it, before any drawing: 'train', and 'val' / 'test' where the set defines them.

    source:   the copy in words.
    identity: identity of the copy's content (SHA-256 of a package, or of the user's files and their names).
    notes:    what was left out and why, and what looks wrong (the same picture in train and test), in words.
    """

    splits: Mapping[str, ImageSplit]
    classes: tuple[str, ...]
    source: str
    identity: str
    notes: tuple[str, ...] = ()


class ImageCopy(Protocol):
    """One way to get the images. `dataset.root` replaces only copies that are the user's own (`user_files`)."""

    @property
    def user_files(self) -> bool: ...

    def present(self, places: Places) -> Path | None:
        """The path of the copy on this machine, or None; cheap, reads no image."""
        ...

    def origin(self, places: Places) -> str | None:
        """Where `fetch` gets it from, in words; None for a copy that only the user can provide."""
        ...

    def wanted(self, places: Places) -> str:
        """What the user should put where."""
        ...

    def fetch(self, places: Places) -> None:
        """Make the copy present; MissingAsset when that fails."""
        ...

    def read(self, places: Places) -> Contents: ...
