"""A race of models under a budget: which to train next and how far, by what is believed of all of them.

Every trial is one model up to its next rung. Until one has come to its end it is the model expected to be best, of
equals the cheapest; an improvement would be one on a guess, and what the data set makes easy or hard moves all models
alike. From then on it is the one whose training promises most per second: the expected improvement on the best so far
(the belief's, so that what was found of one model tells of those like it), over the seconds that training it to the end
still costs. What it takes to bring the one expected to be best to its end is kept back.
"""

from __future__ import annotations

import platform
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean, median

import numpy as np

from modelrank.memory.belief import Belief, Posterior, Result, chance_nothing_better
from modelrank.recommend.contestant import Rules, best
from modelrank.recommend.diary import Diary, Trial
from modelrank.recommend.executors import Executor

HEAD = 0.05  # what a head on frozen features says of the model's end, as a share of its training; nothing was fitted


@dataclass(frozen=True)
class Race:
    """models: in the order of the belief; not all need be had, those that are left out tell of the others.
    step_seconds: of one training step of each that can be had, as probed; head_seconds: of the head that a training
    starts from, as estimated; trials correct both.

    noise: sd of the error of a value on val, a function of the value. point: a difference that matters, in units of
    the metric.
    """

    models: Sequence[str]
    belief: Belief
    rules: Rules
    step_seconds: Mapping[str, float]
    head_seconds: Mapping[str, float]
    noise: Callable[[float], float]
    point: float = 0.01
    seed: int = 0
    trials: list[Trial] = field(default_factory=list)

    @property
    def had(self) -> list[str]:
        """The models that can be had."""
        return [name for name in self.models if name in self.step_seconds]

    def predicted(self) -> Posterior:
        """What is believed of all models after the trials so far.

        All values have the error of one at their level, the mean of what the models came to: each by its own error, the
        luckiest would count most.
        """
        end, valued = self.rules.rungs[-1], self._valued()
        lasts = {trial.model: value for trial, value in valued}
        noise = self.noise(fmean(lasts.values())) if lasts else 0.0
        return self.belief.given(
            [
                Result(self.models.index(one.model), value, max(self.rules.rungs[one.rung] / end, HEAD), noise)
                for one, value in valued
            ]
        )

    def _valued(self) -> list[tuple[Trial, float]]:
        """By model and rung: which of them came first must not decide, by a rounding, between two that are equal."""
        ordered = sorted(self.trials, key=lambda trial: (self.models.index(trial.model), trial.rung))
        return [(trial, trial.value) for trial in ordered if trial.value is not None]

    def last(self, model: str) -> Trial | None:
        """Its trial that went furthest."""
        return next((trial for trial in reversed(self.trials) if trial.model == model), None)

    def finished(self) -> dict[str, float]:
        """Values on val of the models that were trained to the end."""
        end = len(self.rules.rungs) - 1
        ends = [one for one in self.trials if one.rung == end and one.model in self.step_seconds]
        return {one.model: one.value for one in ends if one.value is not None}

    def alive(self) -> list[str]:
        """Models whose training has not failed. The others are no rivals: they cannot be had."""
        return [name for name in self.had if (last := self.last(name)) is None or last.value is not None]

    def rivals(self) -> list[str]:
        """The pick and those alive."""
        those = {self.pick(), *self.alive()}
        return [name for name in self.models if name in those]

    def open(self) -> list[str]:
        """Models that can be trained further."""
        end = len(self.rules.rungs) - 1
        return [name for name in self.alive() if (last := self.last(name)) is None or last.rung < end]

    def pick(self) -> str:
        """Of the networks at hand the one expected to be best; before any trial the model expected to be best.

        Not the best on val: among several models of about the same accuracy that is the luckiest on these images.
        """
        if worth := self.worth():
            return max(worth, key=lambda model: worth[model])
        expected = dict(zip(self.models, self.predicted().mean, strict=True))
        return max(self.alive() or self.had, key=lambda model: expected[model])

    def worth(self) -> dict[str, float]:
        """Accuracy that the networks at hand are expected to have as they are: what val says, without its error."""
        true = {id(one): value for (one, _), value in zip(self._valued(), self.predicted().true_values, strict=True)}
        return {model: float(true[id(trial)]) for model, trial in self.at_hand().items()}

    def at_hand(self) -> dict[str, Trial]:
        """Of each model the trial whose network there is: its last, or its head alone where that is better on val."""
        alive = [trial for trial, _ in self._valued() if trial.model in self.step_seconds]
        heads = {trial.model: trial for trial in alive if trial.rung < self.rules.opening}
        lasts = {trial.model: trial for trial in alive}  # of trainings only the last checkpoint is kept
        return {
            model: max((last, heads.get(model, last)), key=lambda trial: trial.value or 0.0)
            for model, last in lasts.items()
        }

    def cost(self, model: str, *, to_end: bool = False) -> float:
        """Expected seconds of its next trial, or of all until its end."""
        last = self.last(model)
        rung, found = (0, None) if last is None else (last.rung + 1, last.found)
        steps = self.rules.steps(rung, found)
        if to_end:
            steps += sum(self.rules.steps(further, None) for further in range(rung + 1, len(self.rules.rungs)))
        return steps * self._pace(model) + (self._head_seconds(model) if rung < self.rules.opening else 0.0)

    def everything(self) -> float:
        """Expected seconds of training every model to the end, by the same rules."""
        full = sum(self.rules.steps(rung, None) for rung in range(len(self.rules.rungs)))
        heads = sum(map(self._head_seconds, self.had)) if self.rules.opening else 0.0
        return sum(full * self._pace(model) for model in self.had) + heads

    def choose(self, remaining: float, running: Collection[str] = ()) -> str | None:
        """The model to train next, beside those that are `running`; None: nothing that is left fits into `remaining`
        seconds."""
        predicted, names = self.predicted(), list(self.models)
        open_ = [model for model in self.open() if model not in running and self.cost(model) <= remaining]
        if not open_:
            return None
        expected = dict(zip(names, predicted.mean, strict=True))
        ends = self.finished()
        incumbent = max((expected[model] for model in ends), default=None)
        if incumbent is None:
            wish = max(open_, key=lambda model: (expected[model], -self.cost(model, to_end=True)))
        else:
            gain = dict(zip(names, predicted.improvement(incumbent), strict=True))
            wish = max(open_, key=lambda model: gain[model] / self.cost(model, to_end=True))
        last = self.likeliest(predicted, remaining, running)  # the one that would be taken to its end now
        if last is None:  # no model can be: look as long as something fits
            return wish
        if incumbent is not None and expected[last] <= incumbent:
            return wish
        if wish != last and self.cost(wish) + self.cost(last, to_end=True) > remaining:
            return last
        return wish

    def likeliest(self, predicted: Posterior, remaining: float, running: Collection[str] = ()) -> str | None:
        """Of the models that can still be trained to their end, the one expected to be best; started ones first."""
        ready = [one for one in self.open() if one not in running and self.cost(one, to_end=True) <= remaining]
        started = [model for model in ready if self.last(model) is not None]
        names = list(self.models)
        return max(started or ready, key=lambda model: predicted.mean[names.index(model)], default=None)

    def certainty(self, count: int = 2000) -> float:
        """The chance that none of its rivals is better than the pick by more than `point`."""
        names, drawn = self._drawn(count)
        return chance_nothing_better(drawn, drawn[:, names.index(self.pick())], self.point)

    def _drawn(self, count: int) -> tuple[list[str], np.ndarray]:
        """The rivals, and accuracies at their ends, count x rivals."""
        names, drawn = self.rivals(), self.predicted().samples(count, np.random.default_rng(self.seed))
        return names, drawn[:, [list(self.models).index(name) for name in names]]

    def more(self, wanted: float, count: int = 2000) -> float | None:
        """Seconds of training after which `certainty` is expected to be `wanted`; None where it is already, or where no
        training that is left would do: what val says of those at their end stays as sure as it is.

        By training, one after the other, those that are most often better than the pick; what is trained is known.
        """
        names, drawn = self._drawn(count)
        chosen, seconds = [names.index(self.pick())], 0.0
        rest = [model for model in self.open() if names.index(model) not in chosen]
        while chance_nothing_better(drawn, drawn[:, chosen].max(1), self.point) < wanted:
            if not rest:
                return None
            top = drawn[:, chosen].max(1) + self.point
            often = {model: float((drawn[:, names.index(model)] > top).mean()) for model in rest}
            worth = max(rest, key=lambda model: often[model] / self.cost(model, to_end=True))
            rest.remove(worth)
            chosen.append(names.index(worth))
            seconds += self.cost(worth, to_end=True)
        return seconds or None

    def run(self, executor: Executor, diary: Diary, budget: float, sure: float) -> str:
        """Trials until `certainty` is `sure` with the pick at its end, or `diary.spent` would pass `budget` seconds.

        Returns why there is no further one.
        As many at a time as the executor has workers; what is running when it is sure is left to be cut off.
        """
        # What an error ended is tried again: a full disk or a damaged file is mended by now. What diverged is known.
        self.trials[:] = [trial for trial in diary.trials if trial.model in self.models and trial.found]
        began: dict[str, float] = {}  # of the models in training
        while not (self.pick() in self.finished() and self.certainty() >= sure):
            while len(began) < executor.workers and (model := self.choose(budget - diary.spent, began)):
                last = self.last(model)
                began[model] = diary.clock()
                executor.start(model, *((0, None) if last is None else (last.rung + 1, last.found)))
            if not began:
                return "what is left of the budget is too short for another one" if self.open() else "none is left"
            with diary.working():
                model, rung, found, reason = executor.wait()
            first = best(self.rules, found)
            trial = Trial(
                model=model,
                rung=rung,
                steps=self.rules.rungs[rung],
                found=found,
                value=first[1] if first else None,
                lr=self.rules.points[first[0]]["lr"] if first else None,
                seconds=diary.clock() - began.pop(model),
                reason=reason or ("" if first else "; ".join(str(one.get("failed", "")) for one in found.values())),
            )
            diary.add(trial)
            self.trials.append(trial)
        return f"the certainty wanted, {sure:g}, is reached"

    def _pace(self, model: str) -> float:
        """Seconds a training step, looks at val and checkpoints included: its own where it was trained, else as probed
        and corrected by what the others took."""
        own = self._seconds_and_steps(model)
        if own[1]:
            return own[0] / own[1]
        others = [(*self._seconds_and_steps(name), probed) for name, probed in self.step_seconds.items()]
        ratios = [seconds / steps / probed for seconds, steps, probed in others if steps]
        return self.step_seconds[model] * (median(ratios) if ratios else 1.5)

    def _head_seconds(self, model: str) -> float:
        """Seconds of the head: as estimated, corrected by what the others' took."""
        heads = [trial for trial in self.trials if trial.rung < self.rules.opening and _here(trial)]
        took = {trial.model: trial.seconds for trial in heads}
        ratios = [took[name] / estimated for name, estimated in self.head_seconds.items() if name in took]
        return took.get(model, self.head_seconds[model] * (median(ratios) if ratios else 1.5))

    def _seconds_and_steps(self, model: str) -> tuple[float, int]:
        """Of the training steps that it has had on this machine; what its head took is not counted."""
        seconds, steps = 0.0, 0
        known: set[int] = set()
        for trial in self.trials:
            if trial.model == model and trial.rung >= self.rules.opening:
                reached = self.rules.rungs[trial.rung - 1] if trial.rung else 0
                if _here(trial):
                    seconds += trial.seconds
                    steps += sum(self.rules.rungs[trial.rung] - reached * (index in known) for index in trial.found)
                known = {*trial.found}
        return seconds, steps


def _here(trial: Trial) -> bool:
    """Whether its seconds tell of those to come: a race may go on at another machine."""
    return trial.machine == platform.node()
