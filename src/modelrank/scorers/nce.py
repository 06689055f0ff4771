"""NCE: negative conditional entropy of the target label given the source label (Tran et al., ICCV 2019, 1908.08142).

    NCE = sum_{y, z} P(y, z) log P(y | z)                       (<= 0, higher is better)

with hard source labels z_i = argmax of the source model's logits, P the empirical frequencies, 0 log 0 = 0.
Ours adds no constant to the frequencies (one popular code adds 1e-5). Needs logits. Cost N x S time, C x S memory.
"""

from __future__ import annotations

import torch

from modelrank.scorers.contract import scorer
from modelrank.types import FeatureSet, Score


@scorer(tasks={"classification", "detection"}, needs={"targets", "logits"}, on_subsets="rows")
def nce(data: FeatureSet) -> Score:
    """Minus the conditional entropy H(Y | Z), in nats (no parameters)."""
    assert data.logits is not None
    sources = data.logits.shape[1]
    cells = torch.bincount(data.targets * sources + data.logits.argmax(1), minlength=sources)
    counts = torch.nn.functional.pad(cells, (0, -len(cells) % sources)).view(-1, sources).double()
    # sum n(y,z) log(n(y,z) / n(z)) / N; xlogy has 0 log 0 = 0
    inner = torch.xlogy(counts, counts).sum() - torch.xlogy(counts.sum(0), counts.sum(0)).sum()
    return Score(float(inner) / len(data.targets))
