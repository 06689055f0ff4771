"""NCE: negative conditional entropy of the target label given the source label.

Idea:
    If the source model's own answers nearly determine the target class, the transfer is easy.

Formula:
    NCE = sum_{y, z} P(y, z) log P(y | z)                       (<= 0, higher is better)
    hard source labels z_i = argmax of the source model's logits, P the empirical frequencies, 0 log 0 = 0

Ours:
    Ours adds no constant to the frequencies (one popular code adds 1e-5).

Source:
    Tran et al., ICCV 2019, arXiv 1908.08142.

Cost:
    N S time, C S memory.

Fails:
    Needs a source classifier. Where there are about as many source classes as images, each is nearly alone in its own
    and the entropy is 0 for any model.
"""

from __future__ import annotations

import torch
from jaxtyping import Int64
from torch import Tensor

from modelrank.scorers.contract import scorer
from modelrank.scorers.linalg import working
from modelrank.types import FeatureSet, Score


@scorer(needs={"targets", "logits"}, on_subsets="rows")
def nce(data: FeatureSet) -> Score:
    """Minus the conditional entropy H(Y | Z), in nats (no parameters)."""
    assert data.logits is not None
    source = torch.from_numpy(working(data.logits).numpy(force=True).argmax(1))  # numpy's is three times as fast
    cells = data.targets.cpu() * data.logits.shape[1] + source
    return Score((_sum_n_log_n(cells) - _sum_n_log_n(source)) / len(cells))  # sum n(y,z) log(n(y,z) / n(z)) / N


def _sum_n_log_n(values: Int64[Tensor, " N"]) -> float:
    """Over the values that there are, n being how often."""
    counts = torch.bincount(values)
    counts = counts[counts > 0].double()
    return float((counts * counts.log()).sum())
