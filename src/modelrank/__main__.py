"""The one command: `modelrank [group=option ...]`, in a clone `python run.py`; conf/config.yaml lists what there is."""

import logging
import sys
from pathlib import Path

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from modelrank import build, ranks, stopping, sweep  # torch and the like they import when they need them
from modelrank.root import CONF
from modelrank.types import ModelRankError


@hydra.main(version_base="1.3", config_path=str(CONF), config_name="config")
def main(cfg: DictConfig) -> None:
    log = logging.getLogger("modelrank")
    stopping.heed(begun=True)  # here too: a launcher may have started another process for this job
    sweeping = HydraConfig.get().mode == RunMode.MULTIRUN
    cfg.paths.cache = str(Path(str(cfg.paths.cache)).expanduser())  # no shell does it where it is quoted, or in .env
    if cfg.skip_done and sweep.already_done():
        log.info("done already, skipped (skip_done=true)")
        return
    try:
        stopping.again()  # it may have come while Hydra put this job of a sweep together
        build.refuse_impossible(cfg, sweeping=sweeping)
        try:
            with ranks.own_part(cfg) as own, build.tracker(own) as tracker:
                build.stage(own)(own, tracker)
        finally:
            if left := sorted(path.name for path in Path(cfg.paths.run).glob("[!.]*") if path.suffix != ".log"):
                log.info("left in %s: %s", cfg.paths.run, ", ".join(left))
    except BaseException as error:
        # Lightning makes a SystemExit of the interrupt, other libraries errors of their own
        if stopping.asked() or not isinstance(error, Exception):
            log.warning("stopped; the rows that were finished are in %s", cfg.paths.run)
            if (why := stopping.given_up()) is not None:
                raise ModelRankError(f"the job was stopped before it was done ({why})") from None
            stopping.leave()  # it ends a sweep too
        if sweeping or not isinstance(error, ModelRankError) or log.isEnabledFor(logging.DEBUG):
            log.exception("the job failed")  # Hydra leaves no traceback in a job's own log
            raise
        sys.exit(f"modelrank: {error}")  # a sentence, not a traceback; exit code 1


def run() -> None:
    """The console script."""
    stopping.heed(begun=False)
    try:
        build.refuse_unreadable(sys.argv[1:])
        build.refuse_foreign(sys.argv[1:])
        build.refuse_unknown(sys.argv[1:])
        main()
    except ModelRankError as error:
        sys.exit(f"modelrank: {error}")
    except KeyboardInterrupt:
        stopping.leave()
    except SystemExit as end:
        if stopping.asked():  # Hydra takes a stop between the jobs of a sweep for a fault of the configuration
            stopping.leave()
        if end.code and (left := sweep.left()):
            sys.exit(f"modelrank: {left}")
        raise


if __name__ == "__main__":
    run()
