"""How many slots each pool gets: pure arithmetic over what waits, what runs and what there is.

Three steps. `slots_wanted`: what a pool needs now. `Trend`: the same with cool-downs. `share_slots`: what each pool
gets, when together they want more than the service has.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from headrace.worker.pools_file import Autoscale

TURN_SECONDS = 5.0
"""With fewer slots than pools that have jobs, one that got none for so long takes its turn."""


def slots_wanted(
    *, backlog: int | None, busy: int, current: int, run_seconds: float | None, target_seconds: float
) -> int:
    """How many slots would work off what waits within the target.

    Args:
        backlog: Jobs that are due and wait; None = nobody could say.
        busy: Slots in use.
        current: Slots there are.
        run_seconds: Measured time of a job; None = nothing was measured.
        target_seconds: See `Autoscale`.
    """
    if backlog is None:
        return max(current, 1)  # the truth may hold jobs, and they can be claimed from there
    if backlog <= 0:
        return busy
    if busy * 2 < current:
        return current  # jobs wait although slots are free: more slots would not take them either
    needed = backlog if run_seconds is None else math.ceil(backlog * run_seconds / target_seconds)
    return busy + min(backlog, max(1, needed))


class Trend:
    """The cool-downs of one pool, both ways.

    It grows at most once per `cooldown_up_seconds`, and shrinks to the most that it wanted within the last
    `cooldown_down_seconds`.
    """

    def __init__(self) -> None:
        self._wants: deque[tuple[float, int]] = deque()
        self._grew_at: float | None = None
        self._level = 0

    def settle(self, now: float, wanted: int, rules: Autoscale) -> int:
        """What the pool should have now; never more than wanted at some time within the cool-down."""
        self._wants.append((now, wanted))
        # The newest entry stays, whatever the clock did.
        while len(self._wants) > 1 and now - self._wants[0][0] > rules.cooldown_down_seconds:
            self._wants.popleft()
        most = max(want for _, want in self._wants)
        if wanted > self._level:
            if self._grew_at is None or now - self._grew_at >= rules.cooldown_up_seconds:
                self._grew_at = now
                self._level = wanted
        else:
            self._level = min(self._level, most)
        return self._level


@dataclass(frozen=True)
class Demand:
    """What one pool asks for. `unserved_seconds`: how long it has had no slot although it wanted one."""

    name: str
    wanted: int
    min_slots: int
    max_slots: int
    current: int = 0
    unserved_seconds: float = 0.0

    @property
    def goal(self) -> int:
        """What it would get if it were alone."""
        return min(max(self.wanted, self.min_slots), self.max_slots)


def share_slots(demands: Sequence[Demand], *, total: int) -> dict[str, int]:
    """Give out at most `total` slots.

    First one slot for every pool that has jobs, then one for those that keep some while idle; then everybody's
    minimum; then the rest to who has least, as long as it wants more. With fewer slots than pools that have jobs they
    take turns. The answer does not depend on the order of `demands`.
    """
    shares = {demand.name: 0 for demand in demands}
    left = total
    for demand in sorted((demand for demand in demands if demand.goal > 0), key=_turn):
        if left > 0:
            shares[demand.name] = 1
            left -= 1
    left = _fill(shares, {demand.name: min(demand.min_slots, demand.goal) for demand in demands}, left)
    _fill(shares, {demand.name: demand.goal for demand in demands}, left)
    return shares


def _turn(demand: Demand) -> tuple[int, float, str]:
    if demand.wanted <= 0:
        return 3, 0.0, demand.name
    if demand.current > 0:
        return 1, 0.0, demand.name
    return (0 if demand.unserved_seconds >= TURN_SECONDS else 2), -demand.unserved_seconds, demand.name


def _fill(shares: dict[str, int], goals: dict[str, int], left: int) -> int:
    """Raise the smallest shares first, none above its goal. Returns what is left."""
    while left > 0:
        open_ = [name for name in shares if shares[name] < goals[name]]
        if not open_:
            return left
        low = min(shares[name] for name in open_)
        lowest = sorted(name for name in open_ if shares[name] == low)
        # As many whole levels at once as fit, so that thousands of slots cost no thousands of rounds.
        ceilings = [shares[name] for name in open_ if shares[name] > low] + [goals[name] for name in lowest]
        levels = min(min(ceilings) - low, left // len(lowest))
        if levels == 0:
            lowest, levels = lowest[:left], 1
        for name in lowest:
            shares[name] += levels
        left -= levels * len(lowest)
    return left
