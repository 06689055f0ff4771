"""From accuracies on other data sets, scores and facts to a `Belief`: memory, weights of scorers, and cold start."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import ndtri
from scipy.stats import rankdata

from modelrank.memory.belief import Belief

Array = NDArray[np.float64]

OWN_NOISE = 0.4  # sd of z that no other data set tells of a model
SPACING = 0.5  # of z: 0 the quantiles of a normal distribution, 1 the distances that data sets have between the ranks
UNKNOWN = (0.6, 0.25)  # location of accuracies, and its sd, where no data set is remembered
# How far the mean accuracy of the models lies from that of linear probes of their frozen features: .04 and .13 above
# it on the two sets measured by finetune_random_head and linear_probe_offline (cifar10, glyphs).
PROBED_SD = 0.1
UNKNOWN_SCALE = (np.log(0.05), 1.0)
# Before anything is learnt of them, all scorers together count as so many data sets more. On the three hubs with scores
# (stage=replay), with 1 / 2 / 3 / 5 data sets remembered, that orders the models at tau_w .49 / .51 / .54 / .56; memory
# alone at .46 / .51 / .52 / .54, the mean of the scores at .20.
SCORERS_COUNT = 1.0
WEIGHT_PENALTY = 30.0  # rows of z whose say equals that of these weights; of 3, 10, 30, 100 the best on these hubs
FACT_PENALTY = 1.0
FEWEST = 3  # models that tell how a data set orders and spaces them
RARE = 3  # words (families, pre-training sets) of fewer models than that are told apart from nothing


def believe(
    elsewhere: pd.DataFrame,
    *,
    scores: pd.DataFrame | None = None,
    scores_elsewhere: Mapping[str, pd.DataFrame] | None = None,
    facts: pd.DataFrame | None = None,
    level: float | None = None,
) -> Belief:
    """What other data sets, scorers and metadata say of the models before any of them is trained.

    elsewhere: models x other data sets, accuracies, NaN where not measured. Its index names the models of the hub.
    scores: models x scorers on the target, higher is better, NaN where a scorer has no value.
    scores_elsewhere: data set (a column of `elsewhere`) -> the same table there; what scorers are worth is learnt on
        these sets.
    facts: models x metadata (numbers and words); a model that memory lacks is placed by those it resembles.

    level: mean of linear probes of the models on the target by its metric, where known: what accuracies to expect.

    The target is taken for one more data set like the others: z has the mean of the others' (see `standardised`), and
    their covariance about it. Nothing is fitted to the target.
    """
    z, missing = filled(placed(standardised(elsewhere)), facts)
    n = z.shape[1]
    average = z.mean(1) if n else np.zeros(len(z))
    centred = z - average[:, None]
    loadings = centred * np.sqrt((1 + 1 / max(n, 1)) / max(n - 1, 1))
    own = OWN_NOISE**2 + (1 - OWN_NOISE**2) * missing.mean(1) if n else np.ones(len(z))
    if n == 1:  # one set cannot say how sets differ
        own = np.maximum(own, 0.5)
    mean = average
    if scores is not None and len(scores.columns):
        weights = scorer_weights(z, list(elsewhere.columns), scores_elsewhere or {}, list(map(str, scores.columns)))
        mean = np.column_stack([average, _filled_scores(scores)]) @ np.array(list(weights.values()))
    location, location_sd, *scale = _units(elsewhere, z)
    if level is not None:
        location, location_sd = level, PROBED_SD
    return Belief(mean, loadings, own, location, location_sd, *scale)


def standardised(elsewhere: pd.DataFrame) -> pd.DataFrame:
    """Accuracies (models x data sets) by their ranks, with mean 0 and sd 1: between the quantiles of a normal
    distribution and the distances that the data sets have on average between these ranks (good models lie closer
    together than bad ones), see SPACING. One collapsed model, or one odd data set, cannot spoil it."""
    z = normal_scores(elsewhere)
    grid, shapes = np.linspace(-2.6, 2.6, 53), []
    for name in elsewhere:
        values = np.sort(elsewhere[name].dropna().to_numpy(dtype=float))
        if len(values) >= FEWEST and values[0] < values[-1]:
            ranked = ndtri((np.arange(len(values)) + 0.5) / len(values))
            shapes.append(np.interp(grid, ranked, (values - values.mean()) / values.std()))
    if not shapes:
        return z
    spaced = (1 - SPACING) * z + SPACING * np.interp(z, grid, np.mean(shapes, axis=0))
    return (spaced - np.nanmean(spaced)) / np.nanstd(spaced)


def placed(table: pd.DataFrame) -> pd.DataFrame:
    """`standardised` accuracies, or ranks about 0, those of a data set with gaps moved and drawn together.

    If the best models alone were trained there, the last of them is no bad model. How far they move is fitted by least
    squares: z is of the model plus, where a set has gaps, of the set. They spread no more than these models do by
    the mean of all sets.
    """
    z = table.to_numpy(copy=True)
    known = ~np.isnan(z)
    gaps = np.flatnonzero(~known.all(0) & known.any(0))
    if not len(gaps):
        return table
    rows, columns = np.nonzero(known)
    design = np.column_stack([rows[:, None] == np.arange(len(z)), columns[:, None] == gaps]).astype(float)
    z[:, gaps] -= np.linalg.lstsq(design, z[known])[0][len(z) :]
    mean = np.where(known, z, 0.0).sum(1) / np.maximum(known.sum(1), 1)
    for column in gaps:
        own, there = z[known[:, column], column], mean[known[:, column]]
        if own.std() > there.std():
            z[known[:, column], column] = own.mean() + (own - own.mean()) * there.std() / own.std()
    return pd.DataFrame(z, table.index, table.columns)


def mean_rank(accuracies: pd.DataFrame) -> pd.Series:
    """The static order of a hub: the mean rank of each model by its accuracies (models x data sets); 1 is the best.

    Ties share their mean rank. Where a data set lacks models, the ranks there are spread over as many places as there
    are models in all and `placed`: the worst of the best three is no bad model. Data sets with fewer than three models
    say nothing, and models without any other have no rank.
    """
    table = accuracies.loc[:, accuracies.count() >= FEWEST].dropna(how="all")
    places, known = len(table), table.count()
    centred = (table.rank(ascending=False) - (known + 1) / 2) * (places / known)
    return placed(centred).mean(axis=1) + (places + 1) / 2


def filled(table: pd.DataFrame, facts: pd.DataFrame | None) -> tuple[Array, NDArray[np.bool_]]:
    """`standardised` accuracies with the gaps filled, and where the gaps were.

    A gap is filled from the model's facts by what they meant on that set, where there are facts; and by the model's
    mean on the others, drawn towards 0 as if it had one set more.
    """
    z = table.to_numpy()
    missing = np.isnan(z)
    if not missing.any():
        return z, missing
    known = (~missing).sum(1)
    design = _design(facts.reindex(table.index)) if facts is not None and facts.shape[1] else None
    guess = np.zeros_like(z)
    for column in range(z.shape[1]):
        if design is not None:
            rows = ~missing[:, column]
            guess[:, column] = design @ _ridge(design[rows], z[rows, column], FACT_PENALTY)
    own = np.where(missing, 0.0, z - guess).sum(1) / (known + 1)  # how the model differs from what its facts say
    return np.where(missing, guess + own[:, None], z), missing


def scorer_weights(
    z: Array, datasets: list[str], scores: Mapping[str, pd.DataFrame], names: Sequence[str]
) -> dict[str, float]:
    """What memory and each scorer of `names` are worth, learnt over the data sets that have scores: ridge drawn towards
    the mean of the n remembered data sets and, as SCORERS_COUNT more, the mean of the scorers, all by normal scores.
    Memory, on each of these sets, is that of the others."""
    n, more = len(datasets), SCORERS_COUNT
    weights = np.array([n / (n + more), *[more / (n + more) / len(names)] * len(names)])
    rows, targets = [], []
    for index, name in enumerate(datasets):
        if name not in scores:
            continue
        others = np.delete(z, index, axis=1)
        memory = others.mean(1) if others.shape[1] else np.zeros(len(z))
        rows.append(np.column_stack([memory, _filled_scores(scores[name].reindex(columns=list(names)))]))
        targets.append(z[:, index])
    if rows:
        design, target = np.concatenate(rows), np.concatenate(targets)
        weights = weights + _ridge(design, target - design @ weights, WEIGHT_PENALTY)
    return dict(zip(["memory", *names], map(float, weights), strict=True))


def normal_scores(table: pd.DataFrame) -> pd.DataFrame:
    """Each column by its ranks as quantiles of a normal distribution: one collapsed model cannot spoil a column."""
    values = table.to_numpy(dtype=float)
    known = (~np.isnan(values)).sum(0)
    return pd.DataFrame(
        ndtri((rankdata(values, axis=0, nan_policy="omit") - 0.5) / np.maximum(known, 1)), table.index, table.columns
    )


def _filled_scores(scores: pd.DataFrame) -> Array:
    """Normal scores, models x scorers; where a scorer has no value for a model, the mean of those that have one."""
    values = normal_scores(scores)
    return values.T.fillna(values.mean(axis=1)).T.fillna(0.0).to_numpy()


def _units(elsewhere: pd.DataFrame, z: Array) -> tuple[float, float, float, float]:
    """Location and log scale of accuracies, and how both differ between data sets."""
    locations, scales = [], []
    for column, name in enumerate(elsewhere.columns):
        accuracy = elsewhere[name].to_numpy()
        known = ~np.isnan(accuracy)
        at = z[known, column]
        if known.sum() < FEWEST or not (spread := float(((at - at.mean()) ** 2).sum())):
            continue
        middle = float(accuracy[known].mean())
        unit = max(float((at - at.mean()) @ (accuracy[known] - middle)) / spread, 1e-4)
        locations.append(middle - unit * float(at.mean()))
        scales.append(np.log(unit))
    if not locations:
        return *UNKNOWN, *UNKNOWN_SCALE
    few = 1 / len(locations)  # with few sets their own spread says little: towards that of any sets
    location_sd = float(np.sqrt((1 - few) * np.var(locations) + few * UNKNOWN[1] ** 2))
    scale_sd = float(np.sqrt((1 - few) * np.var(scales) + few * UNKNOWN_SCALE[1] ** 2))
    return float(np.mean(locations)), location_sd, float(np.mean(scales)), scale_sd


def _design(facts: pd.DataFrame) -> Array:
    """Numbers standardised (counts by their logarithm), words as one column each, gaps 0; and a constant."""
    columns: list[Array] = [np.ones(len(facts))]
    for name in facts.columns:
        values = facts[name]
        if pd.api.types.is_numeric_dtype(values):
            number: Array = np.asarray(values, dtype=np.float64)
            number = np.log(number) if np.nanmax(number, initial=0.0) > 1000 else number
            spread = float(np.nanstd(number)) if np.isfinite(number).any() else 0.0
            if spread:
                columns.append(np.nan_to_num((number - np.nanmean(number)) / spread))
        else:
            words = values.astype(str).where(values.notna(), "").to_numpy()
            found, counts = np.unique(words, return_counts=True)
            columns += [(words == word).astype(np.float64) for word in found[(counts >= RARE) & (found != "")]]
    return np.column_stack(columns)


def _ridge(design: Array, target: Array, penalty: float) -> Array:
    gram = design.T @ design + penalty * np.eye(design.shape[1])
    return np.asarray(np.linalg.solve(gram, design.T @ target), dtype=np.float64)
