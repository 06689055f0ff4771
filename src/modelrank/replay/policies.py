"""Ways to look for the best model of a hub, each a function of what may be known before any training.

A policy is a generator: it yields what to train next, a model or (model, share of its training), and is sent what that
gave on val. It may stop; `modelrank.replay.game` keeps the account and names the pick. A policy of your own, here in a
file my_policies.py that Python finds (PYTHONPATH),

    def smallest_first(target):
        for model in target.facts.parameters.sort_values().index:
            value = yield model

and a YAML conf/policy/mine.yaml,

    # @package stage.policies.mine
    _target_: my_policies.smallest_first
    _partial_: true

are replayed beside the others by `python run.py stage=replay +policy=mine`.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from modelrank.memory.belief import Belief, Posterior, Result
from modelrank.memory.prior import believe, mean_rank

Trial = str | tuple[str, float]
Play = Generator[Trial, float, None]
Policy = Callable[["Target"], Play]


@dataclass(frozen=True)
class Target:
    """One data set, before anything is trained on it.

    elsewhere: models x other data sets, accuracies; curves_elsewhere: share of the training -> the same after it.
    cost: of training each model to its end.
    scores: models x scorers here; scores_elsewhere: data set -> the same there. facts: models x metadata.
    shares: at which a training can be looked at, ascending; the last is 1.
    """

    dataset: str
    models: list[str]
    elsewhere: pd.DataFrame
    curves_elsewhere: Mapping[float, pd.DataFrame]
    cost: pd.Series
    scores: pd.DataFrame
    scores_elsewhere: Mapping[str, pd.DataFrame]
    facts: pd.DataFrame
    shares: tuple[float, ...]
    rng: np.random.Generator


def random(target: Target) -> Play:
    """Any order."""
    for model in target.rng.permutation(target.models):
        yield str(model)


@dataclass(frozen=True)
class InOrder:
    """From the highest value of `order` to the lowest; where it knows no model, nothing is tried."""

    order: Callable[[Target], pd.Series]

    def __call__(self, target: Target) -> Play:
        for model in self.order(target).dropna().sort_values(ascending=False, kind="stable").index:
            yield str(model)


def largest(target: Target) -> pd.Series:
    """By the number of parameters."""
    return _fact(target, "parameters")


def imagenet_accuracy(target: Target) -> pd.Series:
    """By published accuracy on ImageNet."""
    return _fact(target, "imagenet_accuracy")


def static_order(target: Target) -> pd.Series:
    """By minus the mean rank on the other data sets."""
    return -mean_rank(target.elsewhere)


@dataclass(frozen=True)
class Scorer:
    """By the scorer of that name."""

    name: str

    def __call__(self, target: Target) -> pd.Series:
        return pd.Series(target.scores.get(self.name), dtype=float)


@dataclass(frozen=True)
class Halving:
    """Successive halving (Jamieson and Talwalkar, 2016): all to the first share, the better third to the next, ..."""

    keep: float = 1 / 3

    def __call__(self, target: Target) -> Play:
        alive = list(target.models)
        if len(target.shares) == 1:
            return
        for share in target.shares:
            found = {}
            for model in alive:
                found[model] = yield model, share
            alive = sorted(found, key=lambda model: -found[model])[: max(1, round(len(found) * self.keep))]


@dataclass(frozen=True)
class Believing:
    """Train on what has the largest expected improvement; think anew after each result.

    scores, race: use scorers' values, and look at trainings at every share that can be seen before going on with them.
    """

    scores: bool = False
    race: bool = False
    use_facts: bool = False
    order: Callable[[Target], pd.Series] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "order", lambda target: pd.Series(self.belief(target).mean, index=target.models))

    def belief(self, target: Target) -> Belief:
        """Before the first result."""
        with_scores = self.scores and len(target.scores.columns) > 0
        return believe(
            target.elsewhere,
            scores=target.scores if with_scores else None,
            scores_elsewhere=target.scores_elsewhere if with_scores else None,
            facts=target.facts if self.use_facts else None,
        )

    def __call__(self, target: Target) -> Play:
        if not self.race and target.elsewhere.isna().all(axis=None):
            return  # nothing is remembered
        posterior, shares = self.belief(target).given(), target.shares if self.race else (1.0,)
        reached = np.zeros(len(target.models), dtype=int)  # of shares
        while (open_ := reached < len(shares)).any():
            model = choose(posterior, open_)
            share = shares[reached[model]]
            value = yield target.models[model], share
            posterior.add(Result(model, value, share))
            reached[model] += 1


def choose(posterior: Posterior, open_: np.ndarray) -> int:
    """The model whose training to the end is expected to improve most on the best so far; before any end, the one
    expected to be best."""
    ends = [result.value for result in posterior.results if result.share == 1]
    gain = posterior.improvement(max(ends)) if ends else posterior.mean
    return int(np.argmax(np.where(open_, gain, -np.inf)))


def _fact(target: Target, name: str) -> pd.Series:
    """Of no model where less than half of them have it: the largest of a few is not the largest."""
    known = pd.Series(target.facts.get(name), index=target.models, dtype=float)
    return known if known.notna().mean() >= 0.5 else known.iloc[:0]
