"""Play a policy on a data set whose answers are known, the data set itself left out of all that it may know."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from modelrank.ranking.agreement import weighted_tau
from modelrank.replay.hubs import Hub
from modelrank.replay.policies import Policy, Target
from modelrank.types import ModelRankError

RESULTS = (1, 2, 3, 5, 10)  # trainings to the end
SHARES = (0.0, 0.01, 0.02, 0.05, 0.1, 0.15, 0.2, 0.25)  # of the cost of training all models to the end
DRAWS = 20  # plays of a policy that draws lots


@dataclass(frozen=True)
class Step:
    """After a trial: cost so far, trainings ended so far, the model that would be picked now."""

    cost: float
    ended: int
    pick: str


def target(hub: Hub, dataset: str) -> Target:
    """What may be known of a data set of the hub before anything is trained on it."""
    models = [str(model) for model in hub.accuracy[dataset].dropna().index]
    others = [name for name in hub.accuracy if name != dataset]
    shares = [share for share, table in hub.curves.items() if table.loc[models, dataset].notna().all()]
    return Target(
        dataset=dataset,
        models=models,
        elsewhere=hub.accuracy.loc[models, others],
        curves_elsewhere={share: table.loc[models, others] for share, table in hub.curves.items()},
        cost=hub.cost.loc[models, dataset],
        scores=hub.scores.get(dataset, pd.DataFrame()).reindex(models),
        scores_elsewhere={name: table.reindex(models) for name, table in hub.scores.items() if name != dataset},
        facts=hub.facts.reindex(models),
        shares=(*shares, 1.0),
        rng=np.random.default_rng(0),
    )


def play(policy: Policy, hub: Hub, known: Target) -> list[Step]:
    """The steps of a search, until it stops or nothing that is judged can change any more; none where it tries nothing.

    The pick is the best on val of those trained furthest. A training that is looked at twice is paid for once.
    """
    answers = {share: hub.curves[share][known.dataset].to_dict() for share in known.shares[:-1]}
    answers[1.0] = hub.seen[known.dataset].to_dict()
    champion = max(answers[1.0][model] for model in known.models)
    price, full = known.cost.to_dict(), float(known.cost.sum())
    reached: dict[str, float] = {}
    found: dict[str, float] = {}
    steps: list[Step] = []
    cost, ended, trials = 0.0, 0, policy(known)
    answer: float | None = None
    while True:
        try:
            trial = next(trials) if answer is None else trials.send(answer)
        except StopIteration:
            return steps
        model, share = trial if isinstance(trial, tuple) else (trial, 1.0)
        if model not in price or share not in answers:
            raise ModelRankError(f"the policy asks for {model} at {share} of its training, which {hub.name} has not")
        if not steps:
            steps.append(Step(0.0, 0, model))  # the name that a budget of nothing gets
        cost += price[model] * max(0.0, share - reached.get(model, 0.0))
        answer = float(answers[share][model])
        ended += share == 1 and reached.get(model) != 1
        if share >= reached.get(model, 0.0):
            reached[model], found[model] = share, answer
        furthest = max(reached.values())
        pick = max((name for name in reached if reached[name] == furthest), key=found.__getitem__)
        steps.append(Step(cost, ended, pick))
        if (furthest == 1 and found[pick] == champion) or (ended >= RESULTS[-1] and cost > SHARES[-1] * full):
            return steps


def judged(accuracy: pd.Series, full: float, steps: Sequence[Step]) -> list[dict[str, Any]]:
    """Regret (units of accuracy) and rank of the pick after numbers of results and at shares of the full cost."""
    value, best = accuracy.to_dict(), float(accuracy.max())
    ranks = accuracy.rank(ascending=False, method="min").to_dict()
    picks: list[tuple[str, float, str]] = []
    for count in RESULTS:
        if steps[-1].ended and count <= len(value):
            picks.append(("results", count, next((step for step in steps if step.ended >= count), steps[-1]).pick))
    for share in SHARES:
        picks.append(("share", share, [step for step in steps if step.cost <= share * full * (1 + 1e-9)][-1].pick))
    return [
        {"budget": budget, "amount": amount, "regret": best - value[pick], "rank": ranks[pick]}
        for budget, amount, pick in picks
    ]


def replay(hub: Hub, policies: Mapping[str, Policy], *, seed: int = 0) -> pd.DataFrame:
    """Rows hub, modality, dataset, policy, models, budget, amount, regret, rank, relative, tau_w, winner, best: all
    data sets, each left out in turn.

    relative: the regret over that of one model drawn at random. tau_w: agreement of a policy's first order with the
    accuracies, and winner: the first of that order, where it has one; NaN and "" where not. best: the best model.
    """
    rows: list[dict[str, Any]] = []
    for number, dataset in enumerate(map(str, hub.accuracy)):
        known = target(hub, dataset)
        accuracy = hub.accuracy.loc[known.models, dataset]
        full, by_chance = float(known.cost.sum()), float(accuracy.max() - accuracy.mean())
        for name, policy in policies.items():
            played = _plays(policy, hub, known, [seed, number])
            if not all(played):
                continue
            tables = [judged(accuracy, full, steps) for steps in played]
            order = _order(policy, known)
            first = {"tau_w": float(weighted_tau(order, accuracy[order.index])) if len(order) > 2 else float("nan")}
            first |= {"winner": str(order.idxmax()) if len(order) else "", "best": str(accuracy.idxmax())}
            for alike in zip(*tables, strict=True):
                row = alike[0] | {key: float(np.mean([one[key] for one in alike])) for key in ("regret", "rank")}
                relative = row["regret"] / by_chance if by_chance else 0.0
                facts = {"hub": hub.name, "modality": hub.modality, "dataset": dataset, "policy": name}
                rows.append(facts | {"models": len(accuracy)} | row | {"relative": relative} | first)
    return pd.DataFrame(rows)


def _plays(policy: Policy, hub: Hub, known: Target, seed: Sequence[int]) -> list[list[Step]]:
    """One play, or DRAWS of them where the first one drew lots."""
    rng = np.random.default_rng(seed)
    before = rng.bit_generator.state
    first = play(policy, hub, replace(known, rng=rng))
    draws = 0 if rng.bit_generator.state == before else DRAWS - 1
    return [first, *(play(policy, hub, replace(known, rng=rng)) for _ in range(draws))]


def _order(policy: Policy, known: Target) -> pd.Series:
    """What the policy ranks the models by before the first result, where it does; empty where not."""
    order = getattr(policy, "order", None)
    return order(known).dropna() if order else pd.Series(dtype=float)
