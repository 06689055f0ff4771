"""`stage=replay`: play every policy on every table of accuracies, the data set in question left out, and judge it."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import pandas as pd
from joblib import Parallel, delayed
from omegaconf import DictConfig, OmegaConf

from modelrank.provenance import command, commit, versions
from modelrank.replay import game, hubs
from modelrank.replay.calibration import calibrated, calibration
from modelrank.replay.hubs import Hub
from modelrank.replay.policies import Believing, InOrder, Policy, Scorer
from modelrank.replay.verdict import verdict, winners_of
from modelrank.report import figures, terminal
from modelrank.report import replay as page
from modelrank.root import resolve
from modelrank.stages.rows import finish
from modelrank.tracking import Tracker
from modelrank.truth import curves
from modelrank.truth.ledger import rows as measured_rows
from modelrank.truth.published import published_rows
from modelrank.truth.scored import rows as scored_rows
from modelrank.types import ModelRankError

log = logging.getLogger(__name__)

Played = tuple[pd.DataFrame, dict[str, pd.DataFrame]]


def replay(
    cfg: DictConfig,
    tracker: Tracker,
    *,
    policies: Mapping[str, Policy],
    folder: str,
    published: str,
    measured: Sequence[str],
    scored: Sequence[str],
    files: Sequence[str] = (),
    only: Sequence[str] = (),
    workers: int | None = None,
) -> pd.DataFrame:
    """Write replay.csv (a row a play and budget), verdict.csv, winners.csv, calibration.csv, replay.png and
    report.html; print what they say; return the verdict's rows. The hubs are played in `workers` processes (None: as
    many as there are cores)."""
    known = measured_rows(measured) if measured else pd.DataFrame(columns=["protocol"])
    shipped = hubs.shipped(
        resolve(folder), published_rows(published), known, scored_rows(scored), curves.beside(measured)
    )
    given = [hubs.read(path) for path in files]
    for path, one in zip(files, given, strict=True):
        models, datasets = one.accuracy.shape
        if datasets < hubs.FEWEST:
            raise ModelRankError(
                f"{path} has {datasets} data sets; a replay leaves one out and needs {hubs.FEWEST} or more"
            )
        if models < 2:
            raise ModelRankError(f"{path} has one model; there is nothing to choose from, give two or more")
    tables = hubs.chosen([*shipped, *given], only)
    judges = {name: one for name, one in policies.items() if isinstance(one, Believing) and one.scores}
    largest_first = sorted(tables, key=lambda hub: -hub.accuracy.size)
    tasks = (delayed(_played)(hub, dict(policies), judges, cfg.seed) for hub in largest_first)
    plays: dict[str, pd.DataFrame] = {}
    predictions: dict[str, dict[str, pd.DataFrame]] = {}
    played: Iterable[Played] = Parallel(n_jobs=workers or -1, return_as="generator")(tasks)  # pyright: ignore[reportAssignmentType]
    for hub, (plays[hub.name], predictions[hub.name]) in zip(largest_first, played, strict=True):
        log.info("%s (%s): %d models, %d data sets", hub.name, hub.modality, *hub.accuracy.shape)
    rows = pd.concat([plays[hub.name] for hub in tables], ignore_index=True)
    finish(cfg, tracker, "replay", rows)
    judged = finish(cfg, tracker, "verdict", verdict(rows, seed=cfg.seed))
    named_first = finish(cfg, tracker, "winners", winners_of(rows))
    groups = {
        "all": tables,
        "with scores": [hub for hub in tables if hub.scores],
        "with learning curves": [hub for hub in tables if hub.curves],
    }
    panels = {
        title: verdict(rows.loc[rows.hub.isin([hub.name for hub in group])], seed=cfg.seed)
        for title, group in groups.items()
        if group
    }
    drawn = page.draw(panels)
    figures.save(drawn, path := Path(cfg.paths.run) / "replay.png")
    tracker.figure("replay", path)
    terminal.rows(
        _table(rows, judged), "regret as a share of a random model's, after results and at shares of the cost"
    )
    found = {name: pd.concat([predictions[hub.name][name] for hub in tables]).assign(policy=name) for name in judges}
    if found:
        finish(cfg, tracker, "calibration", pd.concat(found.values(), ignore_index=True))
    calibrations = {name: _calibration(rows, name) for name, rows in found.items()}
    made = {"command": command(), "commit": commit(), "versions": versions()}
    made["hubs"] = ", ".join(f"{hub.name} ({hub.modality}, {hub.accuracy.shape[0]} models)" for hub in tables)
    made["config"] = OmegaConf.to_yaml(cfg, resolve=True)
    tracker.page("report", page.write(Path(cfg.paths.run), drawn, judged, named_first, calibrations, made))
    return judged


def _played(hub: Hub, policies: dict[str, Policy], judges: dict[str, Believing], seed: int) -> Played:
    """Rows of every play on one hub, its scorers' own orders included; of each judge what it predicted."""
    scorers = list(dict.fromkeys(name for table in hub.scores.values() for name in table))
    own = {f"scorer {name}": InOrder(Scorer(name)) for name in scorers}
    rows = game.replay(hub, {**policies, **own}, seed=seed)
    return rows, {name: calibration(hub, policy, seed=seed) for name, policy in judges.items()}


def _calibration(rows: pd.DataFrame, name: str) -> pd.DataFrame:
    """Print and return how often the intervals and the certainty of the policy are right."""
    title = f"{name}: models in their 80 % interval; nothing left is better by a point, said with .8 or more, and right"
    table = calibrated(rows)
    terminal.rows(table.round(3), title)
    return table


def _table(rows: pd.DataFrame, judged: pd.DataFrame) -> pd.DataFrame:
    """policy, hubs, tau_w of its first order, and a column a budget."""
    shown = judged.loc[(judged.budget == "results") | judged.amount.isin([0.05, 0.1, 0.25])]
    names = [
        f"{amount:g} results" if budget == "results" else f"{100 * amount:g} %"
        for budget, amount in zip(shown.budget, shown.amount, strict=True)
    ]
    wide = shown.assign(column=names).pivot(index="policy", columns="column", values="relative")
    tau = rows.groupby(["policy", "hub"]).tau_w.mean().groupby(level=0).mean()
    hubs_of = rows.groupby("policy").hub.nunique()
    table = pd.DataFrame({"hubs": hubs_of, "tau_w": tau}).join(wide[list(dict.fromkeys(names))].round(3))
    return table.reindex(rows.policy.unique()).reset_index()
