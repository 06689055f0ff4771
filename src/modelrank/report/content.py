"""What a report says of one hub on one data set, before it is a terminal table, a figure or a page."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np
import pandas as pd

from modelrank.ranking.agreement import ceiling
from modelrank.report.numbers import in_points, interval
from modelrank.types import Boxes, Truth

# Rows that every scorer must be read against: no pre-trained features, or no transferability score.
REFERENCES = ("linear_probe", "knn", "static_order", "imagenet_accuracy", "parameters")
METRICS = {
    "accuracy": "accuracy",
    "mean_per_class_accuracy": "mean per-class accuracy",
    "map11": "11-point mAP",
    "r2": "R²",
    "map50": "mAP@0.5",
    "map": "mAP@[.5:.95]",
}
PREDICTION = "prediction"  # in ranking.csv, beside the scorers
PREDICTED = {"expected": "expected", "expected_low": "low", "expected_high": "high", "chance_best": "chance_best"}
TEXTS = ("note", "models_common")
TERMS = {"cls": "classes", "reg": "boxes"}  # parts that a detection score is the sum of, each scaled over the hub


@dataclass(frozen=True)
class Scene:
    """One test image with its objects, and what each of some models found in it after fine-tuning.

    image: H x W x 3 uint8; found: heading -> boxes, in the order in which they are shown.
    """

    name: str
    image: np.ndarray
    marked: Boxes
    found: Mapping[str, Boxes]
    classes: Sequence[str]


@dataclass(frozen=True)
class ModelRow:
    """One model in the order of the prediction or, without one, of the report's scorer; NaN is unknown. Equals share
    the better rank. accuracy_rank: among all measured models. expected, expected_low, expected_high: predicted accuracy
    and its 80 % interval."""

    rank: int
    model: str
    score: float
    low: float
    high: float
    accuracy: float
    accuracy_rank: float
    expected: float = math.nan
    expected_low: float = math.nan
    expected_high: float = math.nan
    chance_best: float = math.nan


@dataclass(frozen=True)
class ScorerRow:
    """How well one scorer ranked; the columns of ranking.csv, NaN where there is no value."""

    scorer: str
    tau_w: float
    tau_w_low: float
    tau_w_high: float
    chance: float
    tau: float
    pearson: float
    spearman: float
    pr_top1: float
    rel_at_1: float
    regret_at_1: float
    tau_w_common: float
    n_models: int
    seconds: float
    note: str
    models_common: str

    @property
    def reference(self) -> bool:
        return self.scorer in REFERENCES


@dataclass(frozen=True)
class Report:
    """scores:  rows of scores.csv of one hub and data set.
    ranking: rows of ranking.csv of the same; empty without truth.
    parts:   model -> parts of its score by `scorer`; `ratio` and `task` (G each) where it is spectral.
    truth:   measured accuracies, or None (a practitioner's own data).
    context: what was done, all optional: `untrue` (why there is no truth), `scored` (names of the scored splits), `n`
             (rows scored), `unit` (what a row is, `images` unless said), `scenes` (for a figure, see `Scene`),
             `source` (the copy of the data set that was taken), `notes` (what of it was left out or looks wrong),
             `licences` (name -> licence), `versions` (text), `config` (YAML text), `command`, `commit`, `seconds`,
             `metric` (of the data set), `first_is_best` (on which share of subsets of the images it is), `level` (of
             the scores' intervals), `samples` (heading -> (id, image) of some), `classes` (how many the data set has).
    scorer:  the one whose scores are shown; by default the first in `scores`.
    prediction: as `modelrank.memory.prediction.predicted`; where given its mean orders the models.
    """

    scores: pd.DataFrame
    ranking: pd.DataFrame = field(default_factory=pd.DataFrame)
    parts: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    truth: Truth | None = None
    context: Mapping[str, Any] = field(default_factory=dict)
    scorer: str = ""
    prediction: pd.DataFrame | None = None

    def __post_init__(self) -> None:
        if not self.scorer and len(self.scores):
            object.__setattr__(self, "scorer", str(self.scores["scorer"].iloc[0]))

    @property
    def hub(self) -> str:
        return str(self.scores["hub"].iloc[0])

    @property
    def dataset(self) -> str:
        return str(self.scores["dataset"].iloc[0])

    @property
    def metric(self) -> str:
        return METRICS.get(self.truth.metric, self.truth.metric) if self.truth else ""

    @property
    def expected_metric(self) -> str:
        """What a prediction is in units of."""
        return METRICS.get(name := str(self.context.get("metric", "accuracy")), name)

    @property
    def leading(self) -> str:
        """What orders the models: `prediction`, as it is called in ranking.csv, or the scorer."""
        return self.scorer if self.prediction is None else PREDICTION

    def models(self) -> list[ModelRow]:
        """Those that the prediction or, without one, the scorer has a value for, best first; equals by name."""
        scored = {row["model"]: row for row in self._rows_of(self.scorer) if row["status"] == "ok"}
        predicted = self._predicted()
        rows = [scored.get(model, {"model": model, "score": math.nan}) for model in predicted or scored]
        return self._ordered(rows, predicted)

    def models_by(self, scorer: str) -> list[ModelRow]:
        """As `models`, ordered by one scorer alone; by the PREDICTION, which is then the score and its interval."""
        if scorer != PREDICTION or self.prediction is None:
            return self._ordered([row for row in self._rows_of(scorer) if row["status"] == "ok"], {})
        names = {"expected": "score", "low": "score_low", "high": "score_high"}
        return self._ordered(self.prediction.rename(columns=names).to_dict(orient="records"), {})

    def _ordered(self, rows: list[dict[str, Any]], predicted: Mapping[str, Mapping[str, float]]) -> list[ModelRow]:
        """By the mean that is predicted, or by their scores where there is none."""
        order = {row["model"]: predicted.get(row["model"], row).get("mean", row["score"]) for row in rows}
        rows = sorted(rows, key=lambda row: (-order[row["model"]], row["model"]))
        known = self.truth.accuracy if self.truth else {}
        accuracies = known.values()  # also of models without a score
        return [
            ModelRow(
                rank=1 + sum(other > order[row["model"]] for other in order.values()),
                model=row["model"],
                score=row["score"],
                low=_or_nan(row.get("score_low")),
                high=_or_nan(row.get("score_high")),
                accuracy=(accuracy := known.get(row["model"], math.nan)),
                accuracy_rank=1 + sum(other > accuracy for other in accuracies) if accuracy == accuracy else math.nan,
                **({name: predicted[row["model"]][column] for name, column in PREDICTED.items()} if predicted else {}),
            )
            for row in rows
        ]

    def _predicted(self) -> dict[str, dict[str, float]]:
        """model -> its row of the prediction; empty without one."""
        if self.prediction is None:
            return {}
        return {row["model"]: row for row in self.prediction.to_dict(orient="records")}

    def unscored(self) -> dict[str, str]:
        """model -> reason, for the models that `scorer` has no value for."""
        return {row["model"]: str(row["reason"]) for row in self._rows_of(self.scorer) if row["status"] != "ok"}

    def agreement(self) -> list[ScorerRow]:
        """How well each scorer ranked, best tau_w first, without tau_w last; empty without truth."""
        names = [column.name for column in fields(ScorerRow)]
        table = self.ranking.reindex(columns=pd.Index(names))
        texts = {name: table[name].astype(object).fillna("") for name in TEXTS}
        rows = table.assign(**texts).to_dict(orient="records")
        return sorted((ScorerRow(**row) for row in rows), key=lambda row: (-_or_least(row.tau_w), row.scorer))

    def _rows_of(self, scorer: str) -> list[dict[str, Any]]:
        return [row for row in self.scores.to_dict(orient="records") if row["scorer"] == scorer]

    def costs(self) -> pd.DataFrame:
        """Seconds by model: of fine-tuning, of the pass over the images, and of each scorer; NaN is unknown."""
        names = list(dict.fromkeys(self.scores["model"]))
        table = self.scores.pivot_table("seconds", "model", "scorer", sort=False, dropna=False).reindex(names)
        known = self.scores.reindex(columns=pd.Index(["model", "extraction_seconds"]))  # earlier rows have none
        passes = known.groupby("model")["extraction_seconds"].first()
        tuned = self.truth.seconds if self.truth else {}
        table.insert(0, "fine-tuning", pd.Series(tuned, index=names, dtype=float))
        table.insert(1, "features", pd.Series(passes, index=names, dtype=float))
        return table

    def rivals(self) -> list[str]:
        """Models whose interval meets that of the one ranked first."""
        first, *others = self.models()
        return [row.model for row in others if row.high >= first.low]

    def spectra(self) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        """model -> (ratio, task score), each G, in rank order; only models whose score is a spectral sum."""
        spectra = {}
        for model in (row.model for row in self.models()):
            parts = self.parts.get(model, {})
            if "ratio" in parts and "task" in parts:
                spectra[model] = (np.asarray(parts["ratio"], dtype=float), np.asarray(parts["task"], dtype=float))
        return spectra

    def terms(self) -> dict[str, dict[str, float]]:
        """Heading -> model -> value of the TERMS of the report's scorer; empty where it has none."""
        models = [row.model for row in self.models()]
        if not models or not all(set(TERMS) <= set(self.parts.get(model, {})) for model in models):
            return {}
        return {name: {model: float(self.parts[model][term]) for model in models} for term, name in TERMS.items()}

    def ceiling(self) -> float:
        """tau_w between two seeds of the truth; NaN where there is one."""
        return ceiling(self.truth) if self.truth else math.nan

    def uneven(self) -> bool:
        """Whether scorers have values for different models, so that their tau_w are not to be compared."""
        rows = self.agreement()
        return len({row.n_models for row in rows} | {len(row.models_common.split()) for row in rows} - {0}) > 1

    def score_interval(self) -> str:
        """Heading of the intervals of the scores."""
        return f"{100 * (self.context.get('level') or 0.95):g} % interval"  # None without stability

    def images(self) -> str:
        """Which images were scored, for a header line."""
        n, scored = self.context.get("n"), " + ".join(self.context.get("scored", ()))
        unit = self.context.get("unit", "images")
        text = f"{n:,} {unit}" if n else unit
        return f"{text} of {scored} scored" if scored else f"{text} scored"

    def answer(self) -> str:
        """What a user came for, with what following it would have cost where that was measured."""
        return " ".join(self.sentences())

    def sentences(self) -> list[str]:
        """The answer, the sentence that matters first."""
        models = self.models()
        if not models:
            return [f"{self.scorer} has no score for any model."]
        first, tied = models[0], [row.model for row in models if row.rank == 1]
        if len(tied) > 1:
            return [f"A tie: {', '.join(tied)}."]
        said = [f"Fine-tune {first.model} first{self._chance()}."]
        if self.prediction is not None:
            said.append(self._expectation(first))
        if self.truth is None or math.isnan(first.accuracy):
            return said
        best, most = max(self.truth.accuracy.items(), key=lambda known: known[1])
        if first.accuracy == most:
            return [*said, f"It was the best when measured: {self.metric} {first.accuracy:.3f}."]
        measured = f"Measured {self.metric}: {first.accuracy:.3f}, place {first.accuracy_rank:.0f}"
        return [*said, f"{measured}; the best was {best} with {most:.3f}."]

    def _expectation(self, first: ModelRow) -> str:
        """What to expect of the first, how sure that is, and what it rests on."""
        ties, certainty = self.context.get("ties", ()), self.context.get("certainty", math.nan)
        reach = f"{first.expected:.2f} {interval(first.expected_low, first.expected_high)}"
        sure = f"no other is better by {in_points(self.context.get('point', 0.01))} {certainty:.2f}"
        tied = f"; may be as good: {', '.join(ties)}" if ties else ""
        by = f"By {self.context.get('rests', 'what is known')}, nothing trained here; stage=recommend makes sure."
        return f"Expected {self.expected_metric} {reach}; chance that {sure}{tied}. {by}"

    def _chance(self) -> str:
        chance = self.context.get("first_is_best")
        if chance is None or self.prediction is not None or len(self.models()) == 1:
            return ""
        return f" (best by {self.scorer} on {100 * chance:.0f} % of subsets of the images)"

    def doubt(self) -> str:
        """What speaks against following the answer, in one or two sentences; empty where nothing is known."""
        models, lines = self.models(), []
        if len(models) > 1 and self.prediction is None and not math.isnan(models[0].low):
            rivals = self.rivals()
            names = ", ".join(rivals[:4]) + (f" and {len(rivals) - 4} more" if len(rivals) > 4 else "")
            lines.append(
                f"By their {self.score_interval()}s {names} may score as high."
                if rivals
                else f"No other {self.score_interval()} reaches its own."
            )
        own = next((row for row in self.agreement() if row.scorer == self.leading), None)
        if own and math.isfinite(own.tau_w):
            reach = interval(own.tau_w_low, own.tau_w_high)
            line = f"{self.leading} ordered these models at tau_w {own.tau_w:.2f} {reach}".rstrip()
            if math.isfinite(own.chance):
                sure = (
                    "more than"
                    if own.tau_w_low > own.chance
                    else "its interval reaches below"
                    if (own.tau_w > own.chance)
                    else "less than"
                )
                line += f"; {sure} the {own.chance:.2f} that random scores exceed in 5 % of cases"
            lines.append(f"{line}.")
        elif models and not self.truth:
            lines.append("How well the order holds on these images has not been measured.")
        return " ".join(lines)

    def truth_line(self) -> str:
        if self.truth is None:
            return f"{self.context.get('untrue') or 'no measured accuracy (truth=none)'}: the order is a prediction"
        seeds = self.truth.seeds()
        mean = "" if seeds in ("", "1") else f", mean of {seeds} seeds"
        line = f"truth: {self.metric} by protocol {self.truth.protocol}{mean}"
        named = "; matched by the models' names" if self.truth.match == "names" else ""
        others = f"; {self.truth.unmatched}" if self.truth.unmatched else ""
        return f"{line}; {self.truth.source}{named}{others}"

    def level_lines(self) -> list[str]:
        """What to hold the agreement against, and what is odd in it, a sentence each."""
        rows, lines = self.agreement(), []
        chance = {row.n_models: row.chance for row in rows if math.isfinite(row.chance)}
        if chance:
            cases = ", ".join(f"{chance[n]:.2f} with {n} models" for n in sorted(chance, reverse=True))
            lines.append(f"Random scores exceed tau_w {cases}, in 5 % of cases.")
        if self.uneven():
            n = max(len(row.models_common.split()) for row in rows)
            lines.append(
                "Scorers have values for different models: compare them by common, tau_w over the "
                f"{n} models that all compared ones have."
            )
        if math.isfinite(self.ceiling()):
            agree = f"Two seeds of the truth agree with each other at tau_w {self.ceiling():.2f}"
            lines.append(f"{agree}; the truth here is the mean over seeds, which is less noisy.")
        return lines + [f"{row.scorer}: {row.note}." for row in rows if row.note]


def _or_nan(value: float | None) -> float:
    return math.nan if value is None else value


def _or_least(value: float) -> float:
    return -math.inf if math.isnan(value) else value
