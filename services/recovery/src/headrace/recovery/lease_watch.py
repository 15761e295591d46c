"""Which leases have stood still for a whole lease before our own eyes: the only deaths recovery may declare.

A lease that is over by the server's clock says nothing by itself: MongoDB may have been away, with all renewals; the
primary may have moved to a host with another clock; recovery may just have started.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True)
class _Sight:
    lease_until: datetime
    since: float


class LeaseWatch:
    """Watches leases by a monotonic clock that the caller reads.

    Args:
        lease_seconds: How long a lease must stand still.
        gap_seconds: Longer than this between two looks, and the watch begins anew: nobody saw what happened between.
    """

    def __init__(self, *, lease_seconds: float, gap_seconds: float) -> None:
        self._lease_seconds = lease_seconds
        self._gap_seconds = gap_seconds
        self._sights: dict[str, _Sight] = {}
        self._last_look: float | None = None

    def reset(self) -> None:
        """Begin anew: a call failed, or the leadership is new."""
        self._sights = {}
        self._last_look = None

    def look(self, leases: Mapping[str, datetime], *, asked: float, answered: float) -> dict[str, datetime]:
        """Take in one successful answer.

        Args:
            leases: Every incarnation that is not marked dead → the end of its lease.
            asked: Monotonic seconds when the question was sent.
            answered: Monotonic seconds when the answer had come. What the answer says was true at some moment between
                the two, so a sight begins with the later and is compared with the earlier.

        Returns:
            Those whose lease has not moved for a whole lease. They are listed again until they are gone or renewed.
        """
        if self._last_look is not None and asked - self._last_look > self._gap_seconds:
            self.reset()
        self._last_look = answered
        sights = {}
        for incarnation_id, lease_until in leases.items():
            before = self._sights.get(incarnation_id)
            is_same = before is not None and before.lease_until == lease_until
            sights[incarnation_id] = before if before and is_same else _Sight(lease_until, answered)
        self._sights = sights
        return {
            incarnation_id: sight.lease_until
            for incarnation_id, sight in sights.items()
            if asked - sight.since >= self._lease_seconds
        }
