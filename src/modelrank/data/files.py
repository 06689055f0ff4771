"""The user's image files: which of a folder's files are images, which of those can be read, which are the same.

Nothing is left out without a word: `LeftOut` counts what is, by reason, for the terminal and the report.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
import PIL

from modelrank.data.copies import Places
from modelrank.data.pixels import RULES, SUFFIXES, as_rgb, fault, opened, range_used, shown
from modelrank.keys import digest, key
from modelrank.progress import progress
from modelrank.types import ModelRankError

log = logging.getLogger(__name__)

# Images of the user that are not read here: to leave them out would be to score other images than they think.
NOT_READ = frozenset(
    (".heic", ".heif", ".hif", ".jxl", ".dng", ".cr2", ".cr3", ".nef", ".arw", ".orf", ".rw2", ".raf", ".dcm", ".exr")
)
COPIES = frozenset(  # what viewers and disks leave behind
    ("__macosx", "__pycache__", "@eadir", "#recycle", "$recycle.bin", "lost+found", "system volume information")
)
HIDDEN = "hidden files and copies that programs made"
THUMBNAILS = frozenset(("thumbs", "thumbnails"))  # in the folder of a class; beside those of classes it may be a class


@dataclass
class LeftOut:
    """Files that are not used, by the reason."""

    files: dict[str, list[Path]] = field(default_factory=lambda: defaultdict(list))

    def add(self, reason: str, *paths: Path) -> None:
        if paths:
            self.files[reason] += paths

    def notes(self, root: Path) -> list[str]:
        """One sentence a reason, with how many and three examples."""
        return [
            f"left out: {len(paths)} {reason} ({', '.join(shown(path, root) for path in paths[:3])}"
            f"{', ...' if len(paths) > 3 else ''})"
            for reason, paths in self.files.items()
        ]


def inside(root: Path, name: str, source: Path) -> Path:
    """The file `name` of a list in `source`, below `root`; ModelRankError for one that leads out of it."""
    if Path(name).is_absolute() or ".." in Path(name).parts or "\0" in name:
        raise ModelRankError(f"{shown(source)} names {name!r}, which is not a path below {shown(root)}")
    return root / name


def hidden(name: str) -> bool:
    """Whether a file or folder of this name is no part of a data set: .ipynb_checkpoints, ._x.png, __MACOSX, @eaDir."""
    return name.startswith(".") or name.casefold() in COPIES


def folders(root: Path) -> list[Path]:
    """The sub-folders by name, links to folders among them, hidden ones not."""
    return [path for path in _inside(root) if path.is_dir() and not hidden(path.name)]


def beside_classes(folder: Path, left_out: LeftOut) -> None:
    """Count the hidden images beside the folders of classes; ModelRankError for a link that leads nowhere, as it may
    have been a class."""
    for path in _inside(folder):
        if hidden(path.name):
            left_out.add(HIDDEN, *(each for each in _files(path) if each.suffix.lower() in SUFFIXES))
        elif _leads_nowhere(path):
            raise ModelRankError(f"{shown(path)} is a link that leads nowhere; mend or remove it")


def images_below(folder: Path, left_out: LeftOut, *, deep: bool = True) -> list[Path]:
    """The image files in a folder and, if `deep`, in its sub-folders, links followed, by path.

    Images are the files with an image's suffix, whether or not they can be read (see `checked`), and those that begin
    like an image whatever they are called.
    """
    inside = _walk(folder, left_out) if deep else (path for path in _inside(folder) if not path.is_dir())
    found = sorted(path for path in inside if not hidden(path.name) and _is_image(path, left_out))
    twins = {path.with_suffix("") for path in found if path.suffix.lower() in SUFFIXES}
    second = [path for path in found if path.suffix.lower() in NOT_READ and path.with_suffix("") in twins]
    left_out.add("that are not read here, with a twin of the same name that is", *second)
    return [path for path in found if path not in set(second)]


def _walk(folder: Path, left_out: LeftOut) -> Iterator[Path]:
    """All that is no folder, each folder once, whatever ways lead to it: links may go in circles."""
    seen, waiting = set(), [folder]
    while waiting:
        here = waiting.pop()
        stat = here.stat()
        if (stat.st_dev, stat.st_ino) in seen:
            left_out.add("links to folders that were looked into already", here)
            continue
        seen.add((stat.st_dev, stat.st_ino))
        for path in _inside(here):
            if hidden(path.name) or (path.name.casefold() in THUMBNAILS and path.is_dir()):
                left_out.add(HIDDEN, *_files(path))
            elif path.is_dir():
                waiting.append(path)
            else:
                yield path


def _files(path: Path) -> list[Path]:
    """All files below a folder; a file is its own."""
    return [each for each in path.rglob("*") if each.is_file()] if path.is_dir() else [path]


def _leads_nowhere(path: Path) -> bool:
    return path.is_symlink() and not path.exists()


def _inside(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except OSError as error:
        raise ModelRankError(f"the folder {shown(folder)} cannot be read: {error.strerror}") from error


def _is_image(path: Path, left_out: LeftOut) -> bool:
    suffix = path.suffix.lower()
    if not path.is_file() and path.exists():  # to open a pipe is to wait for what is never written
        left_out.add("pipes, sockets or devices", path)
        return False
    if suffix in SUFFIXES or suffix in NOT_READ or _leads_nowhere(path):  # to an image, or to a folder of them
        return True
    with suppress(ModelRankError), opened(path):
        return True
    left_out.add(f"files that are no images ({suffix or 'no suffix'})", path)
    return False


@dataclass(frozen=True)
class Checked:
    """What one look at an image file told.

    content: SHA-256 of the file, "" where the disk did not give it. pixels: equal for files that show the same picture.
    fault: why it cannot be used, or "". used: see `pixels.range_used`.
    """

    content: str
    pixels: str = ""
    fault: str = ""
    used: float | None = None


def checked(paths: Sequence[Path], places: Places) -> dict[Path, Checked]:
    """The images that can be used; others are refused, or left out with a warning, as `places.on_unreadable` says.

    Each is decoded once. The verdicts are kept in the cache for as long as no path, size or time of the files changes.
    """
    found = _remembered(paths, places.store / f"checked-{_listing(paths)[:16]}.json")
    deep = [path for path in paths if found[path].used is not None]
    if deep and (most := max(found[path].used or 0 for path in deep)) < 0.5:
        raise ModelRankError(
            f"{len(deep)} images store 16 bits or a floating number, but the largest is {most:.1%} of white "
            f"({shown(deep[0], places.own)}, ...), so they would be nearly black; save them in 8 bits, or scaled up"
        )
    if dark := [path for path in deep if 0 < (found[path].used or 0) <= 1 / 16]:
        log.warning(
            "%d of the %d images of 16 bits (or floating numbers) use only 12 of them (%s, ...) and are nearly black "
            "beside the others; where they were taken in 12 bits, scale them up",
            *(len(dark), len(deep), shown(dark[0], places.own)),
        )
    bad = {path: one.fault for path, one in found.items() if one.fault}
    if bad:
        words = [f"{shown(path)} ({reason})" for path, reason in sorted(bad.items())]
        names = ", ".join(words[:10]) + (", ..." if len(bad) > 10 else "")
        if places.on_unreadable == "refuse":
            raise ModelRankError(
                f"{len(bad)} unreadable image(s): {names}; mend or remove them, or leave them out with "
                "dataset.on_unreadable=skip"
            )
        log.warning("left out %d unreadable image(s): %s", len(bad), names)
    return {path: one for path, one in found.items() if not one.fault}


def identity(found: Mapping[Path, Checked], root: Path, *rest: object) -> str:
    """Of the images by name and content, however they are read today: a copy of the folder has the same."""
    return key([RULES, [[shown(path, root), one.content] for path, one in found.items()], *rest])


def pictures(paths: Sequence[Path], found: Mapping[Path, Checked]) -> np.ndarray:
    """For `ImageSplit`: equal where two of the files show the same picture."""
    return np.array([found[path].pixels.encode() for path in paths])


def _listing(paths: Sequence[Path]) -> str:
    """Of paths, sizes, times and the reader. The time of the last change of the entry (ctime) cannot be set back."""

    def facts(path: Path) -> list[object]:
        try:
            stat = path.stat()
        except OSError:  # a broken link
            return [shown(path)]
        return [shown(path), stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns]

    return key([RULES, PIL.__version__, [facts(path) for path in paths]])


def _remembered(paths: Sequence[Path], verdict: Path) -> dict[Path, Checked]:
    with suppress(OSError, ValueError, TypeError):  # not there, or not what was written
        told = [Checked(**one) for one in json.loads(verdict.read_text())]
        # What the disk did not give (a network drive, a limit of open files) may be there now.
        return {path: one if one.content else _looked_at(path) for path, one in zip(paths, told, strict=True)}
    with ThreadPoolExecutor() as pool:  # PIL decodes without holding the interpreter's lock
        told = list(progress(pool.map(_looked_at, paths), "check images", len(paths), "images"))
        contents: dict[str, set[str]] = defaultdict(set)
        for one in told:
            contents[one.pixels].add(one.content)
        alike = [n for n, one in enumerate(told) if not one.fault and len(contents[one.pixels]) > 1]
        whole = pool.map(partial(_looked_at, draft=False), [paths[n] for n in alike])
        for n, one in zip(alike, whole, strict=True):
            told[n] = one
    with suppress(OSError):  # a read-only cache works too, the images are only looked at each time
        verdict.parent.mkdir(parents=True, exist_ok=True)
        scratch = verdict.with_suffix(f".{os.getpid()}.tmp")
        scratch.write_text(json.dumps([asdict(one) for one in told]))
        scratch.replace(verdict)
    return dict(zip(paths, told, strict=True))


def _looked_at(path: Path, draft: bool = True) -> Checked:
    """draft: let a JPEG be decoded small; pictures that differ in fine detail alone may then be alike."""
    content = ""
    try:
        content = digest(path)
        with opened(path) as image:
            size = image.size
            if draft and image.format in ("JPEG", "MPO"):
                image.draft("RGB", (64, 64))  # reads the whole file, but at a fraction of the arithmetic
            used = range_used(image)
            seen = as_rgb(image)
    except (OSError, ModelRankError) as error:
        return Checked(content, fault=fault(error.__cause__ or error))
    return Checked(content, hashlib.sha256(f"{size}".encode() + seen.tobytes()).hexdigest(), used=used)
