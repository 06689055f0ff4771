"""Which models a race is between: those that cost was measured of and that are within the constraints."""

from __future__ import annotations

import logging
import platform
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import NamedTuple

from omegaconf import DictConfig

from modelrank import build, stopping
from modelrank.hub.model import PretrainedModel
from modelrank.keys import short
from modelrank.progress import progress
from modelrank.recommend.diary import Diary, read, write
from modelrank.recommend.probe import Probe, probe
from modelrank.truth.finetune import FineTuning

log = logging.getLogger(__name__)


class LookedAt(NamedTuple):
    """probes: what each model costs on this machine. out: why a model is out, by the constraints or an error. unseen:
    those that were not looked at for lack of budget."""

    probes: dict[str, Probe]
    out: dict[str, str]
    unseen: list[str]


def looked_at(
    cfg: DictConfig,
    models: Mapping[str, PretrainedModel],
    protocol: FineTuning,
    folder: Path,
    diary: Diary,
    limit: float,
) -> LookedAt:
    """What each model costs, measured once a race. Unseen are those before whose turn `limit` seconds were spent (the
    first that is within the constraints has one). One that an error kept out has another turn in the next run, if there
    is time; else it is out by the same error."""
    limits = build.constraints(cfg)
    device = "cuda" if cfg.trainer.accelerator == "gpu" else "cpu"
    path = folder / f"probes-{short({'host': platform.node(), 'device': device})}.json"
    known = read(path)
    looked = LookedAt({}, {}, [])
    for name, model in progress(models.items(), "probe", len(models), "models"):
        new = "error" in known.get(name, {"error": ""})
        if new and diary.spent > limit and looked.probes:
            if name in known:
                looked.out[name] = known[name]["error"]
            else:
                looked.unseen.append(name)
            continue
        try:
            if new:
                with diary.working():
                    found = probe(
                        model,
                        image_size=protocol.image_size,
                        batch_size=protocol.batch_size,
                        cache=Path(cfg.paths.cache),
                        device=device,
                    )
                known[name] = asdict(found)
                write(path, known)
            found = Probe(**known[name])
        except Exception as error:  # one bad model must not stop the others
            stopping.again()
            log.warning("%s: %s", name, error)
            looked.out[name] = str(error)
            known[name] = {"error": str(error)}
            write(path, known)
            continue
        if reason := limits.broken(model.licence, found):
            log.info("%s is left out: %s", name, reason)
            looked.out[name] = reason
        else:
            looked.probes[name] = found
    return looked
