"""Memory: the accuracies of a hub's models on other data sets, from every table that is at hand."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from types import MappingProxyType

import pandas as pd

from modelrank.memory.prior import FEWEST
from modelrank.root import resolve
from modelrank.truth import ledger
from modelrank.truth.ledger import Asked
from modelrank.truth.published import kind, plain_name, published_rows
from modelrank.truth.scored import recalled
from modelrank.types import NotMeasured

ENOUGH = 3  # data sets by the protocol in question, after which those by other protocols are left out


@dataclass(frozen=True)
class Memory:
    """accuracy: models of the hub x other data sets, NaN where nothing is known; one column a data set, or more
    that share no model. scores: column of `accuracy` -> models x scorers on that data set, where any are known."""

    accuracy: pd.DataFrame
    scores: Mapping[str, pd.DataFrame] = field(default_factory=dict)


def elsewhere(
    asked: Asked,
    metric: str,
    scorers: Mapping[str, Mapping[str, str]] = MappingProxyType({}),
    *,
    measured: Sequence[str | Path],
    named: Sequence[str | Path],
    scored: Sequence[str | Path] = (),
) -> Memory:
    """What is known of the hub's models on other data sets.

    scorers: model -> scorer -> scorer_id, see `modelrank.truth.scored`. measured: ledgers, whose rows are matched by
    the models' identity. named: tables as `published.csv` (published, or imported by `truth=import`), matched by the
    models' names. scored: tables of scores, matched by identity. Files that do not exist are passed over.
    Where the protocol in question has measured on at least three other data sets, only those are used: an order after
    full fine-tuning is another one than with a linear head. The same images count once, see `_without_repeats`.
    Nothing of the data set asked for is, whatever the table: neither by its images nor by its name
    (in any spelling, see `plain_name`). Classification, regression and detection do not tell of each other.
    """
    tables = [*_measured(asked, metric, measured), *_named(asked, metric, named)]
    tables = _without_repeats(tables, asked.protocol_id)
    own = [one for one in tables if one.protocol_id == asked.protocol_id]
    tables = own if len(own) >= ENOUGH else tables
    by_images = recalled(asked, scorers, scored)
    return Memory(
        pd.DataFrame({one.title: one.accuracy for one in tables}, index=list(asked.models), dtype=float),
        {one.title: by_images[one.data_id] for one in tables if one.data_id in by_images},
    )


@dataclass(frozen=True)
class _Table:
    """Accuracies of models of the hub on one data set by one protocol; no ids where it is known by names alone."""

    title: str
    accuracy: pd.Series  # by model
    names: Set[str]  # of the data set
    data_id: str = ""
    protocol_id: str = ""


def _without_repeats(tables: Sequence[_Table], protocol_id: str) -> list[_Table]:
    """No model twice on one data set: images that share an id or a name are one, however often they were measured.

    The tables by this protocol come first, then those of more models, then those known by ids.
    """
    told: set[tuple[str, str]] = set()
    chosen = set()
    for one in sorted(
        tables, key=lambda one: (one.protocol_id != protocol_id, -len(one.accuracy), not one.data_id, one.title)
    ):
        tells = set(product({one.data_id, *one.names} - {""}, one.accuracy.index))
        if told.isdisjoint(tells):
            told |= tells
            chosen.add(one.title)
    return [one for one in tables if one.title in chosen]


def _measured(asked: Asked, metric: str, paths: Sequence[str | Path]) -> Iterator[_Table]:
    try:
        rows = ledger.rows(paths)
    except NotMeasured:
        return
    own = rows.loc[
        rows.model_id.isin(list(asked.models.values()))
        & (rows.data_id != asked.data_id)
        & (rows.dataset.map(plain_name) != plain_name(asked.dataset))
        & (rows.metric.map(kind) == kind(metric))
    ]
    called = own.dataset.map(plain_name).groupby(own.data_id).agg(set)
    for (protocol_id, data_id), group in own.groupby(["protocol_id", "data_id"], sort=False):
        if group.model_id.nunique() >= FEWEST:
            title = f"{group.dataset.iloc[0]} by {group.protocol.iloc[0]} ({protocol_id}, {data_id})"
            of = group.groupby("model_id").accuracy.mean()
            accuracy = pd.Series({name: of[identity] for name, identity in asked.models.items() if identity in of})
            yield _Table(title, accuracy, called[data_id], str(data_id), str(protocol_id))


def _named(asked: Asked, metric: str, paths: Sequence[str | Path]) -> Iterator[_Table]:
    for path in map(resolve, paths):
        if not path.exists():
            continue
        rows = published_rows(path)
        own = rows.loc[
            rows.model.isin(list(asked.models))
            & (rows.dataset.map(plain_name) != plain_name(asked.dataset))
            & (rows.metric.map(kind) == kind(metric))
        ]
        for (hub, protocol, dataset), group in own.groupby(["hub", "protocol", "dataset"], sort=False):
            if len(group) >= FEWEST:
                title = f"{dataset} by {protocol} ({hub}, {path.name})"
                yield _Table(title, group.set_index("model").accuracy, {plain_name(dataset)})
