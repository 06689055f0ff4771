"""The page of a sweep: scorers x data sets as heat maps, average ranks, comparisons, and each data set by itself."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from html import escape
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from modelrank.report import winners
from modelrank.report.content import REFERENCES
from modelrank.report.drawing import inline
from modelrank.report.html import document, download, element, figure, origin, table, td, tr
from modelrank.report.numbers import interval, number
from modelrank.report.sweeps import Standing
from modelrank.report.tables import LOWER_IS_BETTER, levels, over_seeds, pivots

SIGNED = ("tau_w", "tau", "pearson", "spearman")  # from -1 to 1, where 0 is no agreement
HEAT = 45  # percent of colour in the strongest cell: text on it stays readable in both modes
CELL = ["dataset", "hub", "protocol"]
COLUMNS = {  # of a data set by itself: column of the rows -> heading
    "tau_w": "tau_w",
    "chance": "chance",
    "tau": "Kendall",
    "pearson": "Pearson",
    "spearman": "Spearman",
    "rel_at_1": "Rel@1",
    "regret_at_1": "regret@1",
    "n_models": "models",
    "seconds": "seconds",
}
CAPTIONS = {
    "ranks": "Average rank of each scorer; those closer than the critical difference (Nemenyi, 5 %) do not differ.",
    "ablation": "One thin line a data set, the mean of a scorer's lines thick where it has all of them, in the order "
    "in which the values were run.",
}


def write(
    folder: Path,
    rows: pd.DataFrame,
    metric: str,
    *,
    standing: Standing | None,
    drawn: Mapping[str, Figure],
    compared: pd.DataFrame,
    named_first: pd.DataFrame,
    files: Sequence[Path],
    made: Mapping[str, object],
) -> Path:
    """folder/report.html. rows: of a results.csv or ranking.csv; drawn: figures by the names of `CAPTIONS`;
    compared, named_first: as `sweeps` has them; files: texts to take from the page; made: how it was made."""
    tables = pivots(rows, metric)
    limits = levels(rows, tables) if metric == "tau_w" else {}
    parts = [
        element("h1", f"How well does each scorer rank? {_extent(rows)}"),
        element("p", _answer(tables, standing, metric), "answer"),
        element("p", _failed(rows)) if _failed(rows) else "",
    ]
    for (hub, protocol), values in tables.items():
        heading = f"{metric} on the hub {hub} by protocol {protocol}"
        parts += [element("h2", heading), _heat_map(values, limits.get((hub, protocol)), metric, heading)]
    parts.append("<p>To take along: " + ", ".join(download(file.read_text(), file.name) for file in files) + "</p>")
    for name, alt in {"ranks": f"average rank of each scorer by {metric}", "ablation": f"{metric} by setting"}.items():
        if name in drawn:
            parts += [element("h2", alt.capitalize()), figure(inline(drawn[name], name, alt), CAPTIONS[name], alt)]
    if standing is None and min(len(rows[name].unique()) for name in ("dataset", "scorer")) > 1:
        parts.append(element("p", "No average ranks: on no data set were all scorers judged on the same models."))
    if len(compared):
        parts += [element("h2", f"Against {compared['against'].iloc[0]}, data set by data set"), _compared(compared)]
    if len(named_first):
        parts.append(winners.section(named_first))
    parts += ["<h2>Each data set by itself</h2>", *_each(rows), origin(made)]
    path = folder / "report.html"
    path.write_text(document("How well does each scorer rank?", parts), encoding="utf-8")
    return path


def _extent(rows: pd.DataFrame) -> str:
    return f"{rows['scorer'].nunique()} scorers on {rows['dataset'].nunique()} data sets"


def _answer(tables: Mapping[tuple[str, str], pd.DataFrame], standing: Standing | None, metric: str) -> str:
    """Which scorer is best, and which are not to be told from it."""
    if standing is None:
        (hub, _), values = next(iter(tables.items()))
        if not values.shape[1]:
            return f"No scorer has {metric} on any data set of {hub}."
        best = values.iloc[:, -1].dropna().sort_values(ascending=metric in LOWER_IS_BETTER)
        if best.empty:
            return f"No scorer has {metric} on every data set of {hub}."
        return f"{_called(best.index[0])} has the best {metric} on {hub}: {best.iloc[0]:.2f} ({best.name})."
    (first, rank), *others = standing.ranks.items()
    near = [scorer for scorer, own in others if own - rank < standing.critical]
    names = ", ".join(near[:4]) + (f" and {len(near) - 4} more" if len(near) > 4 else "")
    told = f"{names} cannot be told from it" if near else "no other is within the critical difference"
    place = f"rank {rank:.1f} of {len(standing.ranks)} over {standing.datasets} data sets"
    return f"{_called(first)} ranks best on average by {metric} ({place}); {told}."


def _called(scorer: object) -> str:
    return f"{scorer}, a reference," if scorer in REFERENCES else str(scorer)


def _failed(rows: pd.DataFrame) -> str:
    """Jobs of the sweep that failed or did not come to their end."""
    if "job_status" not in rows:
        return ""
    failed = rows.loc[rows["job_status"] != "ok"].drop_duplicates("overrides")
    reasons = "; ".join(f"{one['overrides']}: {one['job_error']}" for one in failed.to_dict("records"))
    return f"{len(failed)} jobs of the sweep failed or did not end: {reasons}" if len(failed) else ""


def _heat_map(values: pd.DataFrame, limits: pd.DataFrame | None, metric: str, name: str) -> str:
    known = [value for value in values.to_numpy(dtype=float).ravel().tolist() if not math.isnan(value)]
    low, high = min(known, default=0.0), max(known, default=0.0)

    def cell(value: float) -> str:
        if math.isnan(value):
            return td("-", "heat", by=value)
        if metric in SIGNED:
            share = value
        else:
            share = (value - low) / (high - low) if high > low else 0.0
            share = 1 - share if metric in LOWER_IS_BETTER else share
        kind = "heat high" if share >= 0 else "heat low"
        return td(number(value, 3), kind, by=value, style=f"--share: {HEAT * abs(share):.0f}%")

    def lines(rows: pd.DataFrame, kind: str, shown: Callable[[float], str]) -> list[str]:
        return [
            tr([td(str(label), "text"), *map(shown, row)], kind)
            for label, row in zip(rows.index, rows.to_numpy(dtype=float).tolist(), strict=True)
        ]

    held_against = [] if limits is None else lines(limits, "reference", lambda v: td(number(v, 3), "heat", by=v))
    bodies = [lines(values, "", cell), held_against]
    return table(name, ["scorer", *map(str, values.columns)], bodies, text=("scorer",))


def _compared(rows: pd.DataFrame) -> str:
    heads = ["scorer", "mean difference", "wins", "draws", "losses", "Wilcoxon p", "P(better)"]
    body = []
    for one in rows.to_dict("records"):
        cells = [td(str(one["scorer"]), "text"), td(number(one["difference"], 3), by=one["difference"])]
        cells += [td(str(one[name])) for name in ("wins", "draws", "losses")]
        body.append(tr([*cells, *(td(number(one[name]), by=one[name]) for name in ("p_value", "probability"))]))
    return table("paired comparisons", heads, [body], text=("scorer",))


def _each(rows: pd.DataFrame) -> list[str]:
    """A folded table for each hub, protocol and data set; seeds of one cell are averaged as in the tables."""
    columns = [column for column in COLUMNS if column in rows]
    heads = ["scorer", "95 % interval of tau_w", *(COLUMNS[column] for column in columns)]
    known, parts = rows.dropna(subset=["scorer", *CELL]), []
    for cell in known[CELL].drop_duplicates().itertuples(index=False):
        own = known.loc[(known[CELL] == list(cell)).all(axis=1)]
        reached = ["tau_w_low", "tau_w_high", *columns]
        means = {name: over_seeds(own, name, "scorer", "dataset").get(cell[0]) for name in reached if name in own}
        means = pd.DataFrame(means, index=own["scorer"].unique(), columns=reached)
        body = []
        for scorer, (low, high, *values) in zip(means.index, means.to_numpy(dtype=float).tolist(), strict=True):
            cells = [td(str(scorer), "text"), td(interval(low, high), "text", by=low)]
            body.append(tr([*cells, *(td(number(value), by=value) for value in values)]))
        name = "{}: hub {}, protocol {}".format(*cell)
        content = table(name, heads, [body], text=heads[:2])
        parts.append(f"<details><summary>{escape(name)}</summary>{content}</details>")
    return parts
