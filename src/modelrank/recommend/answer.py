"""What a race found, in units of accuracy: a pick, how good, how sure, who is as good, what more time would bring."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.special import ndtri

from modelrank.memory.prediction import LEVEL, limits, predicted, ties
from modelrank.progress import spoken
from modelrank.recommend.probe import Probe
from modelrank.recommend.race import Race


@dataclass(frozen=True)
class Answer:
    """pick: model; expected, low, high: its accuracy and its 80 % interval, of the network that there is (that it would
    have at the end of its training, where there is none); ties: models that may be as good.
    certainty: chance that no model is better by more than a point. more: seconds until it is `wanted`; None: see
    `Race.more`.
    steps: of the training that it has had, of `steps_to_end`; at_end: what is expected at the end of all of them.
    finished: whether its training came to its end (the head alone may be better than that).
    networks: at hand, of which the pick is the one expected to be best: a model without one may promise more.
    looked_at: models that all of this is about; not_looked_at: those that the budget did not suffice to look at."""

    pick: str
    expected: float
    low: float
    high: float
    ties: Sequence[str]
    cheapest: str
    latency_ms: float
    certainty: float
    wanted: float
    more: float | None
    point: float
    steps: int
    steps_to_end: int
    at_end: float
    finished: bool
    networks: int
    looked_at: int
    not_looked_at: int

    def sentence(self) -> str:
        """All of it in words."""
        points = f"{100 * self.point:g} point{'s' * (self.point != 0.01)}"
        parts = [f"{self.pick}: {self.expected:.3f} [{self.low:.3f}, {self.high:.3f}]"]
        if self.networks:
            many = f"best expected of the {self.networks} networks" if self.networks > 1 else "only network"
            parts.append(f"the {many} at hand")
        if self.steps < self.steps_to_end:
            parts.append(
                f"after {self.steps} of the {self.steps_to_end} steps of its training, at whose end "
                f"{self.at_end:.3f} is expected"
            )
            if not self.finished:
                parts.append("for all of them give a larger budget, or this model alone to stage=finetune keep=best")
        if self.ties:
            tied = "one other" if len(self.ties) == 1 else f"{len(self.ties)} others"
            cheap = "itself" if self.cheapest == self.pick else self.cheapest
            parts.append(
                f"tied with {tied} ({', '.join(self.ties)}), the cheapest of the tied is {cheap} at "
                f"{self.latency_ms:.0f} ms an image"
            )
        among = ""
        if self.not_looked_at:
            were = "was" if self.not_looked_at == 1 else "were"
            among = (
                f", of the {self.looked_at} of {self.looked_at + self.not_looked_at} models looked at "
                f"({self.not_looked_at} {were} not, for lack of budget)"
            )
        parts.append(f"probability that no other model is better by {points} {self.certainty:.2f}{among}")
        if self.more is not None:
            parts.append(f"about {spoken(self.more)} more would raise it to {self.wanted:.2f}")
        elif self.certainty < self.wanted:
            parts.append(f"no training of these models that is left would raise it to {self.wanted:.2f}")
        return "; ".join(parts)


def answer(race: Race, probes: Mapping[str, Probe], *, metric: str, wanted: float, not_looked_at: int = 0) -> Answer:
    """Of what the race believes now. not_looked_at: models that are not in it for lack of budget. Cost: some thousand
    draws of all models together."""
    posterior, pick, rivals = race.predicted(), race.pick(), race.rivals()
    own = predicted(posterior, race.models, metric=metric, among=rivals, seed=race.seed).set_index("model").loc[pick]
    tied = ties(posterior, pick, race.models, among=rivals, seed=race.seed)
    expected, low, high = float(own.expected), float(own.low), float(own.high)
    at_hand = race.at_hand().get(pick)
    if at_hand is not None and at_hand.value is not None and race.rules.rungs[at_hand.rung] < race.rules.rungs[-1]:
        worth = race.worth()[pick]
        error = race.noise(worth) * float(ndtri((1 + LEVEL) / 2))
        expected, low, high = np.clip([worth, worth - error, worth + error], *limits(metric)).tolist()
    cheapest = min([pick, *tied], key=lambda name: probes[name].latency_ms)
    return Answer(
        pick=pick,
        expected=expected,
        low=low,
        high=high,
        ties=tied,
        cheapest=cheapest,
        latency_ms=probes[cheapest].latency_ms,
        certainty=race.certainty(),
        wanted=wanted,
        more=race.more(wanted),
        point=race.point,
        steps=race.rules.rungs[at_hand.rung] if at_hand else 0,
        steps_to_end=race.rules.rungs[-1],
        at_end=float(own.expected),
        finished=pick in race.finished(),
        networks=len(race.at_hand()),
        looked_at=len(race.had),
        not_looked_at=not_looked_at,
    )


def table(race: Race, probes: Mapping[str, Probe], *, metric: str) -> pd.DataFrame:
    """One row a model, the pick first, then the most promising: model, now, expected, low, high, val, steps, lr,
    chance_best, seconds, latency_ms, parameters, memory_gb, reason. now, val, steps, lr: of the network that there is;
    expected, low, high, chance_best: of the end of the training. Models whose training failed come last; nothing is
    expected of them."""
    rows, at_hand, now = [], race.at_hand(), race.worth()
    found = predicted(race.predicted(), race.models, metric=metric, among=race.rivals(), seed=race.seed)
    expected = found.set_index("model").reindex(race.models)
    for name in race.had:
        last = race.last(name)
        trial = at_hand.get(name, last)
        rows.append(
            {
                "model": name,
                "now": float(np.clip(now.get(name, math.nan), *limits(metric))),
                **{column: float(expected.at[name, column]) for column in ("expected", "low", "high")},
                "val": trial.value if trial and trial.value is not None else math.nan,
                "steps": trial.steps if trial else 0,
                "lr": trial.lr if trial and trial.lr is not None else math.nan,
                "chance_best": float(expected.at[name, "chance_best"]),
                "seconds": sum(one.seconds for one in race.trials if one.model == name),
                "latency_ms": probes[name].latency_ms,
                "parameters": probes[name].parameters,
                "memory_gb": probes[name].memory_gb,
                "reason": last.reason if last else "",
            }
        )
    place = {name: number for number, name in enumerate(found.model)}
    rows.sort(key=lambda row: (row["model"] != race.pick(), place.get(row["model"], len(place))))
    return pd.DataFrame(rows)
