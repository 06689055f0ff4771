"""The race of `stage=recommend`, replayed on the learning curves of measured truth: regret against what was spent.

    python experiments/benchmarks/race.py > experiments/benchmarks/race.csv

For each protocol, data set and seed of experiments/truth/curves.csv the rules of conf/stage/recommend.yaml are played
with the values on val that were really seen, the seconds that the trainings really took, and the accuracies on the
other data sets by that protocol as memory (none where there is one set). Models are compared after a tenth, a third and
all of the steps (the race as it is) or after a third and all. The regret is that of the pick on test, in points of
accuracy, beside that of a model drawn at random. Learning rates that the truth did not try cannot be played: a race
might walk on to them.
"""

import itertools
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from modelrank.memory.prior import believe
from modelrank.recommend.contestant import Rules
from modelrank.recommend.diary import Diary
from modelrank.recommend.executors import InTurn
from modelrank.recommend.race import Race

TRUTH = Path(__file__).parents[1] / "truth"
RUNGS = {  # of each protocol, as near to the shares of the race as its curves have values
    "finetune_random_head": ((24, 80, 240), (80, 240)),
    "finetune_offline": ((20, 80, 240), (80, 240)),
}
WIDTHS = {3: (3, 2, 2), 2: (2, 2)}  # learning rates that go on to each rung
SHARES = (0.05, 0.1, 0.15, 0.2, 0.25, 0.35, 0.5, 1.0)


class Recorded:
    """Trainings that were done before, told again; a learning rate that was not tried further ends where it was."""

    def __init__(self, curves: pd.DataFrame, rungs: Sequence[int]) -> None:
        self.now, self.rungs = 0.0, rungs
        self.rates = sorted(curves.lr.unique())
        self.curve: dict[tuple[str, float], dict[int, tuple[float, float]]] = {}
        for row in curves.itertuples():
            steps, seconds, values = (
                list(map(float, str(cell).split())) for cell in (row.step, row.trained_seconds, row.value)
            )
            known = self.curve.setdefault((row.model, row.lr), {})
            known |= {int(step): (value, spent) for step, spent, value in zip(steps, seconds, values, strict=True)}

    def clock(self) -> float:
        return self.now

    def advance(self, model, rung, before, rules):
        step, previous = self.rungs[rung], self.rungs[rung - 1] if rung else 0
        tried = [index for index, rate in enumerate(self.rates) if (model, rate) in self.curve]
        found = {}
        for index in tried if before is None else rules.kept(rung - 1, before):
            known = self.curve[model, self.rates[index]]
            reached = max((at for at in known if at <= step), default=0)
            if reached < step:  # the truth gave it up: it is not told what it would have become
                found[index] = {"failed": "not measured further"}
                continue
            self.now += known[step][1] - (known[previous][1] if previous else 0.0)
            found[index] = {"value": known[step][0]}
        return found


def play(curves, accuracy, elsewhere, rungs, share, seed):
    world = Recorded(curves, rungs)
    models = list(accuracy.index)
    points = [{"lr": rate, "wd": 0.0} for rate in world.rates]
    rules = Rules(rungs, WIDTHS[len(rungs)], 3e-4, 0.02, points, "max")
    pace = {
        m: np.median([spent / at for (n, _), c in world.curve.items() if n == m for at, (_, spent) in c.items()])
        for m in models
    }
    race = Race(models, believe(elsewhere), rules, pace, lambda v: np.sqrt(max(v * (1 - v), 0.02) / 500), seed=seed)
    budget = share * race.everything() / 1.5  # before any trial a race expects half as much again as was probed
    with tempfile.TemporaryDirectory() as folder:
        executor = InTurn(lambda model, rung, before: world.advance(model, rung, before, rules))
        race.run(executor, Diary(Path(folder), world.clock), budget, sure=1.0)
    return race.pick(), world.now / (race.everything()), race.certainty()


def main():
    curves = pd.read_csv(TRUTH / "curves.csv")
    rows = pd.read_csv(TRUTH / "measured.csv")
    rows = rows.loc[rows.protocol_id.isin(curves.protocol_id)]
    out = []
    for (protocol, dataset, seed), own in curves.groupby(["protocol", "dataset", "seed"]):
        same = rows.loc[rows.protocol == protocol]
        table = same.pivot_table(index="model", columns="dataset", values="accuracy")
        accuracy = same.loc[(same.dataset == dataset) & (same.seed == seed)].set_index("model").accuracy
        elsewhere = table.drop(columns=dataset).reindex(accuracy.index)
        for rungs, share in itertools.product(RUNGS[protocol], SHARES):
            pick, spent, sure = play(own, accuracy, elsewhere, rungs, share, seed)
            out.append(
                {
                    "protocol": protocol,
                    "dataset": dataset,
                    "seed": seed,
                    "models": len(accuracy),
                    "remembered": elsewhere.shape[1],
                    "rungs": " ".join(map(str, rungs)),
                    "budget": share,
                    "spent": spent,
                    "pick": pick,
                    "regret": 100 * (accuracy.max() - accuracy[pick]),
                    "random_regret": 100 * (accuracy.max() - accuracy.mean()),
                    "certainty": sure,
                }
            )
    pd.DataFrame(out).round(3).to_csv(sys.stdout, index=False)


if __name__ == "__main__":
    main()
