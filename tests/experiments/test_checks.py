"""What experiments/truth/README.md says the truth was checked for is what its rows say."""

import re
import runpy
from pathlib import Path

import pandas as pd

TRUTH = Path(__file__).parents[2] / "experiments/truth"


def test_the_readme_of_the_truth_says_what_the_checks_say():
    checks = runpy.run_path(str(TRUTH / "checks.py"))["checks"]
    rows, readme = pd.read_csv(TRUTH / "measured.csv"), " ".join((TRUTH / "README.md").read_text().split())
    for protocol in ("finetune_offline", "finetune_probed_head", "finetune_random_head"):
        said = "\n".join(checks(rows, protocol))
        (reached,) = re.findall(r"at least the linear probe: (\d+ of \d+)", said)
        assert f"{reached} cells" in readme


def test_a_cell_behind_its_probe_and_seeds_that_agree_are_said():
    checks = runpy.run_path(str(TRUTH / "checks.py"))["checks"]
    models, accuracy = list("abcde"), [0.5, 0.6, 0.7, 0.8, 0.9]
    other = [0.5, 0.6, 0.7, 0.9, 0.8]
    cell = {"dataset": "x", "model": models, "n_test": 2500}
    rows = pd.concat(
        [
            *(
                pd.DataFrame(cell | {"protocol": "p", "seed": seed, "accuracy": values})
                for seed, values in enumerate((accuracy, accuracy, other))
            ),
            pd.DataFrame(cell | {"protocol": "linear_probe_offline", "seed": 0, "accuracy": [0.55] * 5}),
        ]
    )
    said = list(checks(rows, "p"))
    assert said[1].startswith("at least the linear probe: 12 of 15; x a 0.500 < 0.550")
    assert said[2] == "binomial error of the test: at most 1.00 points"
    same, other = (line.split("; ") for line in said[3:5])
    assert same[0] == "x, seeds 0 and 1: tau_w 1.00 (5 models)"
    assert same[1:] == ["a value moves by 0.00 points", "the best by the other seed loses 0.00"]
    assert other[1:] == ["a value moves by 5.00 points", "the best by the other seed loses 10.00"]
