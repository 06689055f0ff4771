from dataclasses import replace

import pytest
from tests.recommend.worlds import Heads, World

from modelrank.recommend.answer import answer, table
from modelrank.recommend.diary import Diary
from modelrank.recommend.executors import InTurn
from modelrank.recommend.probe import Probe


def test_what_is_left_is_the_head_alone_where_training_has_not_made_it_better_yet(tmp_path):
    world = Heads({"a": 0.5, "b": 0.72}, {"a": 0.8, "b": 0.81})
    race = world.race()
    race.run(InTurn(world.advance), Diary(tmp_path / "short", world.clock), 300.0, sure=1.0)
    assert race.finished() == {}
    assert (race.pick(), race.at_hand()["b"].steps) == ("b", 0)  # .72, and .54 after a tenth of the steps
    whole = world.race()
    whole.run(InTurn(world.advance), Diary(tmp_path / "whole", world.clock), 1e5, sure=1.0)
    assert set(whole.finished()) == {"a", "b"}
    assert (whole.pick(), whole.at_hand()["b"].steps) == ("b", 240)
    probes = {name: Probe(10, 1.0, 1.0, 0.1) for name in "ab"}
    short = table(race, probes, metric="accuracy").set_index("model")
    assert short.now["b"] == pytest.approx(0.72, abs=0.01)
    said = answer(race, probes, metric="accuracy", wanted=0.95).sentence()
    assert f"after 0 of the 240 steps of its training, at whose end {short.expected['b']:.3f} is expected" in said
    assert "give a larger budget, or this model alone to stage=finetune keep=best" in said
    assert "; the best expected of the 2 networks at hand; " in said
    assert answer(race, probes, metric="accuracy", wanted=0.95).expected == pytest.approx(0.72, abs=0.01)
    assert "steps" not in answer(whole, probes, metric="accuracy", wanted=0.95).sentence()


def test_a_head_that_is_better_than_the_end_of_its_training_is_left_and_said_to_be_it(tmp_path):
    world = Heads({"a": 0.5, "b": 0.9}, {"a": 0.7, "b": 0.8})
    race = world.race()
    race.run(InTurn(world.advance), Diary(tmp_path, world.clock), 1e5, sure=1.0)
    assert race.finished()["b"] == pytest.approx(0.8)
    found = answer(race, {name: Probe(10, 1.0, 1.0, 0.1) for name in "ab"}, metric="accuracy", wanted=0.95)
    assert (found.pick, found.steps) == ("b", 0)
    assert "larger budget" not in found.sentence()
    assert found.expected == pytest.approx(0.9, abs=0.01)


def test_the_answer_says_who_is_tied_and_what_more_would_bring(tmp_path):
    world = World({"a": 0.80, "b": 0.80, "c": 0.4})
    race = world.race()
    race.run(InTurn(world.advance), Diary(tmp_path, world.clock), 0.6 * race.everything(), sure=1.0)
    probes = {name: Probe(10, latency, 1.0, 0.1) for name, latency in (("a", 12.0), ("b", 5.0), ("c", 1.0))}
    found = answer(race, probes, metric="accuracy", wanted=0.95)
    assert found.pick in ("a", "b")
    assert 0 <= found.low <= found.expected <= found.high <= 1
    assert found.pick in found.sentence()
    rows = table(race, probes, metric="accuracy")
    assert rows.model[0] == found.pick
    assert rows.chance_best.sum() == pytest.approx(1)
    assert list(rows.model[1:]) == list(rows[1:].sort_values("expected", ascending=False).model)


def test_a_model_that_cannot_be_trained_is_no_rival(tmp_path):
    world = World({"a": 0.8, "b": 0.5, "broken": 0.9}, broken=("broken",))
    race = world.race([0.0, 0.0, 3.0])
    ended = race.run(InTurn(world.advance), Diary(tmp_path, world.clock), 1e5, sure=0.9)
    assert ended == "the certainty wanted, 0.9, is reached"
    probes = {name: Probe(10, 1.0, 1.0, 0.1) for name in race.models}
    found = answer(race, probes, metric="accuracy", wanted=0.9)
    assert (found.pick, found.ties, found.cheapest) == ("a", [], "a")
    rows = table(race, probes, metric="accuracy").set_index("model")
    assert list(rows.index)[-1] == "broken"
    assert rows.expected.isna().tolist() == [False, False, True]
    assert rows.reason["broken"] == "no weights of broken"
    assert rows.chance_best.sum() == pytest.approx(1)


def test_what_a_network_is_worth_ends_where_the_metric_does(tmp_path):
    world = World({"a": 1.3, "b": 1.0})
    race = world.race([1.0, 0.0])
    race.run(InTurn(world.advance), Diary(tmp_path, world.clock), 300.0, sure=1.0)
    assert race.worth()["a"] > 1
    probes = {name: Probe(10, 1.0, 1.0, 0.1) for name in "ab"}
    found = answer(race, probes, metric="accuracy", wanted=0.95)
    assert (found.pick, found.steps) == ("a", 80)
    assert 0 < found.low <= found.expected <= found.high == 1
    assert table(race, probes, metric="accuracy").now.max() == 1


def test_where_all_is_expected_at_the_end_of_the_metric_the_most_promising_comes_first(tmp_path):
    world = World(dict.fromkeys("abcde", 1.0))
    race = world.race([0.0, 1.0, 2.0, 3.0, 4.0])
    race = replace(race, belief=replace(race.belief, location=1.1, location_sd=0.05))
    race.run(InTurn(world.advance), Diary(tmp_path, world.clock), 0.0, sure=1.0)
    rows = table(race, {name: Probe(10, 1.0, 1.0, 0.1) for name in race.models}, metric="accuracy")
    assert rows.expected.tolist() == [1.0] * 5
    assert rows.model.tolist() == list("edcba")


def test_what_no_training_can_settle_is_said(tmp_path):
    world = World({"a": 0.800, "b": 0.799, "c": 0.2})
    race = replace(world.race(), noise=lambda value: 0.02)
    race.run(InTurn(world.advance), Diary(tmp_path, world.clock), 1e6, sure=1.0)
    assert race.open() == []
    assert race.certainty() < 0.95
    assert race.more(0.95) is None
    probes = {name: Probe(10, 1.0, 1.0, 0.1) for name in "abc"}
    sentence = answer(race, probes, metric="accuracy", wanted=0.95).sentence()
    assert sentence.endswith("no training of these models that is left would raise it to 0.95")


def test_it_is_not_certain_of_models_that_were_not_looked_at(tmp_path):
    world = World({"a": 0.8, "b": 0.4})
    race = world.race()
    race.run(InTurn(world.advance), Diary(tmp_path, world.clock), 1e6, sure=1.0)
    probes = {name: Probe(10, 1.0, 1.0, 0.1) for name in "ab"}
    some = answer(race, probes, metric="accuracy", wanted=0.95, not_looked_at=3)
    assert "of the 2 of 5 models looked at (3 were not, for lack of budget)" in some.sentence()
    assert "looked at" not in answer(race, probes, metric="accuracy", wanted=0.95).sentence()
