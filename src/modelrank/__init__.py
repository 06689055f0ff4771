"""Which pre-trained model should I fine-tune on my data, without fine-tuning them all?"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from modelrank.api import rank as rank
    from modelrank.api import score as score
    from modelrank.recommend.winner import FineTuned as FineTuned
    from modelrank.recommend.winner import load as load
    from modelrank.selector import ModelSelector as ModelSelector
    from modelrank.types import MissingAsset as MissingAsset
    from modelrank.types import ModelRankError as ModelRankError
    from modelrank.types import Ranking as Ranking
    from modelrank.types import Score as Score
    from modelrank.types import ScorerNotApplicable as ScorerNotApplicable

__all__ = [
    "FineTuned",
    "MissingAsset",
    "ModelRankError",
    "ModelSelector",
    "Ranking",
    "Score",
    "ScorerNotApplicable",
    "load",
    "rank",
    "score",
]
HOMES = {  # others: types
    "rank": "api",
    "score": "api",
    "ModelSelector": "selector",
    "FineTuned": "recommend.winner",
    "load": "recommend.winner",
}


def __dir__() -> list[str]:
    return __all__


def __getattr__(name: str) -> Any:
    """The names above, imported on first use: `import modelrank` must not load torch."""
    if name == "__version__":
        from importlib.metadata import version

        return version("modelrank")
    if name in __all__:
        return getattr(import_module(f"modelrank.{HOMES.get(name, 'types')}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
