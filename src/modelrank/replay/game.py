"""Play a policy on a data set whose answers are known, the data set itself left out of all that it may know."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from modelrank.ranking.agreement import weighted_tau
from modelrank.replay.hubs import Hub
from modelrank.replay.policies import Policy, Target
from modelrank.types import ModelRankError

RESULTS = (1, 2, 3, 5, 10)  # trainings to the end
SHARES = (0.01, 0.02, 0.05, 0.1, 0.15, 0.2, 0.25, 0.5)  # of the cost of training all models to the end
DRAWS = 20  # of policies that draw lots


@dataclass(frozen=True)
class Step:
    """After a trial: cost so far, trainings ended so far, the model that would be picked now."""

    cost: float
    ended: int
    pick: str


def target(hub: Hub, dataset: str, rng: np.random.Generator) -> Target:
    """What may be known of a data set of the hub before anything is trained on it."""
    models = [str(model) for model in hub.accuracy.index[hub.accuracy[dataset].notna()]]
    others = [name for name in hub.accuracy if name != dataset]
    shares = [share for share, table in hub.curves.items() if table.loc[models, dataset].notna().all()]
    return Target(
        dataset=dataset,
        models=models,
        elsewhere=hub.accuracy.loc[models, others],
        cost=hub.cost.loc[models, dataset],
        scores=hub.scores.get(dataset, pd.DataFrame()).reindex(models),
        scores_elsewhere={name: table.reindex(models) for name, table in hub.scores.items() if name != dataset},
        facts=hub.facts.reindex(models),
        shares=(*shares, 1.0),
        rng=rng,
    )


def play(policy: Policy, hub: Hub, known: Target) -> list[Step]:
    """The steps of a search, until it stops or nothing can change the pick any more; empty where it tries nothing.

    The pick is the best on val of those trained furthest. A training that is looked at twice is paid for once.
    """
    seen, curves = hub.seen[known.dataset], {share: table[known.dataset] for share, table in hub.curves.items()}
    champion = seen.loc[known.models].max()
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
        if model not in known.models or not (share == 1 or share in curves):
            raise ModelRankError(f"the policy asks for {model} at {share} of its training, which {hub.name} has not")
        if not steps:
            steps.append(Step(0.0, 0, model))  # the name that a budget of nothing gets
        cost += known.cost[model] * max(0.0, share - reached.get(model, 0.0))
        answer = float(seen[model] if share == 1 else curves[share][model])
        if share >= reached.get(model, 0.0):
            reached[model], found[model] = share, answer
        ended += share == 1
        furthest = max(reached.values())
        pick = max((name for name in reached if reached[name] == furthest), key=found.__getitem__)
        steps.append(Step(cost, ended, pick))
        if furthest == 1 and found[pick] == champion:
            return steps


def judged(hub: Hub, known: Target, steps: Sequence[Step]) -> list[dict[str, Any]]:
    """Regret (units of accuracy) and rank of the pick after numbers of results and at shares of the full cost."""
    accuracy = hub.accuracy.loc[known.models, known.dataset]
    best, full = float(accuracy.max()), float(known.cost.sum())
    rows = []

    def row(budget: str, amount: float, pick: str) -> None:
        value = float(accuracy[pick])
        rows.append(
            {"budget": budget, "amount": amount, "regret": best - value, "rank": 1 + int((accuracy > value).sum())}
        )

    for count in RESULTS:
        if steps[-1].ended and count <= len(known.models):
            row("results", count, next((step for step in steps if step.ended >= count), steps[-1]).pick)
    for share in (0.0, *SHARES):
        row("share", share, [step for step in steps if step.cost <= share * full * (1 + 1e-9)][-1].pick)
    return rows


def replay(hub: Hub, policies: Mapping[str, Policy], *, seed: int = 0) -> pd.DataFrame:
    """Rows hub, modality, dataset, policy, models, budget, amount, regret, rank, relative, tau_w: all data sets, each
    left out in turn.

    relative: the regret over that of one model drawn at random. tau_w: agreement of a policy's first order with the
    accuracies, where it has one; NaN where not.
    """
    rows: list[dict[str, Any]] = []
    for dataset in hub.accuracy:
        accuracy = hub.accuracy[dataset].dropna()
        by_chance = float(accuracy.max() - accuracy.mean())
        for name, policy in policies.items():
            known = target(hub, str(dataset), np.random.default_rng(seed))
            draws = DRAWS if name == "random" else 1
            played = [play(policy, hub, known) for _ in range(draws)]
            if not all(played):
                continue
            table = pd.DataFrame([row for steps in played for row in judged(hub, known, steps)])
            table = table.groupby(["budget", "amount"], as_index=False, sort=False).mean()
            facts = {"hub": hub.name, "modality": hub.modality, "dataset": dataset, "policy": name}
            tau = _tau(policy, known, accuracy)
            rows += [
                facts
                | {"models": len(accuracy)}
                | row
                | {"relative": row["regret"] / by_chance if by_chance else 0.0, "tau_w": tau}
                for row in table.to_dict("records")
            ]
    return pd.DataFrame(rows)


def _tau(policy: Policy, known: Target, accuracy: pd.Series) -> float:
    order = getattr(policy, "order", None)
    values = order(known).dropna() if order else pd.Series(dtype=float)
    return float(weighted_tau(values, accuracy[values.index])) if len(values) > 2 else float("nan")
