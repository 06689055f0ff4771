"""The race of `stage=recommend`, replayed on the learning curves of measured truth: regret against what was spent.

    python experiments/benchmarks/race.py > experiments/benchmarks/race.csv

For each protocol, data set and seed of experiments/truth/curves.csv the rules of conf/stage/recommend.yaml are played
with the values on val that were really seen and the seconds that the trainings really took, beginning with the
accuracies on the other data sets by that protocol as memory (none where there is one set) and with the scores of
experiments/truth/scores.csv (column `scorers`: of the stage's those that have some; none, to see what they bring).
Models are compared after a tenth, a third and all of the steps (the race as it is) or after a third and all. The
regret is that of the pick on test, in points of accuracy, beside that of a model drawn at random. Learning rates that
the truth did not try cannot be played: a race might walk on to them. `regret` takes the pick for trained to its end;
`regret_as_is` is of the network at hand, which may be a head on frozen features (its linear probe on test stands for
it), against the best of all networks and heads; there is none where the pick was left in between, not measured on test.
"""

import itertools
import sys
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd

from modelrank.memory.prior import believe
from modelrank.recommend.contestant import Rules, advance
from modelrank.recommend.diary import Diary
from modelrank.recommend.executors import InTurn
from modelrank.recommend.race import Race

TRUTH = Path(__file__).parents[1] / "truth"
RATES = (1e-7, 3e-7, 1e-6, 3e-6, 1e-5, 3e-5, 1e-4, 3e-4, 1e-3, 3e-3, 1e-2)  # of both protocols
HEAD = 40.0  # CPU seconds of a head: one pass over train and val, one fit
RUNGS = {  # of each protocol, as near to the shares of the race as its curves have values
    "finetune_random_head": ((24, 80, 240), (80, 240)),
    "finetune_offline": ((0, 20, 80, 240), (0, 80, 240)),
}
WIDTHS = {0: 1, 20: 3, 24: 3, 80: 2, 240: 2}  # learning rates that go on to each rung
SCORERS = {"none": [], "quick": ["disco", "logme"]}  # of conf/scorer/quick.yaml those in scores.csv
SHARES = (0.05, 0.1, 0.15, 0.2, 0.25, 0.35, 0.5, 1.0)


class Recorded:
    """Trainings that were done before, told again; what was not tried, or not further, says so."""

    def __init__(self, curves: pd.DataFrame, heads: pd.Series, rules: Rules) -> None:
        """heads: value on val of each model's linear probe, a little above that of the protocol's own head."""
        self.now, self.heads, self.rules = 0.0, heads, rules
        self.curve: dict[tuple[str, float], dict[int, tuple[float, float]]] = {}
        self.trained: dict[tuple[str, float], float] = {}  # seconds of what was trained already
        for row in curves.itertuples():
            steps, seconds, values = (
                list(map(float, str(cell).split())) for cell in (row.step, row.trained_seconds, row.value)
            )
            known = self.curve.setdefault((row.model, row.lr), {})
            known |= {int(step): (value, spent) for step, spent, value in zip(steps, seconds, values, strict=True)}

    def clock(self) -> float:
        return self.now

    def advance(self, model, rung, before):
        return advance(self.rules, rung, before, lambda point, **place: Told(self, model, point["lr"]))


class Told:
    """A training in the past; in the place of truth.arm.Arm."""

    def __init__(self, world: Recorded, model: str, rate: float) -> None:
        self.world, self.key = world, (model, rate)

    def advance(self, until):
        if until == 0:
            self.world.now += HEAD
            return {"curve": [[0, 0.0, self.world.heads[self.key[0]]]]}
        known = self.world.curve.get(self.key, {})
        if until not in known:
            return {"failed": "not measured"}
        value, seconds = known[until]
        self.world.now += max(0.0, seconds - self.world.trained.get(self.key, 0.0))
        self.world.trained[self.key] = max(seconds, self.world.trained.get(self.key, 0.0))
        return {"curve": [[until, seconds, value]]}

    def clear(self):
        self.world.trained.pop(self.key, None)


def play(curves, heads, accuracy, belief, rungs, share, seed):
    points = [{"lr": rate, "wd": 0.0} for rate in RATES]
    rules = Rules(rungs, [WIDTHS[rung] for rung in rungs], 3e-4, 0.02, points, "max", floor=True)
    world = Recorded(curves, heads, rules)
    models = list(accuracy.index)
    pace = {
        m: np.median([spent / at for (n, _), c in world.curve.items() if n == m for at, (_, spent) in c.items()])
        for m in models
    }
    noise = lambda v: np.sqrt(max(v * (1 - v), 0.02) / 500)  # noqa: E731
    race = Race(models, belief, rules, pace, dict.fromkeys(models, HEAD), noise, seed=seed)
    budget = share * race.everything() / 1.5  # before any trial a race expects half as much again as was probed
    with tempfile.TemporaryDirectory() as folder:
        race.run(InTurn(world.advance), Diary(Path(folder), world.clock), budget, sure=1.0)
    return race, world.now / race.everything()


def main():
    curves = pd.read_csv(TRUTH / "curves.csv").query("protocol in @RUNGS")
    rows_of_all = pd.read_csv(TRUTH / "measured.csv")
    scores = {
        name: own.pivot(index="model", columns="scorer", values="score")
        for name, own in pd.read_csv(TRUTH / "scores.csv").groupby("dataset")
    }
    rows = rows_of_all.loc[rows_of_all.protocol_id.isin(curves.protocol_id)]
    out = []
    for (protocol, dataset, seed), own in curves.groupby(["protocol", "dataset", "seed"]):
        same = rows.loc[rows.protocol == protocol]
        table = same.pivot_table(index="model", columns="dataset", values="accuracy")
        probed = rows_of_all.loc[(rows_of_all.protocol == "linear_probe_offline") & (rows_of_all.dataset == dataset)]
        probes = probed.drop_duplicates("model").set_index("model")
        accuracy = same.loc[(same.dataset == dataset) & (same.seed == seed)].set_index("model").accuracy
        if accuracy.empty:  # of a second seed, which lies in a table of its own
            continue
        elsewhere = table.drop(columns=dataset).reindex(accuracy.index)
        told = {name: scores[name].reindex(accuracy.index) for name in (dataset, *elsewhere)}
        for rungs, (kind, names), share in itertools.product(RUNGS[protocol], SCORERS.items(), SHARES):
            own_scores = told[dataset].reindex(columns=names)
            belief = believe(elsewhere, scores=own_scores, scores_elsewhere={name: told[name] for name in elsewhere})
            race, spent = play(own, probes.val_accuracy, accuracy, belief, rungs, share, seed)
            pick = race.pick()
            at = race.at_hand().get(pick)
            on_test = {rung: known for rung, known in ((0, probes.accuracy), (rungs[-1], accuracy)) if rung in rungs}
            as_is = on_test[at.steps][pick] if at and at.steps in on_test else np.nan
            out.append(
                {
                    "protocol": protocol,
                    "dataset": dataset,
                    "seed": seed,
                    "models": len(accuracy),
                    "remembered": elsewhere.shape[1],
                    "scorers": kind,
                    "rungs": " ".join(map(str, rungs)),
                    "budget": share,
                    "spent": spent,
                    "pick": pick,
                    "steps": at.steps if at else 0,
                    "val": at.value if at else np.nan,
                    "regret": 100 * (accuracy.max() - accuracy[pick]),
                    "regret_as_is": 100 * (max(known.max() for known in on_test.values()) - as_is),
                    "random_regret": 100 * (accuracy.max() - accuracy.mean()),
                    "certainty": race.certainty(),
                }
            )
    pd.DataFrame(out).round(3).to_csv(sys.stdout, index=False)


if __name__ == "__main__":
    main()
