"""Which models may be recommended at all: limits on size, speed, memory and licence, looked at before any training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from modelrank.recommend.probe import Probe
from modelrank.settings import check_number


@dataclass(frozen=True)
class Constraints:
    """max_latency_ms: of one image on this machine. max_memory_gb: of fine-tuning with the protocol's batch.
    licence: a pattern such as 'Apache*' or 'MIT', or several, of which the model's must match one (case is ignored)."""

    max_parameters: float | None = None
    max_latency_ms: float | None = None
    max_memory_gb: float | None = None
    licence: str | Sequence[str] | None = None

    def __post_init__(self) -> None:
        for name in ("max_parameters", "max_latency_ms", "max_memory_gb"):
            check_number(f"constraints.{name}", getattr(self, name), above=0, null=True)

    def broken(self, licence: str, probe: Probe) -> str:
        """Why a model is out, or ''."""
        patterns = [self.licence] if isinstance(self.licence, str) else self.licence
        if patterns and not any(fnmatchcase(licence.lower(), pattern.lower()) for pattern in patterns):
            return f"its licence is {licence}"
        limits = (
            ("parameters", probe.parameters, self.max_parameters, "{:,.0f}"),
            ("milliseconds an image", probe.latency_ms, self.max_latency_ms, "{:.1f}"),
            ("GB to fine-tune", probe.memory_gb, self.max_memory_gb, "{:.2f}"),
        )
        for unit, value, limit, form in limits:
            if limit is not None and value > limit:
                return f"{form.format(value)} {unit}, more than {form.format(limit)}"
        return ""
