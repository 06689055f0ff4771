"""`stage=recommend`: which model to fine-tune, found under a budget by racing them, and that model, fine-tuned."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
from omegaconf import DictConfig, OmegaConf
from torch import nn

from modelrank import build
from modelrank.data.images import ImageData
from modelrank.hub.model import PretrainedModel
from modelrank.keys import key, short
from modelrank.memory.prior import believe
from modelrank.progress import spoken
from modelrank.provenance import command, commit, versions
from modelrank.recommend.answer import Answer, answer, table
from modelrank.recommend.budget import seconds
from modelrank.recommend.contestant import Rules
from modelrank.recommend.diary import Diary
from modelrank.recommend.probe import Probe
from modelrank.recommend.race import Race
from modelrank.recommend.trainings import Trainings, drawn, rules
from modelrank.recommend.winner import TASKS, save
from modelrank.report import figures, replay, terminal
from modelrank.report import race as page
from modelrank.root import resolve
from modelrank.stages.believed import believed
from modelrank.stages.check import opened
from modelrank.stages.extract import unread
from modelrank.stages.looked_at import LookedAt, looked_at
from modelrank.stages.rows import finish, run_facts
from modelrank.stages.score import ScoredHub, score_hub
from modelrank.tracking import Tracker
from modelrank.truth import ledger
from modelrank.truth.finetune import FineTuning
from modelrank.truth.measure import Alone
from modelrank.truth.metrics import sampling_error
from modelrank.types import ModelRankError

log = logging.getLogger(__name__)

PROBING = 0.1  # of the budget, before the race; where it ends early, as much again for the models left out
SCORING = 0.25  # of the budget: where the features of all models take more, the race begins without scores
REPLAYED = "experiments/results/replay"  # shipped rows of stage=replay
NO_SCORES = ScoredHub(pd.DataFrame(), {}, {})


def recommend(cfg: DictConfig, tracker: Tracker) -> pd.DataFrame:
    """Race, name a pick, measure it once on test, leave it fine-tuned in the run's folder `model`.

    Writes recommend.csv (one row a model), race.csv (one row a trial), recommendation.json and race.png. Stopped by a
    signal it names the pick that it has; the same command goes on. Raises ModelRankError where no model is left.
    """
    seconds(cfg.budget, math.inf)  # refuse one that is none before any work
    if not isinstance(cfg.sure, int | float) or not 0 < cfg.sure <= 1:
        raise ModelRankError(f"sure={cfg.sure}: give a probability above 0, at most 1 (0.95)")
    models, data = opened(cfg, networks=True)
    log.info("images: %s; %s", data.source, data.split_rule)
    protocol = build.protocol(cfg)
    raced = rules(protocol, data, cfg.race.shares, cfg.race.widths)
    assert isinstance(protocol, FineTuning)  # `rules` takes no other
    seen, few = drawn(data, protocol, **cfg.race.images)
    folder = _folder(cfg, models, few, protocol, raced)
    limit = PROBING * seconds(cfg.budget, math.inf)  # a share has none: it is of what all models cost
    with Alone(folder, "races these models on these images"):
        return _race(cfg, tracker, models, data, (seen, few), protocol, raced, folder, limit)


def _race(
    cfg: DictConfig,
    tracker: Tracker,
    hub: Mapping[str, PretrainedModel],
    data: ImageData,
    images: tuple[ImageData, ImageData],
    protocol: FineTuning,
    raced: Rules,
    folder: Path,
    limit: float,
) -> pd.DataFrame:
    """All of `recommend` after its inputs, alone in the race's folder; images: see `drawn`, limit: see `looked_at`."""
    (seen, few), diary = images, Diary(folder)
    asked = ledger.Asked.of(hub.values(), data, protocol)
    promising = _promising_first(cfg, hub, few, asked)
    looked = looked_at(cfg, promising, protocol, folder, diary, limit)
    probes = looked.probes
    models = {name: model for name, model in hub.items() if name in probes}
    if not models:
        reasons = "; ".join(f"{name}: {reason}" for name, reason in looked.out.items())
        raise ModelRankError(f"no model is left to recommend ({reasons}); loosen the constraints")
    cache = Path(cfg.paths.cache)
    trainings = Trainings(models, seen, few, protocol, raced, build.trainer(cfg), folder, cache, cfg.seed)
    val = seen.splits["val"]
    race = Race(
        models=list(hub),
        belief=believe(pd.DataFrame(index=list(hub), dtype=float)),
        rules=raced,
        step_seconds={name: probes[name].step_seconds for name in models},
        head_seconds={name: _pass_seconds(probes[name], few, ("train", "val"), protocol) for name in models},
        noise=partial(sampling_error, data.metric, targets=val.targets, groups=val.groups),
        point=cfg.point,
        seed=cfg.seed,
    )
    everything = race.everything()
    budget = seconds(cfg.budget, everything)
    log.info("budget: %s, of about %s that training all models would take", spoken(budget), spoken(everything))
    # Measuring the pick on the test images comes last, whichever it is.
    testing = max(_pass_seconds(probes[name], data, ("test",), protocol) for name in models)
    scored = _scored_within(cfg, hub, few, probes, protocol, diary, SCORING * budget)
    belief, rests = believed(cfg, hub, few, asked, scored)
    log.info("before the race it goes by %s", rests)
    race = replace(race, belief=belief)
    try:
        with build.executor(cfg)(trainings.advance) as executor:
            ended = race.run(executor, diary, budget - testing, cfg.sure)
    except (KeyboardInterrupt, SystemExit):  # Lightning makes the second of the first
        _tell(cfg, tracker, race, looked, {"spent": diary.spent, "budget": budget})
        log.warning("stopped; the same command goes on from here")
        raise
    finally:
        _remember(cfg, race, asked, data)
    more = diary.spent + PROBING * budget
    if looked.unseen and more < budget - testing:
        log.info("%s; on to models that were not looked at: %s", ended, len(looked.unseen))
        return _race(cfg, tracker, hub, data, images, protocol, raced, folder, more)
    log.info("no further training: %s", ended)
    pick = race.at_hand().get(race.pick())
    beside: dict[str, Any] = {"spent": diary.spent, "budget": budget, "everything": everything, "ended": ended}
    if pick is not None and pick.lr is not None:
        tested, network = trainings.finish(pick.model, pick.lr, pick.rung)
        beside |= {"test": tested["value"], "test_images": len(data.splits["test"])}
        beside |= {"steps": pick.steps, "lr": pick.lr}
        if data.task in TASKS:
            beside["recipe"] = _left(cfg, network, models[pick.model], data, protocol, beside | {"val": pick.value})
        else:
            log.warning("no network is left: one for %s cannot be kept; these can: %s", data.task, ", ".join(TASKS))
    elif failed := {trial.model: trial.reason for trial in race.trials if trial.reason}:
        _tell(cfg, tracker, race, looked, beside)
        raise ModelRankError(f"no training worked ({'; '.join(f'{name}: {why}' for name, why in failed.items())})")
    else:
        log.warning(
            "the budget did not suffice to train any model (%s are for measuring the pick on the test images); "
            "the pick is by what is known without; give a larger one",
            spoken(testing),
        )
    return _tell(cfg, tracker, race, looked, beside)


def _left(
    cfg: DictConfig,
    network: nn.Module,
    model: PretrainedModel,
    data: ImageData,
    protocol: FineTuning,
    facts: Mapping[str, Any],
) -> str:
    """Save the network with all it needs; the lines of Python that load it."""
    facts = {**facts, **_provenance(cfg, data, protocol), "metric": data.metric}
    preprocessing = model.preprocessing.at(protocol.image_size)
    where = Path(cfg.paths.run) / "model"
    kept = save(where, network, model, data, preprocessing, facts)
    built = ", architecture=WHAT_BUILDS_IT" * (kept["architecture"]["library"] == "other")
    recipe = f"import modelrank\nmodelrank.load({str(where)!r}{built}).predict('image.jpg')"
    plain = kept["recipe"]
    return f"{recipe}\n\n# without this package, in that folder\n{plain}" if plain else recipe


def _remember(cfg: DictConfig, race: Race, asked: ledger.Asked, data: ImageData) -> None:
    """Values on val of the trainings that came to their end, for predictions on other data sets. No truth: the rates
    were raced in another way than the protocol's, and val has chosen among them."""
    raced = f"{asked.protocol}, raced"
    protocol_id = short({"raced": asked.protocol_id, "rules": race.rules.numbers(), "images": dict(cfg.race.images)})
    rows = [
        {"dataset": data.name, "model": model, "protocol": raced, "seed": cfg.seed}
        | {"model_id": asked.models[model], "data_id": asked.data_id, "protocol_id": protocol_id}
        | {"metric": data.metric, "accuracy": value, "command": command(), "commit": commit(), "versions": versions()}
        for model, value in race.finished().items()
    ]
    if rows:
        ledger.add(Path(cfg.paths.cache) / "truth" / "raced.csv", rows)


def _promising_first(
    cfg: DictConfig, models: Mapping[str, PretrainedModel], data: ImageData, asked: ledger.Asked
) -> dict[str, PretrainedModel]:
    """The models by what memory and facts alone expect of them."""
    belief, _ = believed(cfg, models, data, asked, NO_SCORES)
    expected = dict(zip(models, belief.given().mean, strict=True))
    return {name: models[name] for name in sorted(models, key=lambda name: -expected[name])}


def _scored_within(
    cfg: DictConfig,
    hub: Mapping[str, PretrainedModel],
    data: ImageData,
    probes: Mapping[str, Probe],
    protocol: FineTuning,
    diary: Diary,
    limit: float,
) -> ScoredHub:
    """The scores, or none where reading the features that are not kept would take more than `limit` seconds. Models
    that are out have theirs where no features must be read for it."""
    missing = unread(cfg, hub, data)
    new = [name for name in missing if name in probes]
    models = {name: model for name, model in hub.items() if name in probes or name not in missing}
    reading = sum(_pass_seconds(probes[name], data, data.scored, protocol) for name in new)
    if reading <= limit:
        with diary.working() if new else nullcontext():
            return score_hub(cfg, models, data)
    log.warning("scores would take about %s of that: the race begins without them", spoken(reading))
    return NO_SCORES


def _pass_seconds(found: Probe, data: ImageData, splits: Sequence[str], protocol: FineTuning) -> float:
    """Of one pass over these splits, a third of a training step a batch; what fits and decoding take is seen later."""
    return sum(len(data.splits[name]) for name in splits) / protocol.batch_size * found.step_seconds / 3


def _folder(
    cfg: DictConfig, models: Mapping[str, PretrainedModel], data: ImageData, protocol: FineTuning, raced: Rules
) -> Path:
    """Of the race of these models on these images by this protocol: a second budget goes on where the first ended."""
    content = {
        "models": {name: ledger.model_id(model) for name, model in models.items()},
        "data": ledger.data_id(data),
        "protocol": ledger.protocol_id(protocol),
        "race": raced.numbers(),
        "seed": cfg.seed,
    }
    return Path(cfg.paths.cache) / "races" / key(content)[:32]


def _provenance(cfg: DictConfig, data: ImageData, protocol: FineTuning) -> dict[str, Any]:
    return {
        "dataset": data.name,
        "source": data.source,
        "data_id": ledger.data_id(data),
        "protocol": protocol.name,
        "protocol_id": ledger.protocol_id(protocol),
        "seed": cfg.seed,
        "command": command(),
        "commit": commit(),
        "versions": versions(),
    }


def _tell(
    cfg: DictConfig,
    tracker: Tracker,
    race: Race,
    looked: LookedAt,
    beside: Mapping[str, Any],
) -> pd.DataFrame:
    """Write and print what the race says now."""
    found: Answer = answer(
        race, looked.probes, metric=cfg.dataset.metric, wanted=cfg.sure, not_looked_at=len(looked.unseen)
    )
    rows = table(race, looked.probes, metric=cfg.dataset.metric)
    out = looked.out | dict.fromkeys(looked.unseen, "not looked at: the budget went into models that promise more")
    left_out = pd.DataFrame([{"model": name, "reason": f"left out: {reason}"} for name, reason in out.items()])
    rows = pd.concat([rows, left_out], ignore_index=True) if out else rows
    rows = pd.DataFrame([run_facts(cfg)] * len(rows)).join(rows)
    finish(cfg, tracker, "recommend", rows)
    own = [asdict(trial) for trial in race.trials if trial.model in looked.probes]
    trials = pd.DataFrame([{k: v for k, v in trial.items() if k != "found"} for trial in own])
    finish(cfg, tracker, "race", trials)
    if len(trials):
        tracker.curves("race", trials.rename(columns={"model": "line", "steps": "step"}).dropna(subset="value"))
    content = asdict(found) | dict(beside) | {"sentence": found.sentence()}
    text = json.dumps(content, indent=1, ensure_ascii=False)
    (Path(cfg.paths.run) / "recommendation.json").write_text(text, encoding="utf-8")
    shown = ["now", "expected", "low", "high", "val", "steps", "chance_best", "seconds", "latency_ms", "reason"]
    title = f"{cfg.dataset.name}: {spoken(beside['spent'])} of {spoken(beside['budget'])}"
    terminal.rows(rows.reindex(columns=["model", *shown]), title)
    drawn = page.draw(trials, found.pick, cfg.dataset.metric, found.steps_to_end)
    if drawn:
        figures.save(drawn, figure := Path(cfg.paths.run) / "race.png")
        tracker.figure("race", figure)
    made = {
        "hub": cfg.hub.name,
        "data set": cfg.dataset.name,
        "metric": cfg.dataset.metric,
        "protocol": cfg.protocol.name,
        "budget": f"{spoken(beside['spent'])} of {spoken(beside['budget'])} ({cfg.budget})",
        "command": command(),
        "commit": commit(),
        "versions": versions(),
        "config": OmegaConf.to_yaml(cfg, resolve=True),
    }
    run, recipe, elsewhere = Path(cfg.paths.run), beside.get("recipe", ""), replay.shipped(resolve(REPLAYED))
    tracker.page("report", page.write(run, found.sentence(), rows, drawn, content, made, recipe, elsewhere))
    terminal.answer(found.sentence())
    if "test" in beside:
        terminal.answer(f"measured once on the {beside['test_images']} test images: {beside['test']:.4f}")
    if "recipe" in beside:
        terminal.answer(f"fine-tuned, with all it needs: {Path(cfg.paths.run) / 'model'} (modelrank.load)")
    return rows
