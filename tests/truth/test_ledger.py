"""Accuracies are found by what they are of: every way to other weights, images or settings under the same names."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import save_file
from tests.data.making import image_folder
from tests.small_problem import small_network

from modelrank.data.folder import FolderCopy
from modelrank.data.spec import DatasetSpec
from modelrank.hub.checkpoint_files import snapshots
from modelrank.ranking.agreement import ceiling
from modelrank.truth.ledger import Asked, add, data_id, measured, model_id, protocol_id, rows, take, truth_of, vouch
from modelrank.types import ModelRankError, NotMeasured

ASKED = Asked({"a": "A", "b": "B", "c": "C"}, "digits", "D", "tiny", "P")


def row(model="a", **changes):
    return {
        "dataset": "digits",
        "model": model,
        "protocol": "tiny",
        "seed": 0,
        "model_id": model.upper(),
        "data_id": "D",
        "protocol_id": "P",
        "metric": "accuracy",
        "accuracy": 0.5,
        "commit": "abc",
    } | changes


def write(path, *many):
    pd.DataFrame(list(many)).to_csv(path, index=False)
    return path


def hub(accuracies, **changes):
    return [row(model, accuracy=value, **changes) for model, value in accuracies.items()]


# --- what is asked for ---


def weights_of(folder, seed):
    folder.mkdir()
    torch.manual_seed(seed)
    save_file(small_network().state_dict(), folder / "epoch_1.safetensors")
    return snapshots(str(folder), small_network, preprocessing=None)["epoch_1"]


def test_two_runs_with_the_same_file_names_are_two_models(tmp_path, digits, model, protocol):
    first, second = (
        replace(weights_of(tmp_path / name, seed), preprocessing=model.preprocessing)
        for name, seed in (("run_a", 1), ("run_b", 2))
    )
    assert first.name == second.name
    assert model_id(first) != model_id(second)
    ids = {"model_id": model_id(first), "data_id": data_id(digits), "protocol_id": protocol_id(protocol)}
    table = write(tmp_path / "t.csv", row("epoch_1", **ids))
    assert measured(Asked.of([first], digits, protocol), paths=[table]).accuracy == {"epoch_1": 0.5}
    with pytest.raises(NotMeasured, match=r"1 rows of t.csv .* not used: 1 of other weights with the same name"):
        measured(Asked.of([second], digits, protocol), paths=[table])


def test_a_model_is_its_architecture_weights_and_preprocessing_and_no_label(model):
    others = [
        replace(model, architecture=partial(small_network)),
        replace(model, preprocessing=model.preprocessing.at(16)),
    ]
    assert model_id(others[0]) == model_id(model) != model_id(others[1])
    assert model_id(replace(model, name="x", family="y", licence="z", imagenet_accuracy=0.5)) == model_id(model)


def test_other_settings_are_another_protocol(protocol):
    assert protocol_id(replace(protocol, steps=5)) != protocol_id(protocol)
    assert protocol_id(replace(protocol, name="x", workers=3)) == protocol_id(protocol)


@pytest.fixture
def folder(tmp_path):
    return image_folder(tmp_path / "one", {"cat": 12, "dog": 12})


def data_of(root, tmp_path, **settings):
    spec = {"name": "mine", "task": "classification", "metric": "accuracy", "licence": "none", "root": str(root)}
    return DatasetSpec(**spec, copies={"folder": FolderCopy()}, **settings).load(tmp_path / "cache")


def test_other_folders_splits_subsamples_and_metrics_are_other_data(folder, tmp_path):
    other = image_folder(tmp_path / "two", {"cat": 12, "dog": 12}, seed=50)
    copy = image_folder(tmp_path / "copy", {"cat": 12, "dog": 12})
    assert data_id(data_of(copy, tmp_path)) == data_id(data_of(folder, tmp_path)), "a copy is the same images"
    every = [data_of(folder, tmp_path), data_of(other, tmp_path)]
    for change in ({"seed": 1}, {"val": 0.3}, {"test": 0.3}, {"subsample": {"train": 6}}, {"subsample": {"test": 4}}):
        every.append(data_of(folder, tmp_path, **change))
    every += [replace(every[0], metric="mean_per_class_accuracy"), replace(every[0], mirror=False)]
    assert len({data_id(data) for data in every}) == len(every)
    same = replace(every[0], name="x", scored=("train",), licence="y", source="z")
    assert data_id(same) == data_id(every[0]), "which images are scored, and names, are nothing to a measurement"


# --- what is found ---


def test_the_mean_over_seeds_and_the_later_file(tmp_path):
    shipped = write(tmp_path / "shipped.csv", row(), row(seed=1, accuracy=0.7), row("b", accuracy=0.1))
    own = write(tmp_path / "own.csv", row(accuracy=0.6))
    truth = measured(ASKED, paths=[shipped, own, tmp_path / "absent.csv"])
    assert truth.accuracy == {"a": pytest.approx(0.65), "b": 0.1}
    assert truth.per_seed == {0: {"a": 0.6, "b": 0.1}, 1: {"a": 0.7}}
    assert "own.csv" in truth.source
    assert "abc" in truth.source
    assert truth.mean_rank_elsewhere == {}
    assert (truth.match, truth.unmatched) == ("ids", "")


def test_a_name_is_a_label(tmp_path):
    table = write(tmp_path / "t.csv", row("y", dataset="x", protocol="z", model_id="A"))
    assert measured(ASKED, paths=[table]).accuracy == {"a": 0.5}
    twins = replace(ASKED, models={"a": "A", "again": "A"})
    assert measured(twins, paths=[table]).accuracy == {"a": 0.5, "again": 0.5}


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"protocol_id": "Q"}, "1 by other settings of tiny"),
        ({"data_id": "E"}, "1 on other images named digits"),
        ({"model_id": "Z"}, "1 of other weights with the same name"),
        ({"model_id": "Z", "data_id": "E"}, "1 on other images named digits and of other weights with the same name"),
        ({"model_id": "", "data_id": "", "protocol_id": ""}, "1 of an earlier version, without ids"),
    ],
)
def test_a_row_of_something_else_is_said_and_never_used(tmp_path, change, says):
    shipped = write(tmp_path / "shipped.csv", *hub({"a": 0.6, "b": 0.7, "c": 0.8}))
    own = write(tmp_path / "own.csv", row(**{"accuracy": 0.1} | change))
    truth = measured(ASKED, paths=[shipped, own])
    assert truth.accuracy == {"a": 0.6, "b": 0.7, "c": 0.8}
    assert truth.unmatched.startswith("1 rows of own.csv have these names but are of something else")
    assert truth.unmatched.endswith(says)
    with pytest.raises(NotMeasured, match=says):
        measured(ASKED, paths=[own])


def test_seeds_are_counted_for_each_model(tmp_path):
    both = [each for seed in (0, 1) for each in hub({"a": 0.6, "b": 0.7, "c": 0.8}, seed=seed)]
    assert measured(ASKED, paths=[write(tmp_path / "t.csv", *both)]).seeds() == "2"
    more = write(tmp_path / "t.csv", *both, row(seed=2))
    assert measured(ASKED, paths=[more]).seeds() == "2 (a: 3)"
    assert replace(measured(ASKED, paths=[more]), per_seed={}).seeds() == ""


def test_seeds_agree_and_the_static_order_counts_within_the_hub(tmp_path):
    """Two hubs share a protocol: neither the ceiling nor the order of one knows the models of the other."""
    mine, theirs = {"a": (0.1, 0.3), "b": (0.2, 0.2), "c": (0.3, 0.1)}, {f"x{i}": (0.5 + i / 10,) * 2 for i in range(4)}
    table = [
        row(name, seed=seed, accuracy=values[seed], data_id=data, dataset=data)
        for name, values in (mine | theirs).items()
        for seed in (0, 1)
        for data in ("D", "E")
    ]
    table += hub({"x0": 0.1, "a": 0.9}, data_id="E2", dataset="E")  # another choice of E, with one model of the hub
    truth = measured(ASKED, paths=[write(tmp_path / "t.csv", *table)])
    assert set(truth.accuracy) == set(mine)
    assert ceiling(truth) == pytest.approx(-1)
    assert truth.mean_rank_elsewhere == {"a": 2, "b": 2, "c": 2}, "all three have .2 on average over the seeds of E"


def test_the_static_order_takes_no_other_protocol_data_set_or_kind(tmp_path):
    pair = {"a": 0.9, "b": 0.1, "c": 0.05}
    against = {"a": 0.1, "b": 0.5, "c": 0.9}
    table = [
        *hub(pair),
        *hub(pair, dataset="other", data_id="O"),
        *hub(against, dataset="other", data_id="O", protocol_id="Q"),
        *hub(against, data_id="another choice of digits"),
        *hub(against, dataset="Digits", data_id="in other letters"),
        *hub(against, dataset="age", data_id="R", metric="r2"),
    ]
    assert measured(ASKED, paths=[write(tmp_path / "t.csv", *table)]).mean_rank_elsewhere == {"a": 1, "b": 2, "c": 3}


def test_what_is_known_is_listed(tmp_path):
    table = write(tmp_path / "t.csv", row(), row(dataset="pets", data_id="E"))
    with pytest.raises(NotMeasured, match=r"of others there are: digits, pets.*stage=finetune"):
        measured(replace(ASKED, dataset="cars", data_id="K"), paths=[table])
    with pytest.raises(NotMeasured, match=r"none of .* exists"):
        measured(ASKED, paths=[tmp_path / "absent.csv"])


def test_rows_of_two_data_sets_are_no_truth(tmp_path):
    table = rows([write(tmp_path / "t.csv", row(), row(data_id="E"))])
    with pytest.raises(ModelRankError, match="choose by data_id"):
        truth_of(table)
    assert truth_of(table[table.data_id == "D"]).accuracy == {"a": 0.5}


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ([row(accuracy=np.nan)], "missing or no fraction"),
        ([row(accuracy=84.6)], "missing or no fraction"),
        ([row(), row()], "there twice"),
        ([row(seed=None)], "no seed"),
        ([row(seed=0.5)], "no seed"),
        ([{"dataset": "digits", "accuracy": 0.5}], "lacks the columns"),
    ],
)
def test_bad_tables_are_refused(tmp_path, bad, message):
    with pytest.raises(ModelRankError, match=message):
        measured(ASKED, paths=[write(tmp_path / "t.csv", *bad)])


def test_ids_of_digits_and_odd_names_stay_text(tmp_path):
    odd = row("NA", model_id="123456789012", data_id="12345e678901", protocol_id="000000000001")
    table = write(tmp_path / "t.csv", odd)
    asked = Asked({"NA": "123456789012"}, "digits", "12345e678901", "tiny", "000000000001")
    assert measured(asked, paths=[table]).accuracy == {"NA": 0.5}


# --- adding ---


def test_adding_replaces_the_same_cell_and_keeps_digits_of_the_others(tmp_path):
    path = tmp_path / "new" / "measured.csv"
    add(path, [row(accuracy="0.123456789012345678", command='run "x", y')])
    add(path, [row(seed=1, accuracy=0.25, command=None)])
    add(path, [row(seed=1, accuracy=0.75, extra="new column", model="renamed", model_id="A")])
    add(path, [row(seed=1, accuracy=0.5, protocol_id="Q")])
    text = path.read_text()
    assert "0.123456789012345678" in text
    found = pd.read_csv(path)
    assert len(found) == 3
    assert sorted(found[found.seed == 1].accuracy) == [0.5, 0.75]
    assert found.set_index("seed").command[0] == 'run "x", y'


def test_a_row_that_could_not_be_found_again_is_refused(tmp_path):
    for column in ("model_id", "data_id", "protocol_id", "seed"):
        with pytest.raises(ModelRankError, match="could not be found again"):
            add(tmp_path / "t.csv", [{key: value for key, value in row().items() if key != column}])


def test_rows_of_an_earlier_version_stay_until_they_are_measured_again(tmp_path):
    earlier = [{key: value for key, value in row(seed=s).items() if not key.endswith("_id")} for s in (0, 1)]
    path = write(tmp_path / "t.csv", *earlier)
    add(path, [row(accuracy=0.9)])
    truth = measured(ASKED, paths=[path])
    assert truth.accuracy == {"a": 0.9}
    assert "1 of an earlier version, without ids" in truth.unmatched
    assert sorted(pd.read_csv(path).seed) == [0, 1]


def test_many_writers_lose_nothing(tmp_path):
    path = tmp_path / "measured.csv"
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda seed: add(path, [row(seed=seed)]), range(24)))
    assert sorted(pd.read_csv(path).seed) == list(range(24))
    assert not list(tmp_path.glob("*.tmp"))


def test_many_rows_of_a_cell_are_replaced_together_and_keep_their_order(tmp_path):
    path = tmp_path / "found.csv"
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda seed: add(path, [row(seed=seed, box=box) for box in (3, 1, 2)]), range(12)))
    add(path, [row(seed=4, box=box) for box in (9, 8)])
    boxes = pd.read_csv(path).groupby("seed").box.apply(list)
    assert len(boxes) == 12
    assert boxes[4] == [9, 8]
    assert all(boxes[seed] == [3, 1, 2] for seed in range(12) if seed != 4)


def test_an_emptied_table_is_said_and_filled_again(tmp_path, caplog):
    path = tmp_path / "measured.csv"
    path.write_bytes(b"")
    with pytest.raises(NotMeasured):
        rows([path])
    assert "measured.csv is empty; stage=finetune with stage.anew=false" in caplog.text
    add(path, [row()])
    assert len(rows([path])) == 1


@pytest.mark.parametrize("damage", [b"\xff\xfe\x00", b"a,b\n1,2,3\n1,2,3,4,5\n", b'"dataset,model\n'])
def test_a_damaged_table_is_named_when_a_row_is_added(tmp_path, damage):
    path = tmp_path / "measured.csv"
    path.write_bytes(damage)
    with pytest.raises(ModelRankError, match=r"cannot read the table of accuracies .*measured\.csv.*mend or remove it"):
        add(path, [row()])
    assert path.read_bytes() == damage


# --- digests: a number that is no longer what was measured ---


@pytest.mark.parametrize(
    ("old", "new"),
    [("0.625", "0.925"), ("0.625", ""), (",A,", ",B,"), ("tiny", "full"), ("digits", "cars"), ("abc", "abd")],
)
def test_an_edited_row_is_refused_by_name(tmp_path, old, new):
    table = tmp_path / "measured.csv"
    add(table, [row("a", accuracy=0.625, map50=None), row("b", accuracy=0.5, map50=0.25)])
    assert measured(ASKED, paths=[table]).accuracy == {"a": 0.625, "b": 0.5}
    lines = table.read_text().splitlines(keepends=True)
    table.write_text("".join([lines[0], lines[1].replace(old, new, 1), lines[2]]))
    with pytest.raises(ModelRankError, match=r"measured\.csv: 1 rows are not what was measured, first \(.*digest"):
        measured(ASKED, paths=[table])
    add(table, [row("a", accuracy=0.75), row("c")])  # measuring goes on, and brings the row back where it is the same
    if (old, new) in (("0.625", "0.925"), ("abc", "abd")):
        assert measured(ASKED, paths=[table]).accuracy == {"a": 0.75, "b": 0.5, "c": 0.5}


def test_rows_without_a_digest_are_read_said_and_given_one(tmp_path):
    table = tmp_path / "measured.csv"
    write(table, row("a", accuracy="0.10"), row("b", accuracy="0.20"))  # as an earlier version wrote them
    assert "(2 of 2 rows without a digest)" in measured(ASKED, paths=[table]).source
    add(table, [row("c", note="new")])  # a column more
    assert "(2 of 3 rows without a digest)" in measured(ASKED, paths=[table]).source
    other = tmp_path / "other.csv"
    take(other, table)
    assert "(2 of 3 rows without a digest)" in measured(ASKED, paths=[other]).source, (
        "what others wrote is not vouched for by importing"
    )
    assert vouch(table) == 2
    assert vouch(table) == 0
    truth = measured(ASKED, paths=[table])
    assert truth.accuracy == {"a": 0.1, "b": 0.2, "c": 0.5}
    assert "digest" not in truth.source
    assert "0.10" in table.read_text()
    table.write_text(table.read_text().replace("0.10", "0.11"))
    with pytest.raises(ModelRankError, match="not what was measured"):
        vouch(table)
