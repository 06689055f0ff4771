"""A real text set: docstrings of NumPy, SciPy and scikit-learn, which package wrote them; three vectorisers."""

import importlib
import inspect
import pickle
import runpy
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from hydra.core.global_hydra import GlobalHydra
from safetensors.torch import save_file
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import HashingVectorizer, TfidfVectorizer

from modelrank.data.target import Target, TargetFile
from modelrank.features.from_files import hub, refuse_orders
from modelrank.types import ModelRankError

ROOT = Path(__file__).parents[2]
MODULES = {
    "numpy": ["numpy", "numpy.linalg", "numpy.fft"],
    "scipy": ["scipy.stats", "scipy.linalg", "scipy.special"],
    "sklearn": ["sklearn.metrics", "sklearn.linear_model", "sklearn.decomposition"],
}


def paragraphs() -> list[tuple[str, str]]:
    """(text, package): the first 60 words of a docstring without the names that give the package away."""
    found = []
    for package, modules in MODULES.items():
        own = []
        for module in map(importlib.import_module, modules):
            names = sorted(name for name in dir(module) if not name.startswith("_"))
            texts = [inspect.getdoc(getattr(module, name)) for name in names if callable(getattr(module, name))]
            own += [" ".join(text.split()[:60]) for text in texts if text and len(text.split()) > 30]
        found += [(text, package) for text in list(dict.fromkeys(own))[:120]]
    return found


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    folder = tmp_path_factory.mktemp("texts")
    texts, packages = zip(*paragraphs(), strict=True)
    ids = np.array([f"t{i}" for i in range(len(texts))])
    words = TruncatedSVD(24, random_state=0).fit_transform(TfidfVectorizer().fit_transform(texts))
    pairs = TruncatedSVD(32, random_state=0).fit_transform(
        TfidfVectorizer(analyzer="char", ngram_range=(2, 3)).fit_transform(texts)
    )
    hashed = HashingVectorizer(n_features=16, norm="l2").transform(texts).toarray()
    mixed = np.random.default_rng(0).permutation(len(ids))
    np.savez(folder / "words.npz", features=words[mixed].astype(np.float32), ids=ids[mixed])
    save_file({"features": torch.from_numpy(pairs.astype(np.float32))}, folder / "pairs.safetensors")
    np.save(folder / "hashed.npy", hashed)
    pd.DataFrame({"id": ids, "target": packages}).to_csv(folder / "targets.csv", index=False)
    return folder


@pytest.fixture
def run(tmp_path, monkeypatch):
    def call(*overrides):
        kept = [] if any(one.startswith("dataset=") for one in overrides) else ["dataset=targets"]
        GlobalHydra.instance().clear()
        out = tmp_path / f"run{len(list(tmp_path.iterdir()))}"
        given = ["hub=files", *kept, "logger=none", *overrides, f"hydra.run.dir={out}", f"paths.cache={tmp_path}/cache"]
        monkeypatch.setattr(sys, "argv", ["run.py", *given])
        runpy.run_path(str(ROOT / "run.py"), run_name="__main__")
        return out

    return call


def test_three_encoders_of_texts_are_ranked_from_the_command_line(run, saved, tmp_path):
    table = tmp_path / "mine.csv"
    accuracy = {"words": 0.9, "pairs": 0.8, "hashed": 0.5}
    rows = [{"hub": "files", "dataset": "texts", "model": m, "protocol": "full"} for m in accuracy]
    pd.DataFrame(rows).assign(metric="accuracy", accuracy=accuracy.values(), source="mine").to_csv(table, index=False)
    truth = ["truth=published", f"truth.path={table}"]
    out = run(f"hub.folder={saved}", "dataset.name=texts", "scorer=[disco,logme,linear_probe]", *truth)
    scores = pd.read_csv(out / "scores.csv")
    assert set(scores.status) == {"ok"}
    by_model = scores.query("scorer == 'linear_probe'").set_index("model").score
    assert by_model["words"] > 0.8, "words in another order than the targets are matched by their ids"
    assert by_model["words"] > by_model["hashed"] > 1 / 3
    ranking = pd.read_csv(out / "ranking.csv")
    assert set(ranking.n_models) == {3}
    assert "360 samples scored" in (out / "report.html").read_text()


def test_what_does_not_fit_is_said_and_the_others_are_ranked(run, saved, tmp_path):
    folder = tmp_path / "odd"
    folder.mkdir()
    for file in saved.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    np.save(folder / "short.npy", np.zeros((7, 3)))
    np.savez(folder / "lacking.npz", features=np.zeros((2, 3)), ids=["t0", "x"])
    np.savez(folder / "other.npz", vectors=np.zeros((360, 3)))
    np.savez(folder / "uneven.npz", features=np.zeros((360, 3)), logits=np.zeros((365, 2)))
    (folder / "cut.npz").write_bytes((folder / "other.npz").read_bytes()[:50])
    (folder / "empty.npy").write_bytes(b"")
    with pytest.raises(SystemExit, match="scores failed"):
        run(f"hub.folder={folder}", "scorer=disco")
    rows = pd.read_csv(next(tmp_path.glob("run*")) / "scores.csv").set_index("model")
    assert "7 rows" in rows.reason["short"]
    assert "360 targets" in rows.reason["short"]
    assert "lacks 359 of the 360 samples" in rows.reason["lacking"]
    assert "no array named features" in rows.reason["other"]
    assert "uneven.npz has 360 rows of features, but 365 of logits" in rows.reason["uneven"]
    assert "cannot read the features" in rows.reason["cut"]
    assert "cannot read the features" in rows.reason["empty"]
    assert (rows.status == "ok").sum() == 3


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        (["dataset.column=label"], "no column 'label'; name one of id, target"),
        (["dataset=digits"], "saved features go with saved targets"),
        (["dataset.file=/nowhere/t.csv"], "/nowhere/t.csv"),
        (["dataset=digits", "stage=check"], "saved features go with saved targets"),
        (["stage=finetune"], "stage=finetune trains networks on images, and hub=files holds features that were saved"),
        (["stage=finetune"], "rank them by stage=rank, accuracies of yours by truth=import truth.file=FILE"),
        (["stage=analyse"], "stage=analyse trains networks on images"),
        (["stage=recommend", "scorer=disco"], "stage=recommend trains networks on images"),
    ],
)
def test_refusals(run, saved, overrides, says):
    with pytest.raises(SystemExit) as stopped:
        run(f"hub.folder={saved}", "scorer=disco", *overrides)
    assert says in str(stopped.value)


def test_ids_that_cannot_be_used_are_said_and_orders_that_differ_refused(tmp_path, caplog):
    for name, ids in {"one": [0, 1, 2], "same": [0, 1, 2], "bad": []}.items():
        save_file({"features": torch.zeros(3, 2), "ids": torch.tensor(ids)}, tmp_path / f"{name}.safetensors")
    (tmp_path / "bad.safetensors").write_bytes(b"")
    np.save(tmp_path / "plain.npy", np.zeros((3, 2)))
    target = Target("t", "classification", "accuracy", np.zeros(3, int), [], "own", "targets.npy", "f")
    refuse_orders(hub(str(tmp_path)).values(), target)
    assert "one.safetensors has ids, targets.npy has none: rows are matched by their place" in caplog.text
    np.savez(tmp_path / "turned.npz", features=np.zeros((3, 2)), ids=["2", "1", "0"])
    refuse_orders(hub(str(tmp_path)).values(), replace(target, ids=["0", "1", "2"]))
    with pytest.raises(
        ModelRankError, match=r"ids in .*one\.safetensors and .*turned\.npz are not the same .* column id"
    ):
        refuse_orders(hub(str(tmp_path)).values(), target)


def test_orders_that_differ_are_refused_before_any_work(run, tmp_path):
    np.savez(tmp_path / "a.npz", features=np.zeros((3, 2)), ids=["2", "1", "0"])
    np.savez(tmp_path / "b.npz", features=np.zeros((3, 2)), ids=["0", "1", "2"])
    np.save(tmp_path / "targets.npy", ["x", "y", "x"])
    with pytest.raises(SystemExit, match="not the same in the same order"):
        run(f"hub.folder={tmp_path}", "scorer=disco")


def test_ids_and_features_of_every_kind_are_read(tmp_path):
    order, names = np.array([2, 0, 1]), ["b", "c", "ä"]
    target = Target("t", "classification", "accuracy", np.array([0, 1, 1]), names, "own", "targets.csv", "f")
    features = np.arange(6, dtype=np.float32).reshape(3, 2)
    mixed, ids = features[order], np.array(names)[order]
    np.savez(tmp_path / "bytes.npz", features=mixed, ids=np.char.encode(ids, "utf-8"))
    np.savez(tmp_path / "beside.npz", features=mixed, ids=ids, notes=np.array([{}, None]))
    save_file({"features": torch.from_numpy(features).bfloat16()}, tmp_path / "short.safetensors")
    found = hub(str(tmp_path))
    assert all(torch.equal(model.features(target).features, torch.from_numpy(features)) for model in found.values())


def test_python_objects_are_refused_without_the_advice_to_read_them(tmp_path):
    target = Target("t", "classification", "accuracy", np.array([0, 1]), [], "own", "targets.csv", "f")
    np.savez(tmp_path / "ids.npz", features=np.zeros((2, 2)), ids=np.array(["a", "b"], object))
    (tmp_path / "pickle.npy").write_bytes(pickle.dumps([1.0, 2.0]))
    for model in hub(str(tmp_path)).values():
        with pytest.raises(ModelRankError, match=r"Python objects, .*ids\.astype\(str\)") as refused:
            model.features(target)
        assert "allow_pickle" not in str(refused.value)


def test_hidden_files_are_no_models_and_folders_may_be_numbers(tmp_path, monkeypatch):
    (tmp_path / "2024").mkdir()
    np.save(tmp_path / "2024" / "a.npy", np.zeros((2, 2)))
    (tmp_path / "2024" / "._a.npy").write_bytes(b"what macOS puts into archives")
    (tmp_path / "2024" / "targets.csv").write_text("2023,2024\n1,0\n2,1\n")
    monkeypatch.chdir(tmp_path)
    year: Any = 2024  # as Hydra reads hub.folder=2024
    assert list(hub(year)) == ["a"]
    given: dict[str, Any] = {"file": None, "id_column": 2023, "task": None, "metric": None, "licence": "own"}
    target = TargetFile("t", year, column=year, **given).load(tmp_path)
    assert (target.ids, target.targets.tolist()) == (["1", "2"], [0, 1])


def test_the_metric_goes_by_the_task(tmp_path):
    def metric(targets, given=None):
        np.save(tmp_path / "targets.npy", targets)
        folder = {"folder": str(tmp_path), "file": None, "column": "", "id_column": "", "licence": "own"}
        return TargetFile("t", task=None, metric=given, **folder).load(tmp_path).metric

    assert metric([0.5, 1.5, 2.0]) == metric([0.5, 1.5], "r2") == "r2"
    assert metric(["a", "b", "a"]) == "accuracy"
    assert metric(np.array([[1, 1, 0], [0, 1, 0], [0, 0, 1]])) == "map11"
    with pytest.raises(ModelRankError, match=r"dataset\.metric=accuracy: give one of r2 for regression"):
        metric([0.5, 1.5, 2.0], "accuracy")


def test_targets_are_read_from_every_kind_of_file(tmp_path):
    names = np.array(["b", "a", "b"])
    table = pd.DataFrame({"id": ["x", "y", "z"], "target": names})
    table.to_csv(tmp_path / "targets.csv", index=False)
    table.to_parquet(tmp_path / "targets.parquet")
    np.save(tmp_path / "targets.npy", names)

    def read(file):
        given = {"name": "t", "folder": str(tmp_path), "column": "target", "id_column": "id", "task": None}
        path = str(tmp_path / file) if file else None
        return TargetFile(file=path, metric="accuracy", licence="own", **given).load(tmp_path)

    found = {suffix: read(f"targets.{suffix}") for suffix in ("csv", "parquet", "npy")}
    assert {one.task for one in found.values()} == {"classification"}
    assert all(one.targets.tolist() == [1, 0, 1] for one in found.values())
    assert found["parquet"].ids == found["csv"].ids == ["x", "y", "z"]
    assert found["parquet"].fingerprint == found["csv"].fingerprint
    assert not found["npy"].ids
    with pytest.raises(ModelRankError, match=r"targets\.csv and targets\.parquet and targets\.npy; name one"):
        read(None)
    (tmp_path / "words.csv").write_text("id,target\n007,None\n008,NA\n010,crack\n")
    assert (read("words.csv").ids, read("words.csv").targets.tolist()) == (["007", "008", "010"], [1, 0, 2])
    (tmp_path / "numbers.csv").write_text("id,target\n1,0.5\n2,\n")
    with pytest.raises(ModelRankError, match="1 of 2 are missing"):
        read("numbers.csv")
    table.set_index("id").to_parquet(tmp_path / "index.parquet")
    assert read("index.parquet").ids == ["x", "y", "z"]
    (tmp_path / "ids.csv").write_text("id,target\n1,a\n,b\n,a\n")
    with pytest.raises(ModelRankError, match="2 of 3 ids in the column 'id' are missing"):
        read("ids.csv")
    (tmp_path / "endless.csv").write_text("id,target\n1,0.5\n2,inf\n")
    with pytest.raises(ModelRankError, match=r"endless\.csv: targets: 1 of 2 are infinite"):
        read("endless.csv")
    (tmp_path / "empty.npy").write_bytes(b"")
    with pytest.raises(ModelRankError, match=r"cannot read the targets .*empty\.npy"):
        read("empty.npy")
    (tmp_path / "broken.parquet").write_bytes(b"no parquet")
    with pytest.raises(ModelRankError, match=r"cannot read the targets .*broken\.parquet"):
        read("broken.parquet")
