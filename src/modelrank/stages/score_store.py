"""Scores that were computed before, found by all that decides them: features, scorer, settings, code and versions."""

from __future__ import annotations

import ast
import hashlib
import json
import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from modelrank.keys import key
from modelrank.provenance import versions
from modelrank.scorers.subsets import Subscores
from modelrank.types import Score, ScorerNotApplicable

SCORERS = Path(__file__).parents[1] / "scorers"
LINEAR = SCORERS.with_name("linear.py")  # the solver of `linear_probe`
DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef)
LIBRARIES = ("scikit-learn", "scipy")  # of scorers, beside those that every table names


@dataclass(frozen=True)
class Scored:
    """One scorer on the features of one model.

    outcome:   its score, or why it has none.
    warning:   what it warned of.
    subscores: on subsets of the images, or why there are none.
    """

    outcome: Score | Exception
    warning: str
    subscores: Subscores | str


class ScoreStore:
    """JSON files in `folder`, named after the content key; a damaged one is computed anew."""

    def __init__(self, folder: Path) -> None:
        self.folder = Path(folder)

    def remembered(self, content: object, compute: Callable[[], Scored]) -> Scored:
        """What was computed before from the same content (see `keys.plain`), code and versions; else `compute()`.

        Scores and refusals (ScorerNotApplicable) are kept, other errors are not.
        """
        made = [versions(), *(f"{name}={version(name)}" for name in LIBRARIES)]
        path = self.folder / f"{key({'content': content, 'code': code(), 'versions': made})[:32]}.json"
        try:
            return _read(json.loads(path.read_text()))
        except (OSError, ValueError, KeyError, TypeError):
            scored = compute()
        if isinstance(scored.outcome, Score | ScorerNotApplicable):
            with suppress(OSError):  # a full or read-only disk: the score is there all the same
                self.folder.mkdir(parents=True, exist_ok=True)
                temporary = path.with_suffix(f".{os.getpid()}.tmp")
                temporary.write_text(json.dumps(_plain(scored)))
                temporary.replace(path)
        return scored


@cache
def code() -> str:
    """SHA-256 over `modelrank.scorers` and what it computes with: a scorer that was changed has no old scores.
    Comments, docstrings and the layout of the lines decide nothing."""
    digest = hashlib.sha256()
    for path in [*sorted(SCORERS.glob("*.py")), LINEAR]:
        tree = ast.parse(path.read_bytes())
        for node in ast.walk(tree):
            if isinstance(node, DOCUMENTED) and ast.get_docstring(node, clean=False) is not None:
                del node.body[0]
        digest.update(f"{path.name} {ast.dump(tree)}".encode())
    return digest.hexdigest()


def _plain(scored: Scored) -> dict[str, Any]:
    outcome, subscores = scored.outcome, scored.subscores
    return {
        "outcome": _plain_score(outcome) if isinstance(outcome, Score) else {"not_applicable": str(outcome)},
        "warning": scored.warning,
        "subscores": subscores
        if isinstance(subscores, str)
        else {"factor": subscores.factor, "scores": [_plain_score(score) for score in subscores.scores]},
    }


def _plain_score(score: Score) -> dict[str, Any]:
    parts = {
        name: {"dtype": str(part.dtype), "values": part.tolist()} if isinstance(part, np.ndarray) else float(part)
        for name, part in score.parts.items()
    }
    return asdict(score) | {"parts": parts}


def _read(found: dict[str, Any]) -> Scored:
    outcome, subscores = found["outcome"], found["subscores"]
    return Scored(
        ScorerNotApplicable(outcome["not_applicable"]) if "not_applicable" in outcome else _score(outcome),
        found["warning"],
        subscores
        if isinstance(subscores, str)
        else Subscores([_score(score) for score in subscores["scores"]], subscores["factor"]),
    )


def _score(found: dict[str, Any]) -> Score:
    parts = {
        name: np.array(part["values"], part["dtype"]) if isinstance(part, dict) else part
        for name, part in found["parts"].items()
    }
    return Score(found["value"], parts, found["seconds"])
