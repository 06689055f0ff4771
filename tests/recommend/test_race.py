import itertools
from dataclasses import replace
from functools import partial

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import ndtri
from tests.recommend.worlds import RULES, TEN, Heads, SideBySide, World

from modelrank.memory.prior import believe
from modelrank.recommend.diary import Diary, Trial
from modelrank.recommend.executors import InTurn
from modelrank.recommend.race import Race
from modelrank.truth.metrics import sampling_error


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
        assert values[race.pick()] == pytest.approx(max(values.values()))


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


def test_which_of_two_equals_was_trained_first_does_not_decide():
    """A run that was killed goes on with another model than the one that it was at."""
    trials = [
        Trial(model, rung, 0, {3: {"value": 1.0}}, 1.0, 3e-4, 1.0) for rung in range(3) for model in ("a", "b", "c")
    ]
    worths = set()
    for order in itertools.permutations(range(3)):
        race = replace(World({"a": 1.0, "b": 1.0, "c": 1.0}).race([0.1, 0.1, 0.1]), trials=[])
        race.trials.extend(sorted(trials, key=lambda trial: order["abc".index(trial.model)]))
        worths.add((race.pick(), *race.worth().items()))
    assert len(worths) == 1


@pytest.mark.parametrize("images", [20, 100])
def test_the_interval_of_the_best_of_many_holds_on_few_images_too(images):
    """The values of all models and rungs are of the same images, and the luckiest comes first."""
    names, held, worlds = [f"m{number}" for number in range(11)], 0, 100
    for seed in range(worlds):
        random = np.random.default_rng(seed)
        accuracy = np.clip(random.normal(0.85, 0.03, 11), 0.3, 0.99)
        hardness = random.normal(size=images) + random.normal(size=(11, images))  # of an image, for a model
        belief = believe(pd.DataFrame(index=names, dtype=float), level=float(accuracy.mean()))
        noise = partial(sampling_error, "accuracy", targets=np.zeros(images))
        race = Race(names, belief, RULES, dict.fromkeys(names, 1.0), dict.fromkeys(names, 1.0), noise)
        for rung, steps in enumerate(RULES.rungs):
            solved = hardness < np.sqrt(2) * ndtri(accuracy - 0.015 * (240 / steps - 1))[:, None]
            race.trials.extend(
                Trial(name, rung, steps, {3: {"value": value}}, value, 3e-4, 1.0)
                for name, value in zip(names, solved.mean(1).tolist(), strict=True)
            )
        pick = names.index(race.pick())
        low, high = race.predicted().interval(0.8)
        held += low[pick] <= accuracy[pick] <= high[pick]
    assert 0.7 < held / worlds < 0.98


def test_seconds_of_heads_are_not_taken_for_those_of_steps(tmp_path):
    world = Heads(dict.fromkeys(TEN, 0.6), TEN)
    race = world.race()
    race.run(InTurn(world.advance), Diary(tmp_path, world.clock), 0.5 * race.everything(), sure=1.0)
    world.now = 0.0
    assert race.everything() == pytest.approx(10 * (30 + sum(RULES.steps(rung, None) for rung in range(3))))


def test_seconds_of_another_machine_tell_nothing_of_this_one(tmp_path):
    world = Heads(dict.fromkeys(TEN, 0.6), TEN)
    race = world.race()
    race.run(InTurn(world.advance), Diary(tmp_path, world.clock), 0.5 * race.everything(), sure=1.0)
    elsewhere = world.race()
    elsewhere.trials.extend(replace(trial, machine="elsewhere", seconds=100 * trial.seconds) for trial in race.trials)
    assert elsewhere.predicted().mean.tolist() == race.predicted().mean.tolist()
    assert elsewhere.everything() == world.race().everything()
    assert [elsewhere.cost(model) for model in elsewhere.open()] == [1.5 * race.cost(model) for model in race.open()]


def test_what_failed_is_tried_again_by_the_next_run(tmp_path):
    """A disk that was full then may not be now; it is no word on the model."""
    world = World(TEN, broken=("m9",))
    race = world.race()
    race.run(InTurn(world.advance), Diary(tmp_path, world.clock), race.everything(), sure=1.0)
    assert race.last("m9").reason == "no weights of m9"
    world.broken = ()
    again = world.race()
    again.run(InTurn(world.advance), Diary(tmp_path, world.clock), 2 * race.everything(), sure=1.0)
    assert again.pick() == "m9"
    assert again.last("m9").reason == ""


def test_looked_at_again_what_diverged_is_no_rival(tmp_path):
    world = World(TEN)

    def advance(model, rung, before):
        if model in ("m8", "m9") and rung == 1:
            return {3: {"failed": "the loss became nan in step 30"}}
        return world.advance(model, rung, before)

    race, again = world.race(), world.race()
    for one in (race, again):
        one.run(InTurn(advance), Diary(tmp_path, world.clock), 0.4 * race.everything(), sure=1.0)
    assert not {"m8", "m9"} & {*race.rivals()}
    assert again.trials == race.trials
    assert (again.rivals(), again.certainty()) == (race.rivals(), race.certainty())


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
    race.run(InTurn(world.advance), Diary(tmp_path, world.clock), race.everything(), sure=0.99)
    assert world.done[0][0] != "dear"
    assert "m9" in race.finished()


def test_until_one_is_trained_the_best_expected_is_trained_not_the_cheapest(tmp_path):
    world = World({"cheap": 0.7, "good": 0.8}, {"cheap": 0.2, "good": 1.0})
    race = world.race([0.0, 1.0])
    race.run(InTurn(world.advance), Diary(tmp_path, world.clock), 0.9 * race.everything(), sure=1.0)
    assert world.done[0][0] == "good"


def test_a_model_that_is_left_out_later_is_left_out_of_the_race(tmp_path):
    world = World(TEN)
    race = world.race()
    race.run(InTurn(world.advance), Diary(tmp_path, world.clock), 0.5 * race.everything(), sure=0.99)
    assert race.pick() == "m9"
    fewer = World({name: value for name, value in TEN.items() if name != "m9"})
    again = fewer.race()
    again.run(InTurn(fewer.advance), Diary(tmp_path, fewer.clock), 2 * race.everything(), sure=0.99)
    assert again.pick() == "m8"
    assert {trial.model for trial in Diary(tmp_path).trials} == set(TEN), "what it did is kept"


def test_models_that_cannot_be_had_tell_of_the_others_all_the_same(tmp_path):
    world = World(TEN)
    race = world.race()
    race.run(InTurn(world.advance), Diary(tmp_path, world.clock), race.everything(), sure=1.0)
    few = dict.fromkeys(("m2", "m8"), 1.0)
    fewer = replace(world.race(), step_seconds=few, head_seconds=few, trials=[])
    fewer.run(InTurn(world.advance), Diary(tmp_path, world.clock), 0.0, sure=1.0)
    assert fewer.worth() == {name: race.worth()[name] for name in few}
    assert (fewer.pick(), fewer.had, fewer.rivals(), set(fewer.finished())) == ("m8", [*few], [*few], {*few})
