"""Values of the scorers on the data sets with measured accuracies, by identity: what `memory.scored` begins with.

    python run.py -m experiment=table_offline
    python experiments/truth/scores.py multirun/table_offline/rank > experiments/truth/scores.csv

Of the user's table (truth/scores.csv in the cache) the rows of models and data sets in measured.csv that this sweep
scored: an older value of what no longer has one is left out.
"""

import sys
from pathlib import Path

import pandas as pd
from hydra import compose, initialize_config_dir

from modelrank.root import CONF

TRUTH = Path(__file__).parent


def main(sweep: Path) -> None:
    with initialize_config_dir(str(CONF), version_base=None):
        cache = Path(compose("config", ["paths.run=."]).paths.cache)
    measured = pd.read_csv(TRUTH / "measured.csv", dtype=str)
    scored = pd.concat([pd.read_csv(path) for path in sorted(sweep.glob("*/scores.csv"))])
    scored = scored.loc[scored.status == "ok", ["dataset", "model", "scorer"]]
    rows = pd.read_csv(cache / "truth" / "scores.csv", dtype=str)
    known = measured.loc[measured.protocol == "finetune_offline", ["model_id", "data_id"]].drop_duplicates()
    rows = rows.merge(known, on=["model_id", "data_id"]).merge(scored, on=["dataset", "model", "scorer"])
    rows = rows.drop_duplicates(["dataset", "model", "scorer"], keep="last")  # as it is seen now: see `scorer_ids`
    rows[["dataset", "model", "scorer", "model_id", "data_id", "scorer_id", "images", "score"]].sort_values(
        ["dataset", "model", "scorer"]
    ).to_csv(sys.stdout, index=False, lineterminator="\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
