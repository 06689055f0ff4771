"""What the shipped truth was checked for, from its own rows: `python experiments/truth/checks.py`.

For each protocol that fine-tunes at 112 px: cells that reach the linear probe on the same images and size, the largest
binomial error of the test, and how well the orders of two seeds, of S and 2 S steps and of two data sets agree (tau_w
over the models that both have, five or more). Of two seeds also how far a value moves (its standard deviation, from
that of the differences), and what the best by one seed loses by the other, on average: by a table of one seed no
selection can be expected to do better.
"""

from collections.abc import Callable, Iterator
from itertools import combinations
from pathlib import Path

import pandas as pd

from modelrank.ranking.agreement import weighted_tau

HERE = Path(__file__).parent
PROBE, LONG = "linear_probe_offline", "_480"  # a name that ends so: the protocol with twice the steps
FEWEST = 5


def between_seeds(both: pd.DataFrame) -> str:
    """both: accuracy by model, a column a seed."""
    both = both.set_axis(["first", "second"], axis=1)
    spread = (both["first"] - both["second"]).std() / 2**0.5
    lost = [both[by].max() - both[by][both[other].idxmax()] for by, other in (both.columns, both.columns[::-1])]
    return f"; a value moves by {100 * spread:.2f} points; the best by the other seed loses {50 * sum(lost):.2f}"


def agreeing(
    pairs: Iterator[tuple[str, pd.Series, pd.Series]], more: Callable[[pd.DataFrame], str] = lambda both: ""
) -> Iterator[str]:
    for what, first, second in pairs:
        both = pd.concat([first, second], axis=1, join="inner").dropna()
        if len(both) >= FEWEST:
            tau_w = float(weighted_tau(both.iloc[:, 0], both.iloc[:, 1]))
            yield f"{what}: tau_w {tau_w:.2f} ({len(both)} models){more(both)}"


def orders(rows: pd.DataFrame) -> dict[tuple[str, int], pd.Series]:
    """Accuracy by model, for each data set and seed."""
    return {
        (str(dataset), int(seed)): group.set_index("model").accuracy
        for (dataset, seed), group in rows.groupby(["dataset", "seed"])
    }


def checks(rows: pd.DataFrame, protocol: str) -> Iterator[str]:
    own, probed, longer = (rows[rows.protocol == name] for name in (protocol, PROBE, protocol + LONG))
    yield f"{len(own)} cells: " + ", ".join(
        f"{dataset} seed {seed} ({len(group)} models)" for (dataset, seed), group in own.groupby(["dataset", "seed"])
    )
    cells = own.merge(probed.drop_duplicates(["dataset", "model"]), on=["dataset", "model"], suffixes=("", "_probe"))
    behind = cells[cells.accuracy < cells.accuracy_probe]
    yield f"at least the linear probe: {len(cells) - len(behind)} of {len(cells)}" + "".join(
        f"; {cell.dataset} {cell.model} {cell.accuracy:.3f} < {cell.accuracy_probe:.3f}" for cell in behind.itertuples()
    )
    error = (own.accuracy * (1 - own.accuracy) / own.n_test).pow(0.5)
    yield f"binomial error of the test: at most {100 * error.max():.2f} points"
    found = orders(own)
    same = [(a, b) for a, b in combinations(found, 2) if a[0] == b[0]]
    yield from agreeing(((f"{a[0]}, seeds {a[1]} and {b[1]}", found[a], found[b]) for a, b in same), between_seeds)
    long = orders(longer)
    yield from agreeing((f"{key[0]} seed {key[1]}, S and 2 S steps", found[key], long[key]) for key in long)
    other = [(a, b) for a, b in combinations(found, 2) if a[0] != b[0] and a[1] == b[1]]
    yield from agreeing((f"{a[0]} and {b[0]}, seed {a[1]}", found[a], found[b]) for a, b in other)


def main() -> None:
    rows = pd.read_csv(HERE / "measured.csv")
    for protocol in ("finetune_offline", "finetune_probed_head", "finetune_random_head"):
        print(f"{protocol}:")
        for line in checks(rows, protocol):
            print(f"  {line}")


if __name__ == "__main__":
    main()
