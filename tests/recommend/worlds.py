"""Models whose trainings take no time: what a race is played on."""

from dataclasses import replace

import numpy as np

from modelrank.memory.belief import Belief
from modelrank.recommend.contestant import Rules
from modelrank.recommend.executors import InTurn
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
