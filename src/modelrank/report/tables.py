"""Paper-style tables out of any ranking.csv or results.csv: scorer x data set, in Markdown, LaTeX and CSV."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from modelrank.ranking.agreement import null_level
from modelrank.types import ModelRankError

LOWER_IS_BETTER = ("regret_at_1", "seconds")
AVERAGE = "average"
SEEDS = "two seeds of the truth"
RANDOM = "random scores, 95 %"
FEWER = "random scores, 95 %, fewest models"
CELL = ["hub", "protocol", "scorer", "dataset"]
Mark = Callable[[str], str]


def write(rows: pd.DataFrame, folder: Path, *, value: str = "tau_w", digits: int = 3) -> list[Path]:
    """Write table_VALUE.md, .tex and .csv: one table for each hub and protocol in the rows. Returns the three paths.

    Tables of tau_w end in what they are to be held against, see `levels`.
    """
    tables = pivots(rows, value)
    limits = levels(rows, tables) if value == "tau_w" else {}
    up = value not in LOWER_IS_BETTER
    flat = pd.concat(
        [
            pd.concat([table, limits[key]] if key in limits else [table])
            .rename_axis(index="scorer")
            .reset_index()
            .assign(hub=key[0], protocol=key[1])
            for key, table in tables.items()
        ]
    )
    flat = flat[["hub", "protocol", *flat.columns.drop(["hub", "protocol"])]]
    texts = {
        "md": "\n".join(
            f"**{hub}**, {value} by protocol {protocol}\n\n"
            + markdown(table, limits.get((hub, protocol)), digits=digits, higher_is_better=up)
            for (hub, protocol), table in tables.items()
        ),
        "tex": "\n".join(
            f"% {hub}, {value} by protocol {protocol}\n"
            + latex(table, limits.get((hub, protocol)), digits=digits, higher_is_better=up)
            for (hub, protocol), table in tables.items()
        ),
        "csv": flat.to_csv(index=False),
    }
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"table_{value}.{ending}" for ending in texts]
    for path, text in zip(paths, texts.values(), strict=True):
        path.write_text(text)
    return paths


def rankings(rows: pd.DataFrame) -> tuple[pd.DataFrame, str]:
    """The rows, those of single models without hub, protocol, scorer and data set: as those of a job that failed; and
    which they are. A job without a ranking (a scorer that was not applicable) leaves such rows in a results.csv."""
    if not {"model", *CELL} <= set(rows):
        return rows, ""
    alone = rows["model"].notna()
    known = rows.loc[alone].drop_duplicates(["scorer", "dataset"])
    left = [
        f"{scorer} on {dataset} ({reason if isinstance(reason, str) else 'no truth'})"
        for scorer, dataset, reason in known.reindex(columns=["scorer", "dataset", "reason"]).to_numpy().tolist()
    ]
    return rows.assign(**{name: rows[name].mask(alone) for name in CELL}), "; ".join(left)


def pivots(rows: pd.DataFrame, value: str = "tau_w") -> dict[tuple[str, str], pd.DataFrame]:
    """(hub, protocol) -> table of `value`: scorers in order of first appearance x data sets, then their average.

    Seeds of one cell are averaged, see `over_seeds`; rows of failed jobs, which name no scorer, and data sets without
    any value (nothing measured on them) are left out. A scorer that lacks a data set has no average: means over
    different data sets are not to be compared.
    Raises ModelRankError where the rows are not those of a ranking.
    """
    if missing := [column for column in [*CELL, value] if column not in rows]:
        raise ModelRankError(
            f"a table of {value} needs the columns {', '.join([*CELL, value])} of a ranking.csv or of a "
            f"results.csv that collects them; these rows lack {', '.join(missing)}"
            + (" (scores without a truth have no agreement)" if "score" in rows else "")
        )
    as_number = pd.Series(pd.to_numeric(rows[value], errors="coerce"))
    if len(text := rows.loc[as_number.isna() & rows[value].notna(), value]):
        numbers = ", ".join(rows.dropna(axis=1, how="all").select_dtypes("number"))
        raise ModelRankError(
            f"{value} of some rows is text, first {text.iloc[0]!r}; numbers are in {numbers or 'none'}"
        )
    rows = rows.dropna(subset=CELL)
    _refuse_several(rows, [*CELL, "seed"])
    if not len(rows):
        raise ModelRankError("no row is of a ranking: did every job of the sweep fail? See their job_error or reason")
    tables = {}
    for hub, protocol in rows[["hub", "protocol"]].drop_duplicates().itertuples(index=False):
        group = rows.loc[(rows["hub"] == hub) & (rows["protocol"] == protocol)]
        table = over_seeds(group, value, "scorer", "dataset")
        table = table.reindex(index=list(dict.fromkeys(group["scorer"])), columns=list(dict.fromkeys(group["dataset"])))
        table = table.dropna(axis=1, how="all").rename_axis(index="scorer", columns=None)
        if table.shape[1] > 1:
            table[AVERAGE] = table.mean(axis=1, skipna=False)
        tables[str(hub), str(protocol)] = table
    return tables


def over_seeds(rows: pd.DataFrame, value: str, index: str, columns: str) -> pd.DataFrame:
    """index x columns -> mean of `value` over the seeds, NaN where one is missing that another row of the column has:
    means over different seeds are not to be compared."""
    seed = rows["seed"].map(str) if "seed" in rows else ""
    each = rows.assign(seed=seed).pivot_table(value, index, [columns, "seed"], sort=False).dropna(axis=1, how="all")
    return each.T.groupby(level=columns, sort=False).agg(lambda own: own.mean(skipna=False)).T


def _refuse_several(rows: pd.DataFrame, cell: list[str]) -> None:
    """A sweep over some setting has several rows of one cell: a mean over them would be of nothing."""
    if not {*cell} <= set(rows):
        return
    rows = rows if "overrides" in rows else rows.drop_duplicates()
    twice = rows.loc[rows.duplicated(cell, keep=False)]
    if not len(twice):
        return
    first = twice.loc[(twice[cell] == twice[cell].iloc[0]).all(axis=1)]
    each = [set(str(given).split()) for given in first.get("overrides", [])]
    differ = sorted(set.union(*each) - set.intersection(*each)) if each else []
    said = f"{len(first)} rows of {first.scorer.iloc[0]} on {first.dataset.iloc[0]} differ by "
    if not differ:
        others = [name for name in first if first[name].nunique(dropna=False) > 1]
        raise ModelRankError(f"{said}{', '.join(others[:5]) or 'nothing'}; keep one of them in the file")
    key = differ[0].split("=")[0].lstrip("+")
    raise ModelRankError(f"{said}{', '.join(differ)}; say what the sweep varies: stage.by={key}")


def levels(rows: pd.DataFrame, tables: Mapping[tuple[str, str], pd.DataFrame]) -> dict[tuple[str, str], pd.DataFrame]:
    """For each table of tau_w: how well two seeds of the truth agree with each other, where more than one was measured
    (no scorer can be expected to do much better), and what random scores exceed in 5 % of cases."""
    found = {}
    for (hub, protocol), table in tables.items():
        group = rows[(rows["hub"] == hub) & (rows["protocol"] == protocol)]
        cells = {str(dataset): part for dataset, part in group.groupby("dataset")}
        datasets = [str(column) for column in table.columns if column != AVERAGE]
        lines: dict[str, list[float]] = {}
        if "truth_seeds_tau_w" in group:
            lines[SEEDS] = [float(np.mean(cells[name]["truth_seeds_tau_w"])) for name in datasets]
            if AVERAGE in table:
                lines[SEEDS].append(sum(lines[SEEDS]) / len(datasets))
        if "n_models" in group:
            numbers = {RANDOM: [int(np.max(cells[name]["n_models"])) for name in datasets]}
            numbers |= {FEWER: [int(np.min(cells[name]["n_models"])) for name in datasets]}
            if numbers[FEWER] == numbers[RANDOM]:
                del numbers[FEWER]
            for name, counts in numbers.items():  # averages of random scores spread less, so none is given
                lines[name] = [*map(null_level, counts), *[math.nan] * (AVERAGE in table)]
        lines = {name: values for name, values in lines.items() if not all(map(math.isnan, values))}
        found[hub, protocol] = pd.DataFrame.from_dict(lines, orient="index", columns=table.columns)
    return found


def markdown(
    table: pd.DataFrame, limits: pd.DataFrame | None = None, *, digits: int = 3, higher_is_better: bool = True
) -> str:
    """Best of a column bold, second best underlined; the rows of `limits`, in italics, take no part."""
    body = _cells(table, digits, higher_is_better, lambda text: f"**{text}**", lambda text: f"<u>{text}</u>")
    body += _limits(limits, digits, lambda text: f"*{text}*")
    lines = [[str(table.index.name or ""), *map(str, table.columns)], ["---", *["---:"] * table.shape[1]], *body]
    return "".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |\n" for line in lines)


def latex(
    table: pd.DataFrame, limits: pd.DataFrame | None = None, *, digits: int = 3, higher_is_better: bool = True
) -> str:
    """A booktabs tabular. Best of a column bold, second best underlined; the rows of `limits` below a line."""
    body = _cells(table, digits, higher_is_better, r"\textbf{{{}}}".format, r"\underline{{{}}}".format, _tex)
    below = _limits(limits, digits, _tex)
    lines = [
        rf"\begin{{tabular}}{{l{'r' * table.shape[1]}}}",
        r"\toprule",
        " & ".join([_tex(str(table.index.name or "")), *(_tex(str(column)) for column in table.columns)]) + r" \\",
        r"\midrule",
        *(" & ".join(line) + r" \\" for line in body),
        *([r"\midrule"] if below else []),
        *(" & ".join(line) + r" \\" for line in below),
        r"\bottomrule",
        r"\end{tabular}",
    ]
    return "\n".join(lines) + "\n"


def _cells(
    table: pd.DataFrame, digits: int, higher_is_better: bool, best: Mark, second: Mark, name: Mark = str
) -> list[list[str]]:
    """Rows of text. Marks go by the printed value, so that cells that look equal are marked alike."""
    columns = []
    for column in table.columns:
        printed = table[column].round(digits)
        distinct = sorted(printed.dropna().unique(), reverse=higher_is_better)
        marks = {}
        if len(distinct) > 1:  # where all are equal none is best
            marks = {distinct[0]: best} | ({distinct[1]: second} if len(distinct) > 2 else {})
        columns.append(["-" if math.isnan(v) else marks.get(v, str)(f"{v:.{digits}f}") for v in printed.astype(float)])
    return [[name(str(row)), *cells] for row, *cells in zip(table.index, *columns, strict=True)]


def _limits(limits: pd.DataFrame | None, digits: int, name: Mark) -> list[list[str]]:
    if limits is None:
        return []
    return [
        [name(str(row)), *("-" if math.isnan(value) else f"{value:.{digits}f}" for value in values)]
        for row, values in zip(limits.index, limits.to_numpy(dtype=float).tolist(), strict=True)
    ]


def _tex(text: str) -> str:
    named = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
    return re.sub(r"[\\~^&%$#_{}]", lambda found: named.get(found[0], "\\" + found[0]), text)
