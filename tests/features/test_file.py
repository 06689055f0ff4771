import json
import os
import sys

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

import modelrank
from modelrank import progress
from modelrank.features.file import FeatureFile
from modelrank.features.store import FeatureStore
from modelrank.scorers import linalg

RNG = np.random.default_rng(0)
LABELS = RNG.permutation(np.arange(3000) % 7)
X = (RNG.normal(size=(3000, 40)) @ RNG.normal(size=(40, 40)) + RNG.normal(size=(7, 40))[LABELS] * 3).astype(np.float16)
STREAMED = ("disco", "logme", "hscore", "hscore_shrinkage", "sfda", "gbc", "transrate", "transrate_normalised", "ncc")


@pytest.fixture(params=["npy", "safetensors"])
def path(request, tmp_path):
    file = tmp_path / f"features.{request.param}"
    if request.param == "npy":
        np.save(file, X)
    else:
        save_file({"other": torch.ones(5), "features": torch.from_numpy(X)}, file)
    return file


def test_rows_are_those_of_the_array(path):
    file, whole = FeatureFile(path), torch.from_numpy(X)
    assert (len(file), file.shape, file.dtype) == (3000, (3000, 40), torch.float16)
    for rows in (slice(None), slice(5, 9), slice(2990, 4000), slice(7, 7), torch.tensor([3, 4, 5, 2999, 0, 1, 1])):
        assert torch.equal(file[rows], whole[rows])


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.float64])
def test_other_floating_types(tmp_path, dtype):
    x = torch.from_numpy(X).to(dtype)
    save_file({"features": x}, tmp_path / "x.safetensors")
    assert torch.equal(FeatureFile(tmp_path / "x.safetensors")[10:20], x[10:20])


@pytest.mark.parametrize("name", STREAMED)
def test_a_file_has_the_value_of_the_array(path, name, monkeypatch):
    whole = modelrank.score(name, X, LABELS).value
    asked = []
    read = FeatureFile.__getitem__
    monkeypatch.setattr(FeatureFile, "__getitem__", lambda file, rows: asked.append(rows) or read(file, rows))
    for module in [module for name, module in sys.modules.items() if name.startswith("modelrank.scorers.")]:
        if hasattr(module, "CHUNK_ELEMENTS"):
            monkeypatch.setattr(module, "CHUNK_ELEMENTS", 4096)
    assert modelrank.score(name, path, LABELS).value == pytest.approx(whole, rel=1e-4)
    held = [len(rows) if isinstance(rows, torch.Tensor) else rows.stop - rows.start for rows in asked]
    assert max(held) < 3000


@pytest.mark.parametrize("name", ["knn", "rankme", "linear_probe"])
def test_a_scorer_that_does_not_stream_reads_it_whole(path, name):
    assert modelrank.score(name, path, LABELS).value == pytest.approx(modelrank.score(name, X, LABELS).value)


def test_fewer_rows_than_columns(tmp_path):
    np.save(tmp_path / "x.npy", X[:30])
    for name in STREAMED[:2]:
        found = modelrank.score(name, tmp_path / "x.npy", LABELS[:30])
        assert found.value == modelrank.score(name, X[:30], LABELS[:30]).value


def test_a_file_of_the_store(tmp_path):
    store = FeatureStore(tmp_path)
    key = store.key({"model": "a"})
    store.save(
        key, {"features": torch.from_numpy(X), "targets": torch.from_numpy(LABELS)}, {"identity": {"model": "a"}}
    )
    ranking = modelrank.rank({"a": store.path(key), "b": X[::-1]}, LABELS, "ncc")
    assert ranking.best == "a"


def test_a_long_pass_shows_its_progress(path, capsys, monkeypatch):
    monkeypatch.setattr(progress, "EVERY", 0.0)
    list(linalg.chunks(FeatureFile(path)))
    assert "reading features: " in capsys.readouterr().err


def test_what_is_no_matrix_of_floats_is_said(tmp_path):
    np.save(tmp_path / "ints.npy", LABELS)
    np.save(tmp_path / "columns.npy", np.asfortranarray(X))
    np.save(tmp_path / "flat.npy", X[0])
    save_file({"weights": torch.ones(3, 3), "features": torch.ones(3, 3).int()}, tmp_path / "ints.safetensors")
    (tmp_path / "text.npy").write_text("no numbers")
    (tmp_path / "text.safetensors").write_text("no numbers at all")
    for name, said in [
        ("ints.npy", "int64"),
        ("columns.npy", "column by column"),
        ("flat.npy", "must be a matrix"),
        ("ints.safetensors", "I32"),
        ("text.npy", "no readable"),
        ("text.safetensors", "neither"),
    ]:
        with pytest.raises(ValueError, match=f"{name}.*{said}"):
            FeatureFile(tmp_path / name)
    with pytest.raises(ValueError, match=r"no tensor 'logits'; it holds features, weights"):
        FeatureFile(tmp_path / "ints.safetensors", "logits")


def test_a_file_that_is_cut_off_is_refused(tmp_path):
    save_file({"features": torch.from_numpy(X)}, tmp_path / "x.safetensors")
    file = FeatureFile(tmp_path / "x.safetensors")
    os.truncate(tmp_path / "x.safetensors", 100_000)
    with pytest.raises(ValueError, match="cut off"):
        FeatureFile(tmp_path / "x.safetensors")
    with pytest.raises(ValueError, match="became shorter"):
        file[:]


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ({"shape": [2, 3], "data_offsets": [0, 24]}, "does not say what features is"),
        ({"dtype": "F32", "shape": [2, 3], "data_offsets": ["0", "24"]}, "does not say"),
        ({"dtype": "F32", "shape": 6, "data_offsets": [0, 24]}, "does not say"),
        ({"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 20]}, "not in the bytes 0 to 20"),
        ({"dtype": "F32", "shape": [-2, -3], "data_offsets": [0, 24]}, "not in the bytes"),
        ({"dtype": "F32", "shape": [2, 3], "data_offsets": [-8, 16]}, "not in the bytes -8 to 16"),
        ("F32", "does not say"),
    ],
)
def test_a_header_that_contradicts_itself_is_refused(tmp_path, entry, said):
    header = json.dumps({"features": entry}).encode()
    path = tmp_path / "x.safetensors"
    path.write_bytes(len(header).to_bytes(8, "little") + header + bytes(24))
    with pytest.raises(ValueError, match=f"x.safetensors is damaged.*{said}"):
        FeatureFile(path)


def test_a_header_that_is_no_table_is_refused(tmp_path):
    (tmp_path / "x.safetensors").write_bytes((2).to_bytes(8, "little") + b"[]")
    with pytest.raises(ValueError, match=r"x.safetensors is neither .* or is damaged"):
        FeatureFile(tmp_path / "x.safetensors")
