"""The report of one pass, as text for a person."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from headrace.recovery.counts import Counts
from headrace.recovery.judge import DriftKind


@dataclass(frozen=True)
class Report:
    """What a pass found and did.

    Attributes:
        drift: Pool → kind → how many differences.
        incomplete: Pools whose index was not known to hold every job.
        orphans: Processing jobs of dead workers, up to a limit.
        mended: What was put right, by reason; None when nothing was to be changed.
    """

    drift: Mapping[str, Counts]
    incomplete: Sequence[str]
    orphans: int
    mended: Counts | None = None
    kinds: Sequence[str] = field(default=tuple(kind.value for kind in DriftKind))

    @property
    def is_clean(self) -> bool:
        """Whether nothing differed."""
        return (
            not self.incomplete and not self.orphans and not any(sum(found.values()) for found in self.drift.values())
        )


def text(found: Report) -> str:
    """The report in lines, with a table of the pools."""
    width = max([len("pool"), *(len(pool) for pool in found.drift)])
    lines = ["  ".join([f"{'pool':{width}}", *found.kinds, "complete"])]
    for pool, counts in sorted(found.drift.items()):
        cells = [f"{counts[kind]:>{len(kind)}}" for kind in found.kinds]
        complete = "no" if pool in found.incomplete else "yes"
        lines.append("  ".join([f"{pool:{width}}", *cells, f"{complete:>8}"]))
    lines.append(f"orphans: {found.orphans}")
    if found.mended is not None:
        done = ", ".join(f"{reason} {count}" for reason, count in sorted(found.mended.items())) or "nothing"
        lines.append(f"repaired: {done}")
    lines.append("clean" if found.is_clean else "differences were found")
    return "\n".join(lines) + "\n"
