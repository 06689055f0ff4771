"""The figure and the page of `stage=replay`, regret against what was spent; and the part of them in a race's page."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import matplotlib as mpl
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from modelrank.csv_file import read_csv
from modelrank.ranking.compare import BEST
from modelrank.report import winners
from modelrank.report.drawing import BLUE, GREEN, GREY, INK, ORANGE, STYLE, inline
from modelrank.report.html import document, element, figure, origin, table, td, tr
from modelrank.report.numbers import interval, number

CAPTION = (
    "Regret of the pick as a share of a random model's, after spending a share of what training all models costs; "
    "bands: 95 % intervals over data sets. Policies that play on nine tenths of the hubs."
)
ALT = "regret of each policy against the share of the cost of training all models"
CALIBRATED = (
    "Share of the untrained models whose value lies in its interval; how often the policy said with .8 or more that "
    "nothing left is better by a point; and in which share of these it was right."
)
SHIPPED = (
    "Not of this race: each data set of {hubs} tables of accuracies, {datasets} in all, published by others or by "
    "modelrank, was left out in turn and every policy played on it (python run.py stage=replay "
    "'stage.measured=[experiments/truth/measured.csv]'). There recommend begins as this race did and goes by the same "
    "belief; it races no learning rates, and sees learning curves and scores only where a table has them."
)
BUDGETS = {"share": "Regret at shares of the cost", "results": "Regret after so many results"}
CELLS = (("covered", 2), ("sure_cells", 0), ("right", 2))
COLOURS = {"random": GREY, "static order": GREEN, "memory": BLUE, "recommend": ORANGE}
OTHERS = ("#CC79A7", "#E69F00", "#56B4E9", INK, "#8C6D31", "#B0B000", "#A05050", "#5050A0")


def draw(panels: Mapping[str, pd.DataFrame]) -> Figure:
    """One panel a set of hubs: title -> rows of `modelrank.replay.verdict.verdict` over these hubs. Drawn are policies
    that play on nine tenths of them; the band is the 95 % interval of the static order and of recommend."""
    with mpl.rc_context(STYLE):
        drawn = Figure(figsize=(4.6 * len(panels), 4.6), layout="constrained")
        for axes, (title, rows) in zip(drawn.subplots(1, len(panels), squeeze=False).flat, panels.items(), strict=True):
            _panel(axes, rows)
            axes.set_title(f"{title}: {rows.hubs.max()} hubs, {rows.datasets.max()} data sets", loc="left")
    return drawn


def write(
    folder: Path,
    drawn: Figure,
    judged: pd.DataFrame,
    named_first: pd.DataFrame,
    calibrations: Mapping[str, pd.DataFrame],
    made: Mapping[str, object],
) -> Path:
    """folder/report.html. judged: rows of `verdict` over all hubs; named_first: of `verdict.winners_of`;
    calibrations: policy -> rows of `modelrank.replay.calibration.calibrated`; made: how it was made, `config` (YAML
    text) among it."""
    parts = [
        element("h1", "What does each way of looking for the best model cost?"),
        element("p", _answer(judged), "answer"),
        "<h2>Regret against cost</h2>",
        figure(inline(drawn, "replay", ALT), CAPTION, ALT),
        *(_budgets(judged, budget, heading) for budget, heading in BUDGETS.items()),
    ]
    parts.append(winners.section(named_first))
    for policy, rows in calibrations.items():
        parts += [element("h2", f"Is {policy} right as often as it says?"), _calibration(rows)]
        parts += [element("p", CALIBRATED, "soft")]
    parts.append(origin(made))
    path = folder / "report.html"
    path.write_text(document("Replay of policies", parts), encoding="utf-8")
    return path


def shipped(folder: Path) -> list[str]:
    """Parts of the page of a race: what the replay in `folder` (verdict.csv, winners.csv) says of policies, scorers."""
    judged, named_first = (read_csv(folder / f"{name}.csv") for name in ("verdict", "winners"))
    scored = named_first.loc[named_first.policy.str.startswith("scorer ")]
    beside = named_first.loc[(named_first.policy == BEST) & named_first.hub.isin(scored.hub)]
    told = SHIPPED.format(hubs=judged.hubs.max(), datasets=judged.datasets.max())
    return [
        element("h2", "What did this way of choosing cost on other data?"),
        element("p", told, "soft"),
        element("p", _answer(judged)),
        figure(inline(draw({"all": judged}), "replay", ALT), CAPTION, ALT),
        winners.section(pd.concat([beside, scored]).sort_values("hub", kind="stable")),
    ]


def _answer(judged: pd.DataFrame) -> str:
    """Of the policies that play everywhere, which leaves the least regret at the budget nearest a tenth of the cost."""
    shares = judged.loc[(judged.budget == "share") & (judged.hubs == judged.hubs.max())]
    if shares.empty:
        return "No policy plays on every hub."
    near = shares.amount.iloc[(shares.amount - 0.1).abs().argmin()]
    best = shares.loc[shares.amount == near].sort_values("relative").iloc[0]
    return (
        f"At {100 * near:.3g} % of the cost of training all models, {best.policy} leaves {best.relative:.2f} "
        f"{interval(best.low, best.high)} of the regret of a random model."
    )


def _budgets(judged: pd.DataFrame, budget: str, heading: str) -> str:
    own = judged.loc[judged.budget == budget]
    if own.empty:
        return ""
    wide = own.pivot(index="policy", columns="amount", values="relative").reindex(own.policy.unique())
    hubs = own.groupby("policy").hubs.max()
    heads = [f"{100 * float(amount):g} %" if budget == "share" else f"{amount:g}" for amount in wide.columns]
    body = [
        tr([td(str(policy), "text"), td(str(hubs[policy])), *(td(number(v, 3), by=v) for v in values)])
        for policy, values in zip(wide.index, wide.to_numpy(dtype=float).tolist(), strict=True)
    ]
    return element("h2", heading) + table(heading, ["policy", "hubs", *heads], [body], text=("policy",))


def _calibration(rows: pd.DataFrame) -> str:
    body = [
        tr([td(str(one["hub"]), "text"), *(td(number(one[name], digits), by=one[name]) for name, digits in CELLS)])
        for one in rows.to_dict("records")
    ]
    heads = ["hub", "in the 80 % interval", "times sure", "and right"]
    return table("calibration", heads, [body[:-1], body[-1:]], text=("hub",))


def _panel(axes: Axes, rows: pd.DataFrame) -> None:
    shares = rows.loc[(rows.budget == "share") & (rows.hubs >= 0.9 * rows.hubs.max())]
    others = iter(OTHERS * len(shares))
    for policy, own in shares.groupby("policy", sort=False):
        colour = COLOURS.get(str(policy)) or next(others)
        known = policy in COLOURS
        line = {"lw": 2 if known else 1, "ls": "-" if known else "--", "marker": "o", "ms": 3 if known else 2}
        axes.plot(100 * own.amount, own.relative, color=colour, label=str(policy).removeprefix("scorer "), **line)
        if policy in ("static order", "recommend"):
            axes.fill_between(100 * own.amount, own.low, own.high, color=colour, alpha=0.15, lw=0)
    axes.set_ylim(0, 1.05)
    axes.set_xlabel("share of the cost of training all models, %")
    axes.set_ylabel("regret, as a share of a random model's")
    axes.legend(frameon=False, fontsize=7, ncols=2)
