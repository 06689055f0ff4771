"""Which pre-trained model should I fine-tune on my data, without fine-tuning them all?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from modelrank.api import rank as rank
    from modelrank.api import score as score
    from modelrank.recommend.winner import FineTuned as FineTuned
    from modelrank.recommend.winner import load as load

__all__ = ["FineTuned", "load", "rank", "score"]


def __getattr__(name: str) -> Any:
    """The names above, imported on first use: `import modelrank` must not load torch."""
    if name in ("load", "FineTuned"):
        from modelrank.recommend import winner

        return getattr(winner, name)
    if name in __all__:
        from modelrank import api

        return getattr(api, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
