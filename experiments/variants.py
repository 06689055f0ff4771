"""Does a variant of DISCO win where it was not chosen? `python experiments/variants.py` reads the ablations' rows.

For each data set the variant with the highest mean tau_w on the other sets is taken, and judged on the set itself,
beside the published form. All settings of the ablations in results/ablation_*_offline are candidates (but for the
sampling of images and their split: those are other images, not another score).
"""

import re
from pathlib import Path

import pandas as pd

RESULTS = Path(__file__).parent / "results"
VARIANTS = ("scale", "groups", "components", "weighting", "covariance")
SETTING = re.compile(r"scorers\.disco\.(\S+)")


def variants() -> pd.DataFrame:
    """tau_w: a row a data set, a column a setting."""
    found = {}
    for name in VARIANTS:
        rows = pd.read_csv(RESULTS / f"ablation_{name}_offline" / "results.csv")
        rows["variant"] = rows.overrides.str.extract(SETTING, expand=False)
        for variant, own in rows.groupby("variant"):
            found[str(variant)] = own.set_index("dataset").tau_w
    return pd.DataFrame(found)


def main() -> None:
    table = variants()
    published = table["weighting=ratio"]
    print("| data set | chosen on the other sets | its tau_w here | published form |\n|---|---|---:|---:|")
    chosen = []
    for dataset in table.index:
        best = table.drop(index=dataset).mean().idxmax()
        chosen.append(table.loc[dataset, best])
        print(f"| {dataset} | {best} | {chosen[-1]:.2f} | {published[dataset]:.2f} |")
    print(f"| mean | | {sum(chosen) / len(chosen):.2f} | {published.mean():.2f} |")


if __name__ == "__main__":
    main()
