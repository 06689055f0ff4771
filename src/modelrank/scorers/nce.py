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

from modelrank.scorers.contract import scorer
from modelrank.types import FeatureSet, Score


@scorer(needs={"targets", "logits"}, on_subsets="rows")
def nce(data: FeatureSet) -> Score:
    """Minus the conditional entropy H(Y | Z), in nats (no parameters)."""
    assert data.logits is not None
    sources = data.logits.shape[1]
    cells = torch.bincount(data.targets * sources + data.logits.argmax(1), minlength=sources)
    counts = torch.nn.functional.pad(cells, (0, -len(cells) % sources)).view(-1, sources).double()
    # sum n(y,z) log(n(y,z) / n(z)) / N; xlogy has 0 log 0 = 0
    inner = torch.xlogy(counts, counts).sum() - torch.xlogy(counts.sum(0), counts.sum(0)).sum()
    return Score(float(inner) / len(data.targets))
