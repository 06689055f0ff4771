"""Features on disk, found by what made them: one safetensors file per (model, images, settings), never half-written.

A file is `<key>.safetensors`; its key is the SHA-256 of the JSON identity of its content. While a file is being made,
finished rows wait in `<key>.parts/`, so that an extraction which was killed goes on where it stopped.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock, Timeout
from safetensors import SafetensorError, safe_open

from modelrank import keys
from modelrank.types import ModelRankError

if TYPE_CHECKING:
    from torch import Tensor

FORMAT = 1  # raise it when the same identity would give other tensors: files of another format are made again

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Entry:
    """Tensors by name and the header that was stored with them."""

    tensors: dict[str, Tensor]
    header: dict[str, Any]


class DamagedFile(Exception):
    """A file that is not what was written: cut off, changed, of another format, or under another entry's name."""


class FeatureStore:
    """A folder of feature files that several processes may share.

    Readers take no lock: a file appears by a rename, complete. Whoever makes a file holds `lock(key)`.
    """

    def __init__(self, root: Path) -> None:
        self.root = Path(root)

    @staticmethod
    def key(identity: Mapping[str, Any]) -> str:
        """64 hex digits that depend on every value of the identity and not on the order of its keys."""
        return keys.key({**identity, "format": FORMAT})

    def path(self, key: str) -> Path:
        return self.root / f"{key}.safetensors"

    def load(self, key: str, *, warn: bool = True) -> Entry | None:
        """The entry, every byte checked; None when it is absent or, with one line of warning, damaged.

        Cost: one pass of SHA-256 over the file (about 1 GB/s), which also reads it from disk.
        """
        try:
            entry = _read(self.path(key))
            if self.key(entry.header["identity"]) != key:
                raise DamagedFile("it holds the features of something else")
            return entry
        except FileNotFoundError:
            return None
        except DamagedFile as error:
            if warn:
                log.warning("%s is damaged (%s); its features are extracted again", self.path(key), error)
            return None

    def save(self, key: str, tensors: Mapping[str, Tensor], header: Mapping[str, Any]) -> None:
        """Write the entry and drop its parts. `header` needs the `identity` of the key. Hold `lock(key)`."""
        with self._writable():
            _write(self.path(key), tensors, header)
            shutil.rmtree(self._parts(key), ignore_errors=True)

    def save_part(self, key: str, tensors: Mapping[str, Tensor], header: Mapping[str, Any]) -> None:
        """Keep some rows of an unfinished entry. Hold `lock(key)`."""
        with self._writable():
            self._parts(key).mkdir(exist_ok=True)
            _write(self._parts(key) / f"{len(list(self._parts(key).iterdir())):06d}.safetensors", tensors, header)

    def parts(self, key: str) -> Iterator[Entry]:
        """The kept rows of an unfinished entry, part by part; damaged parts are left out (and extracted again)."""
        for path in sorted(self._parts(key).glob("*.safetensors")):
            try:
                yield _read(path)
            except DamagedFile as error:
                log.warning("%s is damaged (%s); its rows are extracted again", path, error)

    @contextmanager
    def lock(self, key: str) -> Iterator[None]:
        """Only one process at a time makes an entry; the others wait here, and say so after a second.

        The system frees the lock of a process that dies. What it was writing is removed: under the lock nobody else
        writes this entry, so every temporary file of it is left over.
        """
        with self._writable():
            self.root.mkdir(parents=True, exist_ok=True)
            lock = FileLock(self.root / f"{key}.lock")
            try:
                lock.acquire(timeout=1)
            except Timeout:
                log.info("another process is extracting %s; waiting for it", self.path(key).name)
                lock.acquire()
        try:
            for leftover in [*self.root.glob(f"{key}.*.tmp"), *self._parts(key).glob("*.tmp")]:
                leftover.unlink(missing_ok=True)
            yield
        finally:
            lock.release()

    def _parts(self, key: str) -> Path:
        return self.root / f"{key}.parts"

    @contextmanager
    def _writable(self) -> Iterator[None]:
        try:
            yield
        except (OSError, SafetensorError) as error:  # the latter wraps the disk's errors while tensors are written
            raise ModelRankError(
                f"cannot write features to {self.root}: {error}; make room there, or set paths.cache=FOLDER "
                "(or MODELRANK_CACHE) to a folder that you may write to"
            ) from error


def _canonical(value: Mapping[str, Any]) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _write(path: Path, tensors: Mapping[str, Tensor], header: Mapping[str, Any]) -> None:
    from safetensors.torch import save_file

    text = _canonical({**header, "format": FORMAT, "checksum": keys.checksum(tensors)}).decode()
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        save_file(dict(tensors), temporary, {"header": text, "header_checksum": _sha256(text.encode())})
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())  # a rename may reach the disk before the bytes do; then a power cut leaves zeros
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def _header(path: Path) -> dict[str, Any]:
    if not path.exists():  # safe_open raises its own kind of error for a folder or a bad path
        raise FileNotFoundError(path)
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
    except (SafetensorError, OSError) as error:
        raise DamagedFile(str(error)) from error
    if _sha256(metadata.get("header", "").encode()) != metadata.get("header_checksum"):
        raise DamagedFile("the header does not match its checksum")
    header = json.loads(metadata["header"])
    if header["format"] != FORMAT:
        raise DamagedFile(f"it has format {header['format']}, this version writes format {FORMAT}")
    return header


def _read(path: Path) -> Entry:
    from safetensors.torch import load_file

    header = _header(path)
    try:
        tensors = load_file(path)
    except SafetensorError as error:
        raise DamagedFile(str(error)) from error
    if keys.checksum(tensors) != header["checksum"]:
        raise DamagedFile("the tensors do not match their checksum")
    return Entry(tensors, header)
