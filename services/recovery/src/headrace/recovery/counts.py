"""What a pass did, by reason; and what every duty looks like."""

from __future__ import annotations

from collections import Counter
from typing import Protocol

Counts = Counter[str]
"""How many jobs or ids a pass changed, by reason. Empty when nothing had to be done."""


class Duty(Protocol):
    """A bounded pass, safe to repeat, to kill anywhere and to run in two processes at once."""

    name: str
    seconds: float

    async def run_once(self) -> Counts:
        """One pass.

        Raises:
            StoreUnavailableError: A store does not answer; what was done until then stays done.
        """
        ...
