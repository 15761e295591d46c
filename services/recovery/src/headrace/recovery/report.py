"""The report of one pass, as text for a person and as JSON for a script."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from headrace.recovery.counts import Counts
from headrace.recovery.judge import DriftKind

KINDS = tuple(kind.value for kind in DriftKind)


@dataclass(frozen=True)
class Report:
    """What a pass found and did.

    Attributes:
        drift: Pool → kind → how many differences.
        incomplete: Pools whose index was not known to hold every job.
        waits: What else waits for recovery, in words → how many, each up to a limit. None of it lasts for more than
            seconds while a recovery runs.
        mended: What was put right, by reason; None when nothing was to be changed.
        left: What could not be put right, in words → how many.
    """

    drift: Mapping[str, Counts]
    incomplete: Sequence[str]
    waits: Mapping[str, int] = field(default_factory=dict)
    mended: Counts | None = None
    left: Mapping[str, int] = field(default_factory=dict)

    @property
    def is_clean(self) -> bool:
        """Whether nothing differed."""
        drifted = any(sum(found.values()) for found in self.drift.values())
        return not (self.incomplete or drifted or any(self.waits.values()))

    @property
    def is_repaired(self) -> bool:
        """Whether nothing is left that was looked at again."""
        return not any(self.left.values())


def text(found: Report) -> str:
    """The report in lines, with a table of the pools."""
    pools = sorted({*found.drift, *found.incomplete})
    width = max([len("pool"), *(len(pool) for pool in pools)])
    lines = ["  ".join([f"{'pool':{width}}", *KINDS, "complete"])]
    for pool in pools:
        counts = found.drift.get(pool)
        cells = [f"{'-' if counts is None else counts[kind]:>{len(kind)}}" for kind in KINDS]
        complete = "no" if pool in found.incomplete else "yes"
        lines.append("  ".join([f"{pool:{width}}", *cells, f"{complete:>8}"]))
    lines += [f"{words}: {count}" for words, count in found.waits.items()]
    if found.mended is not None:
        done = ", ".join(f"{reason} {count}" for reason, count in sorted(found.mended.items())) or "nothing"
        lines.append(f"repaired: {done}")
    lines += [f"left: {words} {count}" for words, count in found.left.items() if count]
    lines.append(_verdict(found))
    return "\n".join(lines) + "\n"


def as_json(found: Report) -> str:
    """The report as one JSON document."""
    value = {
        "verdict": _verdict(found),
        "drift": {pool: {kind: counts[kind] for kind in KINDS} for pool, counts in sorted(found.drift.items())},
        "incomplete": list(found.incomplete),
        "waits": dict(found.waits),
        "mended": None if found.mended is None else dict(found.mended),
        "left": {words: count for words, count in found.left.items() if count},
    }
    return json.dumps(value) + "\n"


def _verdict(found: Report) -> str:
    if not found.is_repaired:
        return "not everything could be repaired"
    if found.is_clean:
        return "clean"
    return "differences were found" if found.mended is None else "differences were found and repaired"
