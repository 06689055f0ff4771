from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from modelrank.replay.game import play, replay, target
from modelrank.replay.hubs import hub
from modelrank.replay.policies import Believing, Halving, InOrder, Scorer, largest, random, static_order
from modelrank.root import ROOT
from modelrank.truth.published import published_rows
from modelrank.types import ModelRankError


def made(sets=4, curves=True):
    """Four models, d best everywhere; it costs four times as much as a. What val sees is .01 too low."""
    rows = [
        {"dataset": f"s{i}", "model": model, "accuracy": 0.5 + 0.1 * j, "val_accuracy": 0.49 + 0.1 * j}
        | {"seconds": 1.0 + j, "parameters": 10 - j, "score:s": -j}
        | ({"at:0.5": 0.2 + 0.1 * j} if curves else {})
        for i in range(sets)
        for j, model in enumerate("abcd")
    ]
    return hub(pd.DataFrame(rows), "made", modality="none")


def follow(*trials):
    def policy(target):
        for trial in trials:
            policy.answers.append((yield trial))

    policy.answers = []
    return policy


def test_a_policy_is_told_val_and_pays_once_for_what_it_looks_at_twice():
    one = made()
    policy = follow(("a", 0.5), "b", ("a", 1.0))
    steps = play(policy, one, target(one, "s0"))
    assert policy.answers == pytest.approx([0.2, 0.59, 0.49])
    assert [step.cost for step in steps] == [0.0, 0.5, 2.5, 3.0]
    assert [step.ended for step in steps] == [0, 0, 1, 2]
    assert [step.pick for step in steps] == ["a", "a", "b", "b"]


def test_a_play_ends_once_the_best_is_found():
    one = made()
    policy = follow("d", "a")
    assert [step.pick for step in play(policy, one, target(one, "s0"))] == ["d", "d"]
    assert policy.answers == []


@pytest.mark.parametrize("trial", ["e", ("a", 0.3)])
def test_what_the_table_has_not_is_refused(trial):
    one = made()
    with pytest.raises(ModelRankError, match="which made has not"):
        play(follow(trial), one, target(one, "s0"))


def test_a_policy_knows_nothing_of_the_data_set_it_is_judged_on():
    one = made()
    known = target(one, "s2")
    assert list(known.elsewhere) == ["s0", "s1", "s3"]
    assert list(known.scores_elsewhere) == ["s0", "s1", "s3"]
    assert list(known.curves_elsewhere[0.5]) == ["s0", "s1", "s3"]
    changed = made()
    changed.accuracy["s2"] = 1 - changed.accuracy["s2"]
    for policy in (Believing(), Believing(scores=True, race=True, use_facts=True), InOrder(static_order)):
        first = [next(policy(target(either, "s2"))) for either in (one, changed)]
        assert first[0] == first[1]


def test_regret_rank_and_shares_of_the_cost():
    one = made()
    rows = replay(one, {"largest": InOrder(largest), "scorer s": InOrder(Scorer("s"))}).set_index(
        ["dataset", "policy", "budget", "amount"]
    )
    assert rows.regret["s0", "largest", "results", 1] == pytest.approx(0.3)  # a: .5, of at most .8
    assert rows.regret["s0", "largest", "results", 3] == pytest.approx(0.1)
    assert rows["rank"]["s0", "largest", "results", 2] == 3
    assert rows.relative["s0", "largest", "results", 1] == pytest.approx(2)  # a random model is .15 below the best
    assert rows.regret["s0", "largest", "share", 0.25] == pytest.approx(0.3)  # 2.5 of 10 pay a, not b as well
    assert rows.tau_w["s0", "largest"].iloc[0] == pytest.approx(-1)
    assert set(rows.winner) == {"a"}
    assert set(rows.best) == {"d"}
    assert ("s0", "largest", "results", 5) not in rows.index


def test_the_largest_is_not_named_where_few_sizes_are_known():
    known = made().facts
    for count, first in ((2, True), (1, False)):
        facts = known.assign(parameters=known.parameters.where(np.arange(len(known)) < count))
        one = replace(made(), facts=facts)
        assert bool(list(InOrder(largest)(target(one, "s0")))) is first


def test_random_is_the_mean_of_many_plays():
    rows = replay(made(sets=40), {"random": random})
    first = rows.loc[(rows.budget == "results") & (rows.amount == 1)]
    assert first.relative.mean() == pytest.approx(1, abs=0.1)
    assert first.tau_w.isna().all()
    assert set(first.winner) == {""}


@pytest.mark.parametrize("policy", [Halving(), Believing(race=True)])
def test_with_curves_the_best_is_found_before_all_are_trained(policy):
    one = made()
    assert play(policy, one, target(one, "s0"))[-1].pick == "d"
    assert play(policy, one, target(one, "s0"))[-1].cost < 10


def test_halving_needs_curves_and_memory_needs_something_to_remember():
    one = made(curves=False)
    assert play(Halving(), one, target(one, "s0")) == []
    strangers = made()
    strangers.accuracy.loc[:, ["s1", "s2", "s3"]] = np.nan
    assert play(Believing(), strangers, target(strangers, "s0")) == []


@pytest.mark.parametrize(("name", "expected"), [("supervised", 0.837), ("self_supervised", 0.685)])
def test_the_static_order_of_the_published_hubs(name, expected):
    rows = published_rows(ROOT / "experiments/truth/published.csv")
    rows = rows.loc[(rows.hub == name) & (rows.protocol == "full"), ["dataset", "model", "accuracy"]]
    judged = replay(hub(rows, name), {"static order": InOrder(static_order)})
    assert judged.groupby("dataset").tau_w.first().mean() == pytest.approx(expected, abs=5e-4)
