"""Would other settings of the belief have been better? Each is chosen on all hubs but one and judged on that one.

    python experiments/settings.py > experiments/results/replay/settings.csv

The policy `recommend` of stage=replay is played on the public tables and on those measured here, with each setting of
SETTINGS at a few values, the others as they are shipped, on the hubs that it can matter on; some minutes of one core.
A value is judged by the regret, as a share of a random model's, the mean after 3 and 5 results and (`budget` share) at
5, 10 and 25 % of the cost. One row a setting, budget and hub: the value that is shipped, the one that is `chosen`
because the mean of the other hubs is lowest by it (the kin of a hub, of the same source, left out too; the shipped one
of equals), the `best` of all these hubs in hindsight, and the regret of each. The hub `all` has the means. Settings
that no table can tell of are not here: errors of values on val, what a head says, the level by probes.
"""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest.mock import patch

import pandas as pd

from modelrank.memory import belief, prior
from modelrank.replay import hubs
from modelrank.replay.game import replay
from modelrank.replay.hubs import Hub
from modelrank.replay.policies import Believing
from modelrank.truth import curves
from modelrank.truth.ledger import rows as measured_rows
from modelrank.truth.published import published_rows
from modelrank.truth.scored import rows as scored_rows

TRUTH = Path(__file__).parent / "truth"
PAPER = ("supervised", "self_supervised", "vit")  # hubs of one source
SCALE = prior.UNKNOWN_SCALE[0]
SETTINGS: dict[str, tuple[ModuleType, list[Any], Callable[[Hub], bool]]] = {
    "OWN_NOISE": (prior, [0.2, 0.3, 0.4, 0.5, 0.6], lambda hub: True),
    "SPACING": (prior, [0.0, 0.25, 0.5, 0.75, 1.0], lambda hub: True),
    "UNKNOWN": (prior, [(0.6, 0.1), (0.6, 0.25), (0.6, 0.5)], lambda hub: True),
    "UNKNOWN_SCALE": (prior, [(SCALE, 0.5), (SCALE, 1.0), (SCALE, 2.0)], lambda hub: True),
    "SCORERS_COUNT": (prior, [0.25, 0.5, 1.0, 2.0, 4.0], lambda hub: bool(hub.scores)),
    "WEIGHT_PENALTY": (prior, [3.0, 10.0, 30.0, 100.0, 300.0], lambda hub: bool(hub.scores)),
    "FACT_PENALTY": (
        prior,
        [0.1, 0.3, 1.0, 3.0, 10.0],
        lambda hub: bool(hub.facts.size and hub.accuracy.isna().any(axis=None)),
    ),
    "CURVE_NOISE": (belief, [0.25, 0.35, 0.5, 0.7, 1.0], lambda hub: bool(hub.curves)),
    "TO_GAIN": (belief, [0.25, 0.5, 1.0, 2.0, 4.0], lambda hub: bool(hub.curves)),
}
BUDGETS = {"results": (3, 5), "share": (0.05, 0.1, 0.25)}


def tables() -> list[Hub]:
    measured = [str(TRUTH / "measured.csv")]
    scores = scored_rows([str(TRUTH / "scores.csv")])
    published = published_rows(TRUTH / "published.csv")
    return hubs.shipped(TRUTH / "public", published, measured_rows(measured), scores, curves.beside(measured))


def regrets(known: list[Hub]) -> pd.Series:
    """(budget, hub) -> mean regret over its data sets and amounts."""
    policy = {"recommend": Believing(scores=True, race=True, use_facts=True)}
    rows = pd.concat([replay(hub, policy) for hub in known])
    judged = [rows.loc[(rows.budget == budget) & rows.amount.isin(amounts)] for budget, amounts in BUDGETS.items()]
    return pd.concat(judged).groupby(["budget", "hub"], sort=False).relative.mean()


def said(value: float | tuple[float, float]) -> str:
    """Of a mean and sd the sd, which is what is tried."""
    return str(value[1] if isinstance(value, tuple) else value)


def kin(hub: str) -> str:
    return "paper" if hub in PAPER else hub.replace(":", "_").split("_")[0]


def chosen(by_value: pd.DataFrame, shipped: str) -> Iterator[dict[str, Any]]:
    """by_value: hubs x values, regret."""
    families = by_value.index.map(kin)
    by_value = by_value[[shipped, *by_value.columns.drop(shipped)]]  # the first of equals is taken
    best = by_value.mean().round(9).idxmin()
    for hub, own in by_value.iterrows():
        elsewhere = by_value.loc[families != kin(str(hub))].mean().round(9).idxmin()
        values = {"shipped": shipped, "chosen": elsewhere, "best": best}
        yield {"hub": hub, **values} | {f"regret_{name}": own[value] for name, value in values.items()}


def summed_up(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows of a setting and budget, and their mean."""
    return pd.concat([rows, pd.DataFrame([{"hub": "all", **rows.mean(numeric_only=True)}])], ignore_index=True)


def main() -> None:
    known, out = tables(), []
    for name, (module, values, matters) in SETTINGS.items():
        now, own = getattr(module, name), [hub for hub in known if matters(hub)]
        by_value = {}
        for value in values:
            with patch.object(module, name, value):
                by_value[said(value)] = regrets(own)
        for budget, regret in pd.DataFrame(by_value).groupby(level="budget", sort=False):
            rows = summed_up(pd.DataFrame(chosen(regret.droplevel("budget"), said(now))))
            out.append(rows.assign(setting=name, budget=budget))
            print(name, budget, regret.mean().round(4).to_dict(), file=sys.stderr)
    table = pd.concat(out)
    columns = ["setting", "budget", *table.columns.drop(["setting", "budget"])]
    table[columns].round(4).to_csv(sys.stdout, index=False, lineterminator="\n")


if __name__ == "__main__":
    main()
