"""The judges of a history: pure functions, one promise each. Read them before you believe a table."""

from __future__ import annotations

from collections.abc import Iterable

from tests.chaos.history import History

from .c00_faults import check_faults
from .c01_lost import check_lost
from .c02_ghosts import check_ghosts
from .c03_log import check_log
from .c04_fencing import check_fencing
from .c05_overlap import check_overlap
from .c06_bound import check_bound
from .c07_priority import check_priority
from .c08_cancel import check_cancel
from .c09_reads import check_reads
from .c09_ready import check_ready
from .c10_rebuilt import check_rebuilt
from .c10_redis import check_redis
from .c11_times import check_times
from .c12_hygiene import check_hygiene
from .c13_starts import check_starts
from .c14_popped import check_popped
from .report import Checker, Report, Violation

CHECKERS: tuple[Checker, ...] = (
    check_faults,
    check_lost,
    check_ghosts,
    check_log,
    check_fencing,
    check_overlap,
    check_bound,
    check_priority,
    check_cancel,
    check_reads,
    check_ready,
    check_redis,
    check_rebuilt,
    check_times,
    check_hygiene,
    check_starts,
    check_popped,
)


def check(history: History, checkers: Iterable[Checker] = CHECKERS) -> tuple[Report, ...]:
    """Let every checker judge a history, in their order."""
    return tuple(checker(history) for checker in checkers)


__all__ = ["CHECKERS", "Checker", "Report", "Violation", "check"]
