"""What a sweep over data sets says: ablations by one override, scorers compared over data sets, average ranks."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import cycle

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from modelrank.overrides import options
from modelrank.ranking.compare import BEST, average_ranks, compare, critical_difference, winners
from modelrank.report.drawing import BLUE, GREY, ORANGE, STYLE
from modelrank.report.tables import LOWER_IS_BETTER, over_seeds
from modelrank.types import ModelRankError

COLOURS = (BLUE, ORANGE, "black")


def label_by(rows: pd.DataFrame, key: str) -> pd.DataFrame:
    """The rows with `value`, what the override `key` was set to, `base`, their scorer, and its name extended by it.

    Raises ModelRankError where no row was made with that override.
    """
    if missing := [column for column in ("overrides", "scorer") if column not in rows]:
        raise ModelRankError(f"stage.by={key} needs the results.csv of a sweep; these rows lack {', '.join(missing)}")
    jobs = [
        {name: value for name, equals, value in (one.lstrip("+").partition("=") for one in options(job)) if equals}
        for job in rows["overrides"].fillna("").astype(str)
    ]
    if not any(key in job for job in jobs):
        known = sorted({name for job in jobs for name in job})
        raise ModelRankError(f"stage.by={key}: no job of this sweep set it; they set {', '.join(known)}")
    rows = rows.assign(value=[job.get(key) for job in jobs], base=rows["scorer"]).dropna(subset="value")
    return rows.assign(scorer=rows["scorer"] + f" {key.rsplit('.', 1)[-1]}=" + rows["value"])


def ablation(rows: pd.DataFrame, key: str, metric: str) -> Figure:
    """One thin line a data set (of each scorer, hub and protocol), the mean of a scorer's thick where it has all of
    them, over the values of `key` in the order in which they were run."""
    parts = [name for name in ("base", "hub", "protocol") if name in rows and len(set(rows[name])) > 1]
    lines = rows[[*parts, "dataset"]].astype(str).agg(" ".join, axis=1)
    table = over_seeds(rows.assign(line=lines), metric, "value", "line")
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(6.4, 3.6), layout="constrained")
        axes = figure.subplots()
        places = np.arange(len(table))
        for line in table.columns:
            axes.plot(places, table[line], "o-", color=GREY, lw=1, ms=3.5, alpha=0.7)
            axes.annotate(str(line), (places[-1] + 0.08, table[line].iloc[-1]), fontsize=8, color=GREY, va="center")
        for colour, (base, own) in zip(cycle(COLOURS), rows.assign(line=lines).groupby("base", sort=False)):
            mean = over_seeds(own, metric, "value", "line").reindex(table.index).mean(axis=1, skipna=False)
            axes.plot(places, mean, "o-", color=colour, lw=2.6, ms=6, label=f"{base}, mean of its lines")
        axes.set_xticks(places, [str(value) for value in table.index])
        axes.set_xlim(-0.3, len(table) - 1 + max(0.6, 0.16 * len(table)))
        axes.set_xlabel(key)
        axes.set_ylabel(metric)
        axes.legend(frameon=False, fontsize=8.5)
    return figure


def comparisons(rows: pd.DataFrame, metric: str) -> pd.DataFrame:
    """Each scorer against the first one over data sets: mean difference, wins, Wilcoxon p, P(it beats the first)."""
    values, sign = _by_scorer(rows, metric), _sign(metric)
    first = next(iter(values), "")
    table = pd.DataFrame(
        [{"scorer": scorer, "against": first} | vars(compare(values[scorer], values[first])) for scorer in values]
    ).iloc[1:]
    return table.assign(difference=sign * table["difference"]) if len(table) else table


@dataclass(frozen=True)
class Standing:
    """ranks: scorer -> average rank (1 = best), best first, over `datasets`, those where all scorers have a value.
    critical: ranks closer than this do not differ (Nemenyi, 5 %)."""

    ranks: Mapping[str, float]
    datasets: int
    critical: float


def standing(rows: pd.DataFrame, metric: str) -> Standing | None:
    """None where there are no two scorers, or no data set that all of them have."""
    values = _by_scorer(rows, metric)
    if len(values) < 2:
        return None
    ranks = {scorer: rank for scorer, rank in average_ranks(values).items() if not math.isnan(rank)}
    if not ranks:
        return None
    datasets = set.intersection(*(set(found) for found in values.values()))
    return Standing(ranks, len(datasets), critical_difference(len(ranks), len(datasets)))


def named_first(rows: pd.DataFrame) -> pd.DataFrame:
    """A row a hub, protocol and scorer, one of the accuracies (`BEST`) first: how many different models are first over
    the data sets (`modelrank.ranking.compare.Winners`), among how many; of several seeds the first counts.

    Empty for one data set, and for rows of earlier versions, which do not say what was first.
    """
    if not {"winner", "best"} <= set(rows) or rows.dataset.nunique() < 2:
        return pd.DataFrame()
    result = []
    known = rows.dropna(subset=["winner", "best"])
    for hub, protocol in known[["hub", "protocol"]].drop_duplicates().itertuples(index=False):
        own = known.loc[(known["hub"] == hub) & (known["protocol"] == protocol)]
        facts = {"hub": hub, "protocol": protocol, "among": own["n_models"].max()}
        widest = own.sort_values("n_models", ascending=False, kind="stable")  # a scorer may lack the best model
        of_truth = widest.assign(scorer=BEST, winner=widest["best"])
        for scorer, firsts in pd.concat([of_truth, own]).groupby("scorer", sort=False):
            once = firsts.drop_duplicates("dataset")
            result.append({"scorer": scorer} | facts | vars(winners(dict(zip(once.dataset, once.winner, strict=True)))))
    return pd.DataFrame(result)


def rank_diagram(found: Standing, metric: str) -> Figure:
    """Average rank of each scorer; the bar is the critical difference."""
    ranks, width = found.ranks, found.critical
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(6.4, 1.2 + 0.24 * len(ranks)), layout="constrained")
        axes = figure.subplots()
        axes.plot(list(ranks.values()), range(len(ranks)), "o", color=BLUE, ms=7)
        axes.set_yticks(range(len(ranks)), list(ranks))
        axes.set_ylim(len(ranks) - 0.4, -1.1)
        axes.plot([1, 1 + width], [-0.7, -0.7], color=GREY, lw=3, solid_capstyle="butt")
        axes.annotate(f" critical difference {width:.1f}", (1 + width, -0.7), fontsize=8, color=GREY, va="center")
        axes.set_xlabel(f"average rank by {metric} over {found.datasets} data sets, 1 = best")
    return figure


def _by_scorer(rows: pd.DataFrame, metric: str) -> Mapping[str, Mapping[str, float]]:
    """scorer -> data set (of each hub and protocol) -> value over the models that all scorers have, a mean over the
    seeds that all of them have; only scorers that have one on every data set.
    Higher is better: of a metric where lower is, the value is negated.

    Rows of earlier versions hold no values over common models: there, data sets count on which all have as many models.
    """
    rows = rows.dropna(subset=["scorer", "dataset"])
    parts = [name for name in ("hub", "protocol", "dataset") if name in rows]
    rows = rows.assign(unit=rows[parts].astype(str).agg(" ".join, axis=1))
    basis = "n_models"
    if f"{metric}_common" in rows:
        rows, metric, basis = rows.dropna(subset="models_common"), f"{metric}_common", "models_common"
    cell = ["unit", *(["seed"] if "seed" in rows else [])]
    if basis in rows:
        rows = rows.loc[rows.groupby(cell, dropna=False)[basis].transform("nunique") == 1]
    rows = rows.dropna(subset=metric)
    scorers = rows.groupby(cell, dropna=False)["scorer"].transform("nunique")
    rows = rows.loc[scorers == scorers.groupby(rows["unit"]).transform("max")]  # means over the same seeds
    table = over_seeds(rows, metric, "scorer", "unit")
    return {str(scorer): (_sign(metric) * found).to_dict() for scorer, found in table.dropna().iterrows()}


def _sign(metric: str) -> int:
    return -1 if metric.removesuffix("_common") in LOWER_IS_BETTER else 1
