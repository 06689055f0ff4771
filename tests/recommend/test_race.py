import json
import math
import os
from dataclasses import replace
from typing import ClassVar

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelrank.memory.belief import Belief
from modelrank.recommend.answer import answer, table
from modelrank.recommend.contestant import Rules, advance
from modelrank.recommend.diary import Diary, Trial
from modelrank.recommend.executors import InTurn
from modelrank.recommend.probe import Probe
from modelrank.recommend.race import Race

RULES = Rules(
    rungs=[24, 80, 240],
    widths=[3, 2, 1],
    start=3e-4,
    margin=0.02,
    points=[{"lr": rate, "wd": 0.0} for rate in (1e-5, 3e-5, 1e-4, 3e-4, 1e-3)],
    mode="max",
)


class World:
    """Models whose trainings take time on a clock of their own and end at known accuracies."""

    rules = RULES

    def __init__(self, accuracy, step_seconds=None, noise=0.0, broken=()):
        self.accuracy, self.broken, self.now, self.done = accuracy, broken, 0.0, []
        self.step_seconds = step_seconds or dict.fromkeys(accuracy, 1.0)
        self.random, self.noise = np.random.default_rng(0), noise
        self.die_after = None

    def clock(self):
        return self.now

    def advance(self, model, rung, before):
        if self.die_after is not None and len(self.done) >= self.die_after:
            raise KeyboardInterrupt
        if model in self.broken:
            raise RuntimeError(f"no weights of {model}")
        rates = self.rules.going_on(rung, before)
        self.now += (
            len(rates)
            * (self.rules.rungs[rung] - (self.rules.rungs[rung - 1] if rung else 0))
            * self.step_seconds[model]
        )
        gain = 0.3 * (1 - self.rules.rungs[rung] / self.rules.rungs[-1])
        value = self.accuracy[model] - gain + self.noise * self.random.standard_normal()
        self.done.append((model, rung))
        return {rate: {"value": value - 0.01 * abs(rate - 3)} for rate in rates}

    def race(self, mean=None):
        names = list(self.accuracy)
        n = len(names)
        mean = np.zeros(n) if mean is None else np.asarray(mean, float)
        belief = Belief(mean, np.zeros((n, 1)), np.ones(n), 0.6, 0.25, np.log(0.05), 1.0)
        return Race(names, belief, self.rules, self.step_seconds, self.step_seconds, noise=lambda value: 0.01)


class SideBySide:
    """Several workers on the clock of a world."""

    def __init__(self, world, workers):
        self.world, self.workers, self.running = world, workers, []

    def start(self, model, rung, before):
        assert len(self.running) < self.workers
        assert model not in [ended.model for _, ended in self.running]
        now = self.world.now
        ended = InTurn(self.world.advance)
        ended.start(model, rung, before)
        ended = ended.wait()
        self.running.append((self.world.now, ended))
        self.world.now = now

    def wait(self):
        self.running.sort(key=lambda one: one[0])
        at, ended = self.running.pop(0)
        self.world.now = max(self.world.now, at)
        return ended


TEN = {f"m{number}": 0.5 + 0.03 * number for number in range(10)}


def test_finds_the_best_for_a_third_of_everything(tmp_path):
    world = World(TEN)
    race = world.race()
    everything = race.everything()
    race.run(InTurn(world.advance), Diary(tmp_path, world.clock), 0.35 * everything, sure=0.99)
    assert race.pick() == "m9"
    assert "m9" in race.finished()
    assert world.now <= 0.35 * everything
    assert len({model for model, _ in world.done}) == 10  # a look at each


def test_what_is_remembered_comes_first(tmp_path):
    world = World(TEN)
    race = world.race(mean=[-3, -3, -3, -3, -3, -3, -3, -3, 3, 3])
    race.run(InTurn(world.advance), Diary(tmp_path, world.clock), 0.2 * race.everything(), sure=0.99)
    assert world.done[0][0] in ("m8", "m9")
    assert len({model for model, _ in world.done}) < 10
    assert race.pick() == "m9"


@settings(max_examples=40, deadline=None)
@given(
    accuracy=st.lists(st.floats(0.1, 0.95), min_size=2, max_size=8),
    seconds=st.lists(st.floats(0.1, 30.0), min_size=8, max_size=8),
    share=st.floats(0.02, 1.2),
    workers=st.integers(1, 4),
)
def test_budget_is_kept_and_a_pick_is_named(tmp_path_factory, accuracy, seconds, share, workers):
    names = [f"m{number}" for number in range(len(accuracy))]
    world = World(dict(zip(names, accuracy, strict=True)), dict(zip(names, seconds, strict=False)))
    race = world.race()
    budget = share * race.everything()
    executor = InTurn(world.advance) if workers == 1 else SideBySide(world, workers)
    race.run(executor, Diary(tmp_path_factory.mktemp("race"), world.clock), budget, sure=0.99)
    assert world.now <= budget
    assert race.pick() in names
    if world.done and any(race.cost(name, to_end=True) <= budget for name in names if race.last(name) is None):
        assert race.finished() or budget - world.now < max(seconds) * 240 * 4
    values = {model: trial.value for model, trial in race.at_hand().items()}
    if values:
        assert values[race.pick()] == max(values.values())


def test_side_by_side_all_is_trained_as_in_turn_and_sooner(tmp_path):
    worlds = World(TEN), World(TEN)
    races = [world.race() for world in worlds]
    budget = 2 * races[0].everything()
    races[0].run(InTurn(worlds[0].advance), Diary(tmp_path / "in turn", worlds[0].clock), budget, sure=1.0)
    races[1].run(SideBySide(worlds[1], 4), Diary(tmp_path / "side by side", worlds[1].clock), budget, sure=1.0)
    rows = [sorted((one.model, one.rung, one.value, one.lr) for one in race.trials) for race in races]
    assert rows[0] == rows[1]
    assert len(rows[0]) == 30
    assert worlds[1].now == pytest.approx(worlds[0].now / 4, rel=0.2)
    assert races[0].pick() == races[1].pick()
    kept = Diary(tmp_path / "side by side").trials
    assert [(one.model, one.rung) for one in kept] == [(one.model, one.rung) for one in races[1].trials]


def test_when_it_is_sure_nothing_more_is_begun(tmp_path):
    world = World({"good": 0.9, "bad": 0.2, "worse": 0.1})
    race = world.race()
    executor = SideBySide(world, 2)
    race.run(executor, Diary(tmp_path, world.clock), 10 * race.everything(), sure=0.8)
    assert race.pick() in race.finished()
    assert race.certainty() >= 0.8
    assert len(race.trials) + len(executor.running) < 9


def test_stopped_anywhere_it_has_a_pick_and_ends_the_same(tmp_path):
    whole = World(TEN)
    uninterrupted = whole.race()
    budget = 0.3 * uninterrupted.everything()
    uninterrupted.run(InTurn(whole.advance), Diary(tmp_path / "whole", whole.clock), budget, sure=0.99)
    for stop in (0, 1, 5, len(whole.done) - 1):
        world = World(TEN)
        world.die_after = stop
        folder = tmp_path / f"stopped{stop}"
        race = world.race()
        with pytest.raises(KeyboardInterrupt):
            race.run(InTurn(world.advance), Diary(folder, world.clock), budget, sure=0.99)
        assert race.pick() in TEN
        world.die_after = None
        again = world.race()
        again.run(InTurn(world.advance), Diary(folder, world.clock), budget, sure=0.99)
        assert [(one.model, one.rung) for one in again.trials] == whole.done
        assert again.pick() == uninterrupted.pick()


class Heads(World):
    """The same from heads on frozen features, which are as good as that, while a training's beginning breaks them."""

    rules = replace(RULES, rungs=[0, *RULES.rungs], widths=[1, *RULES.widths])

    def __init__(self, heads, *arguments, **more):
        super().__init__(*arguments, **more)
        self.heads = heads

    def advance(self, model, rung, before):
        if rung == 0:
            self.now += 30.0
            self.done.append((model, rung))
            return {3: {"value": self.heads[model]}}
        return super().advance(model, rung, before)


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
    assert "after 0 of the 240 steps" in answer(race, probes, metric="accuracy", wanted=0.95).sentence()
    assert answer(race, probes, metric="accuracy", wanted=0.95).expected == pytest.approx(0.72, abs=0.01)
    assert "steps" not in answer(whole, probes, metric="accuracy", wanted=0.95).sentence()


def test_a_head_that_is_better_than_the_end_of_its_training_is_left_and_said_to_be_it(tmp_path):
    world = Heads({"a": 0.5, "b": 0.9}, {"a": 0.7, "b": 0.8})
    race = world.race()
    race.run(InTurn(world.advance), Diary(tmp_path, world.clock), 1e5, sure=1.0)
    assert race.finished()["b"] == pytest.approx(0.8)
    found = answer(race, {name: Probe(10, 1.0, 1.0, 0.1) for name in "ab"}, metric="accuracy", wanted=0.95)
    assert (found.pick, found.steps) == ("b", 0)
    assert found.expected == pytest.approx(0.9, abs=0.01)


def test_the_luckiest_of_equals_is_not_taken_for_the_best(tmp_path):
    """Half a point on val is a quarter of its error, and the other one is remembered to be better."""
    race = replace(World({"good": 0.8, "lucky": 0.8}).race([2.0, -2.0]), noise=lambda value: 0.02)
    trial = lambda model, value: Trial(model, 2, 240, {3: {"value": value}}, value, 3e-4, 1.0)  # noqa: E731
    race.trials.extend([trial("good", 0.80), trial("lucky", 0.805)])
    assert race.finished() == {"good": 0.80, "lucky": 0.805}
    assert race.pick() == "good"
    assert race.worth()["lucky"] < 0.805
    race.trials[-1] = trial("lucky", 0.9)
    assert race.pick() == "lucky", "ten points are no luck"


def test_seconds_of_heads_are_not_taken_for_those_of_steps(tmp_path):
    world = Heads(dict.fromkeys(TEN, 0.6), TEN)
    race = world.race()
    race.run(InTurn(world.advance), Diary(tmp_path, world.clock), 0.5 * race.everything(), sure=1.0)
    world.now = 0.0
    assert race.everything() == pytest.approx(10 * (30 + sum(RULES.steps(rung, None) for rung in range(3))))


class Arm:
    """Of a learning rate, at which the value is the better the nearer it is to `best`; small ones look best early."""

    made: ClassVar[list] = []

    def __init__(self, point, best, name=""):
        self.point, self.best, self.name = point, best, name
        Arm.made.append(self)

    def advance(self, until):
        self.until = until
        away = abs(math.log10(self.point["lr"] / self.best))
        early = -math.log10(self.point["lr"]) / 10 if until < 80 else 0.0
        return {"curve": [[until, 1.0, 0.8 - 0.1 * away + early]]}

    def clear(self):
        self.until = None


@pytest.mark.parametrize("best", [1e-5, 1e-4, 1e-3])
def test_learning_rates_are_explored_at_the_rung_before_the_last(best):
    rules, found = Heads.rules, None
    for rung in range(4):
        Arm.made = []
        found = advance(rules, rung, found, lambda point, **place: Arm(point, best, **place))
        if rung == 0:
            assert [(arm.name, arm.until) for arm in Arm.made] == [("head", 0)]
        else:
            assert {arm.name for arm in Arm.made} == {""}
        if rung == 1:
            assert sorted(found) == [2, 3, 4]  # those about 3e-4 and no further
    assert rules.points[max(found, key=lambda index: found[index]["value"])]["lr"] == best


class Easy(Arm):
    """Every learning rate reaches the end of the metric."""

    def advance(self, until):
        return {"curve": [[until, 0.0, 1.0]]}


def test_where_every_learning_rate_is_as_good_as_the_others_no_further_one_is_tried():
    rules, found = Heads.rules, None
    for rung in range(3):
        found = advance(rules, rung, found, lambda point, **place: Easy(point, 1e-4, **place))
    assert sorted(found) == [2, 3, 4]  # those about 3e-4


def test_time_of_a_killed_trial_is_counted(tmp_path):
    world = World(TEN)
    diary = Diary(tmp_path, world.clock)
    world.now = 100.0
    working = diary.working()
    working.__enter__()  # killed in it: never left
    since = json.loads((tmp_path / "race.json").read_text())["working_since"]
    checkpoint = tmp_path / "last.ckpt"
    checkpoint.write_bytes(b"")
    os.utime(checkpoint, (since + 50, since + 50))
    assert Diary(tmp_path, world.clock).spent == pytest.approx(150, abs=0.1)


def test_a_bad_model_is_out_and_the_others_go_on(tmp_path):
    world = World(TEN, broken=("m9", "m3"))
    race = world.race()
    race.run(InTurn(world.advance), Diary(tmp_path, world.clock), race.everything(), sure=0.999)
    assert race.pick() == "m8"
    last = race.last("m9")
    assert last.value is None
    assert last.reason == "no weights of m9"


def test_stops_when_it_is_sure(tmp_path):
    world = World({"good": 0.9, "bad": 0.2, "worse": 0.1})
    race = world.race()
    race.run(InTurn(world.advance), Diary(tmp_path, world.clock), 10 * race.everything(), sure=0.8)
    assert race.pick() == "good"
    assert race.certainty() >= 0.8
    assert len(race.finished()) < 3


def test_dear_models_wait(tmp_path):
    """The one that costs a hundred times the others is not looked at first, though no worse is thought of it."""
    world = World({"dear": 0.7, **TEN}, {"dear": 100.0, **dict.fromkeys(TEN, 1.0)})
    race = world.race()
    race.run(InTurn(world.advance), Diary(tmp_path, world.clock), 0.05 * race.everything(), sure=0.99)
    assert world.done[0][0] != "dear"
    assert "m9" in race.finished()


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


@pytest.mark.parametrize("damage", ["", '{"trials": [', "[]"])
def test_a_cut_diary_is_made_again(tmp_path, caplog, damage):
    (tmp_path / "race.json").write_text(damage)
    assert Diary(tmp_path).trials == []
    assert "race.json is damaged" in caplog.text
