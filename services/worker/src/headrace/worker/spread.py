"""How the slots of a pool are divided among its children: pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Seat:
    """One child: how many slots it can have, whether it claims yet, and whether it is to be replaced."""

    capacity: int
    is_ready: bool = True
    is_worn: bool = False


def spread_slots(total: int, seats: Sequence[Seat]) -> list[int]:
    """Slots for each seat.

    Evenly over as few ready seats as hold them, the first ones, so that those that are left over can end. What is to
    be replaced keeps slots only as long as the others cannot have them all; what still starts gets the rest, so that
    it claims as soon as it can.
    """
    shares = [0] * len(seats)
    left = total
    for wanted in ((True, False), (True, True), (False, False)):
        group = [index for index, seat in enumerate(seats) if (seat.is_ready, seat.is_worn) == wanted and seat.capacity]
        left -= _spread(left, group, seats, shares)
    return shares


def _spread(total: int, group: Sequence[int], seats: Sequence[Seat], shares: list[int]) -> int:
    used: list[int] = []
    room = 0
    for index in group:
        if room >= total:
            break
        used.append(index)
        room += seats[index].capacity
    given = 0
    # The smallest first: what does not fit there is shared by the larger ones, and no slot is left over.
    for place, index in enumerate(sorted(used, key=lambda index: seats[index].capacity)):
        even = -(-(total - given) // (len(used) - place))
        shares[index] = min(even, seats[index].capacity)
        given += shares[index]
    return given
