"""Memory: the accuracies of a hub's models on other data sets, from every table that is at hand."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

import pandas as pd

from modelrank.root import resolve
from modelrank.truth import ledger
from modelrank.truth.ledger import Asked
from modelrank.truth.published import plain_name, published_rows
from modelrank.truth.scored import recalled
from modelrank.types import NotMeasured

ENOUGH = 3  # data sets by the protocol in question, after which those by other protocols are left out
FEWEST = 3  # models of the hub that a table must know to say anything of their order


@dataclass(frozen=True)
class Memory:
    """accuracy: models of the hub x other data sets, NaN where nothing is known; one column a data set and protocol.
    scores: column of `accuracy` -> models x scorers on that data set, where any are known."""

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
    full fine-tuning is another one than with a linear head; of images that it has measured only its own rows are.
    Nothing of the data set asked for is, whatever the table: neither by its images nor by its name
    (in any spelling, see `plain_name`). Classification, regression and detection do not tell of each other.
    """
    same: dict[str, pd.Series] = {}
    others: dict[str, pd.Series] = {}
    images: dict[str, str] = {}
    for protocol_id, data_id, title, column in _measured(asked, metric, measured):
        (same if protocol_id == asked.protocol_id else others)[title] = column
        images[title] = data_id
    known = {images[title] for title in same}  # the same images by another protocol are no data set more
    others = {title: column for title, column in others.items() if images[title] not in known}
    columns = same if len(same) >= ENOUGH else same | others | dict(_named(asked, metric, named))
    by_images = recalled(asked, scorers, scored)
    scores = {title: by_images[images[title]] for title in columns if images.get(title) in by_images}
    return Memory(pd.DataFrame(columns, index=list(asked.models), dtype=float), scores)


def _measured(asked: Asked, metric: str, paths: Sequence[str | Path]) -> Iterator[tuple[str, str, str, pd.Series]]:
    try:
        rows = ledger.rows(paths)
    except NotMeasured:
        return
    names = {identity: name for name, identity in asked.models.items()}
    own = rows.loc[
        rows.model_id.isin(list(names))
        & (rows.data_id != asked.data_id)
        & (rows.dataset.map(plain_name) != plain_name(asked.dataset))
        & (rows.metric.map(_kind) == _kind(metric))
    ]
    for protocol_id, of_protocol in own.assign(label=own.model_id.map(names)).groupby("protocol_id", sort=False):
        for _, of_dataset in of_protocol.groupby("dataset", sort=False):
            # of several choices of a data set's images, the one with most models
            group = max((one for _, one in of_dataset.groupby("data_id")), key=lambda one: one.label.nunique())
            if group.label.nunique() >= FEWEST:
                title = f"{group.dataset.iloc[0]} by {group.protocol.iloc[0]} ({protocol_id})"
                yield (
                    str(protocol_id),
                    str(group.data_id.iloc[0]),
                    title,
                    pd.Series(group.groupby("label").accuracy.mean()),
                )


def _named(asked: Asked, metric: str, paths: Sequence[str | Path]) -> Iterator[tuple[str, pd.Series]]:
    seen = set()  # one table of accuracies, under another hub's or file's name, is no data set more
    for path in map(resolve, paths):
        if not path.exists():
            continue
        rows = published_rows(path)
        own = rows.loc[
            rows.model.isin(list(asked.models))
            & (rows.dataset.map(plain_name) != plain_name(asked.dataset))
            & (rows.metric.map(_kind) == _kind(metric))
        ]
        for (hub, protocol, dataset), group in own.groupby(["hub", "protocol", "dataset"], sort=False):
            content = (dataset, protocol, frozenset(zip(group.model, group.accuracy, strict=True)))
            if len(group) >= FEWEST and content not in seen:
                seen.add(content)
                yield f"{dataset} by {protocol} ({hub}, {path.name})", group.set_index("model").accuracy


def _kind(metric: str) -> str:
    """Of the task that the metric belongs to."""
    return {"r2": "regression", "map": "detection", "map50": "detection"}.get(metric, "classification")
