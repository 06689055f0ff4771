"""The feature store: what goes in comes out, and what is not exactly that is never handed out."""

import json
import logging
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from modelrank.features import store as store_module
from modelrank.features.store import FeatureStore
from modelrank.types import ModelRankError

IDENTITY = {
    "model": {"weights": "abc", "mean": [0.5, 0.5]},
    "data": "f00",
    "splits": ["train", "val"],
    "dtype": "float32",
}
TENSORS = {"features": torch.randn(40, 8), "targets": torch.arange(40)}


@pytest.fixture
def filled(tmp_path: Path) -> tuple[FeatureStore, str]:
    store = FeatureStore(tmp_path / "features")
    key = store.key(IDENTITY)
    with store.lock(key):
        store.save(key, TENSORS, {"identity": IDENTITY, "seconds": 1.5})
    return store, key


def assert_rejected(store: FeatureStore, key: str, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        assert store.load(key) is None
    assert [str(store.path(key)) in record.getMessage() for record in caplog.records] == [True]
    assert "\n" not in caplog.records[0].getMessage()


def test_round_trip(filled):
    store, key = filled
    entry = store.load(key)
    assert entry.tensors.keys() == TENSORS.keys()
    for name, tensor in TENSORS.items():
        assert entry.tensors[name].dtype == tensor.dtype
        assert torch.equal(entry.tensors[name], tensor)
    assert entry.header["identity"] == IDENTITY


def test_float16_round_trip(tmp_path):
    store = FeatureStore(tmp_path)
    key = store.key(IDENTITY)
    with store.lock(key):
        store.save(key, {"features": TENSORS["features"].half()}, {"identity": IDENTITY})
    assert torch.equal(store.load(key).tensors["features"], TENSORS["features"].half())


def test_key_depends_on_every_value_and_not_on_order():
    key = FeatureStore.key(IDENTITY)
    changes = [
        {"model": {"weights": "abd", "mean": [0.5, 0.5]}},
        {"model": {"weights": "abc", "mean": [0.5, 0.4]}},
        {"data": "f01"},
        {"splits": ["val", "train"]},
        {"splits": ["train"]},
        {"dtype": "float16"},
    ]
    assert len({key, *(FeatureStore.key(IDENTITY | change) for change in changes)}) == len(changes) + 1
    reversed_model = dict(reversed(IDENTITY["model"].items()))
    assert FeatureStore.key(dict(reversed((IDENTITY | {"model": reversed_model}).items()))) == key


def test_key_depends_on_the_format(monkeypatch):
    key = FeatureStore.key(IDENTITY)
    monkeypatch.setattr(store_module, "FORMAT", store_module.FORMAT + 1)
    assert FeatureStore.key(IDENTITY) != key


def test_absent_is_none_without_a_warning(tmp_path, caplog):
    assert FeatureStore(tmp_path / "nowhere").load("0" * 64) is None
    assert not caplog.records


@pytest.mark.parametrize("kept", [0, 5, 200, -1])
def test_truncated(filled, caplog, kept):
    store, key = filled
    path = store.path(key)
    path.write_bytes(path.read_bytes()[:kept])
    assert_rejected(store, key, caplog)


@pytest.mark.parametrize("position", ["tensors", "header"])
def test_flipped_bit(filled, caplog, position):
    store, key = filled
    content = bytearray(store.path(key).read_bytes())
    place = content.index(b"seconds") + 10 if position == "header" else len(content) - 100
    content[place] ^= 1
    store.path(key).write_bytes(content)
    assert_rejected(store, key, caplog)


def test_older_format(filled, caplog):
    store, key = filled
    header = json.dumps(store.load(key).header | {"format": store_module.FORMAT - 1})
    save_file(TENSORS, store.path(key), {"header": header, "header_checksum": store_module._sha256(header.encode())})
    assert_rejected(store, key, caplog)
    assert "format" in caplog.text


def test_file_of_another_program(filled, caplog):
    store, key = filled
    save_file(TENSORS, store.path(key))
    assert_rejected(store, key, caplog)


def test_file_under_another_name(filled, caplog):
    store, key = filled
    other = store.key(IDENTITY | {"dtype": "float16"})
    store.path(key).rename(store.path(other))
    assert_rejected(store, other, caplog)


def test_store_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("a file where the folder should be")
    store = FeatureStore(tmp_path / "file" / "features")
    with (
        pytest.raises(ModelRankError, match=r"cannot write features to .*features.*paths\.cache"),
        store.lock("0" * 64),
    ):
        pass


FULL_DISK = """
import resource, signal, sys, torch
from pathlib import Path
from modelrank.features.store import FeatureStore
from modelrank.types import ModelRankError
store = FeatureStore(Path(sys.argv[1]))
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
key = store.key({})
try:
    with store.lock(key):
        resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))
        store.save(key, {"features": torch.zeros(1000, 100)}, {"identity": {}})
except ModelRankError as error:
    print(error)
"""


def test_disk_without_room(tmp_path):
    script = [sys.executable, "-c", FULL_DISK, str(tmp_path)]
    done = subprocess.run(script, capture_output=True, text=True, timeout=60, check=True)
    assert "cannot write features" in done.stdout
    assert "make room" in done.stdout
    assert [path.suffix for path in tmp_path.iterdir()] == [".lock"]  # neither a file nor half of one


def test_left_over_temporary_files_are_removed(filled):
    store, key = filled
    mine = store.path(key).with_name(f"{key}.safetensors.4711.tmp")
    others = store.path(key).with_name("0" * 64 + ".safetensors.4711.tmp")
    mine.touch()
    others.touch()
    with store.lock(key):
        pass
    assert not mine.exists()
    assert others.exists()  # its writer may be alive: only the holder of its lock can know


def test_parts_are_kept_until_the_file_is_there(tmp_path, caplog):
    store = FeatureStore(tmp_path)
    key = store.key(IDENTITY)
    with store.lock(key):
        for start in (0, 20):
            rows = torch.arange(start, start + 20)
            store.save_part(key, {"index": rows, "features": TENSORS["features"][rows]}, {"seconds": 1.0})
        assert [part.tensors["index"][0] for part in store.parts(key)] == [0, 20]
        first = tmp_path / f"{key}.parts" / "000000.safetensors"
        first.write_bytes(first.read_bytes()[:-4])
        assert [part.tensors["index"][0] for part in store.parts(key)] == [20]
        assert str(first) in caplog.text
        store.save(key, TENSORS, {"identity": IDENTITY})
        assert list(store.parts(key)) == []


def test_header_is_readable_by_any_safetensors_reader(filled):
    store, key = filled
    with safe_open(store.path(key), framework="np") as file:
        assert json.loads(file.metadata()["header"])["identity"] == IDENTITY
