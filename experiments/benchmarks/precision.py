"""What the arithmetic of the networks changes in scores and orders.

    python run.py stage=score hydra.run.dir=A
    python run.py stage=score extraction.precision=bf16-mixed hydra.run.dir=B
    python experiments/benchmarks/precision.py A/scores.csv B/scores.csv

A row a scorer: the largest difference of a score as a share of the spread of the first run's scores (the best less the
worst), Kendall's tau of the two orders, and whether the first stays the first.
"""

import sys

import pandas as pd
from scipy.stats import kendalltau


def compare(first: pd.DataFrame, second: pd.DataFrame) -> pd.DataFrame:
    """Of the models that both have; scorers without two such models are left out."""
    index = ["scorer", "model"]
    both = first.set_index(index)["score"].to_frame("a").join(second.set_index(index)["score"].rename("b")).dropna()
    rows = []
    for scorer, own in both.groupby(level="scorer", sort=False):
        spread = own["a"].max() - own["a"].min()
        if len(own) < 2 or spread == 0:
            continue
        rows.append(
            {
                "scorer": scorer,
                "models": len(own),
                "largest change, share of the spread": float((own["a"] - own["b"]).abs().max() / spread),
                "tau": float(kendalltau(own["a"], own["b"]).statistic),
                "first stays": own["a"].idxmax() == own["b"].idxmax(),
            }
        )
    return pd.DataFrame(rows)


if __name__ == "__main__":
    print(compare(*map(pd.read_csv, sys.argv[1:3])).to_string(index=False, float_format="%.4f"))
