"""What a child shows its supervisor: a small shared memory that outlives the child's death.

The child writes which jobs it has started and when its loops last turned; the supervisor reads that for heartbeats,
for hard limits, and after a SIGKILL, when nobody is left to ask. Writing costs no system call, and a supervisor that is
slow or stopped never holds the child up, which a pipe would.

Layout: one header, then one record per slot. A record's flag is written last at a start and first at an end, so a
reader never sees a half-written id as running. What a slot has run in all stands in its own record: one thread at a
time uses a slot, so nothing is lost without a lock.
"""

from __future__ import annotations

import mmap
import os
import struct
import tempfile
import time
from dataclasses import dataclass

HEADER = struct.Struct("<4sIIIddQQQIII")
"""Magic, slots, ready, slots allowed, loop beat, claim beat, completed, failed, fenced, slots held, spent, followed."""
RECORD = struct.Struct("<IIdd40sdQd")
"""Busy, attempt, started, hard limit in seconds, job id, progress (-1 = none), jobs ended, their seconds."""
_START = struct.Struct("<IIdd40sd")
_TOTALS = struct.Struct("<Qd")
_SINCE_IN = 8
_PROGRESS_IN = 64
_TOTALS_IN = 72
MAGIC = b"HRB1"
_READY_AT = 8
_ALLOWED_AT = 12
_LOOP_AT = 16
_CLAIM_AT = 24
_COUNTERS_AT = 32
_HELD_AT = 56
_FOLLOWED_AT = 64
_WORD_BITS = 16
"""An order about slots is one word, their number below a serial number, so it is read whole or not at all."""


@dataclass(frozen=True)
class Started:
    """A job that runs (or was running when its child died). `since` is in seconds of the machine's monotonic clock."""

    job_id: str
    attempt: int
    since: float
    limit_seconds: float
    progress: float | None = None


@dataclass(frozen=True)
class Beats:
    """When the child's loops last turned, by the machine's monotonic clock; 0 = never."""

    loop: float
    claim: float


class Board:
    """The shared memory, from either side.

    Args:
        descriptor: An open file of at least `size_of(slots)` bytes, inherited by the child.
        slots: How many jobs may run at once.
    """

    def __init__(self, descriptor: int, slots: int) -> None:
        self.descriptor = descriptor
        self.slots = slots
        self._memory = mmap.mmap(descriptor, size_of(slots))
        self._slot_of: dict[str, int] = {}
        self._job_in: dict[int, str] = {}

    @staticmethod
    def create(slots: int) -> Board:
        """A new, empty board in an unnamed temporary file."""
        with tempfile.TemporaryFile(prefix="headrace-board-") as file:
            descriptor = os.dup(file.fileno())
        os.ftruncate(descriptor, size_of(slots))
        board = Board(descriptor, slots)
        HEADER.pack_into(board._memory, 0, MAGIC, slots, 0, slots, 0.0, 0.0, 0, 0, 0, slots, 0, 0)
        return board

    def close(self) -> None:
        """Give the memory back."""
        self._memory.close()
        os.close(self.descriptor)

    # -- the child's side --------------------------------------------------------------------------------------

    def set_ready(self) -> None:
        """The child has begun to claim."""
        # First, or whoever looks before the loops' own first turns would find them standing still since ever.
        self.beat_loop()
        self.beat_claim()
        struct.pack_into("<I", self._memory, _READY_AT, 1)

    def beat_loop(self) -> None:
        """The event loop turned."""
        struct.pack_into("<d", self._memory, _LOOP_AT, time.monotonic())

    def beat_claim(self) -> None:
        """The claim loop turned."""
        struct.pack_into("<d", self._memory, _CLAIM_AT, time.monotonic())

    def start(self, slot: int, job_id: str, attempt: int, limit_seconds: float) -> None:
        """Note a start, before the executor is called."""
        at = HEADER.size + slot * RECORD.size
        _START.pack_into(self._memory, at, 0, attempt, time.monotonic(), limit_seconds, job_id.encode(), -1.0)
        struct.pack_into("<I", self._memory, at, 1)
        self._slot_of[job_id], self._job_in[slot] = slot, job_id

    def end(self, slot: int) -> None:
        """Note that the slot is free, and for how long it was not."""
        at = HEADER.size + slot * RECORD.size
        struct.pack_into("<I", self._memory, at, 0)
        self._slot_of.pop(self._job_in.pop(slot, ""), None)
        (since,) = struct.unpack_from("<d", self._memory, at + _SINCE_IN)
        jobs, seconds = _TOTALS.unpack_from(self._memory, at + _TOTALS_IN)
        _TOTALS.pack_into(self._memory, at + _TOTALS_IN, jobs + 1, seconds + time.monotonic() - since)

    def progress(self, job_id: str, fraction: float) -> None:
        """Note how far a started job is, from 0 to 1."""
        slot = self._slot_of.get(job_id)
        if slot is not None:
            struct.pack_into("<d", self._memory, HEADER.size + slot * RECORD.size + _PROGRESS_IN, fraction)

    def hold(self, slots: int, spent: bool) -> None:
        """Say how many slots are in use or may be used, and whether this process starts no job any more."""
        struct.pack_into("<II", self._memory, _HELD_AT, slots, int(spent))

    def count(self, *, completed: int = 0, failed: int = 0, fenced: int = 0) -> None:
        """Add to the counters of settled attempts. One thread writes them."""
        now = struct.unpack_from("<QQQ", self._memory, _COUNTERS_AT)
        struct.pack_into(
            "<QQQ", self._memory, _COUNTERS_AT, now[0] + completed, now[1] + failed, now[2] + fenced
        )  # fmt: skip

    def follow(self, order: int) -> None:
        """Say that an order is obeyed, after `hold` has said with how many slots."""
        struct.pack_into("<I", self._memory, _FOLLOWED_AT, order)

    @property
    def order(self) -> int:
        """The supervisor's last order; `slots_of` it are allowed."""
        return int(struct.unpack_from("<I", self._memory, _ALLOWED_AT)[0])

    @property
    def allowed(self) -> int:
        """How many jobs may run at once, by the last order."""
        return slots_of(self.order)

    # -- the supervisor's side ---------------------------------------------------------------------------------

    def allow(self, slots: int) -> int:
        """Order how many jobs may run at once; the child has to be woken to look. Returns the order."""
        serial = (self.order >> _WORD_BITS) + 1
        order = (serial << _WORD_BITS | slots) & 0xFFFFFFFF
        struct.pack_into("<I", self._memory, _ALLOWED_AT, order)
        return order

    @property
    def followed(self) -> int:
        """The last order that the child has obeyed; 0 = none yet."""
        return int(struct.unpack_from("<I", self._memory, _FOLLOWED_AT)[0])

    @property
    def held(self) -> int:
        """Slots that the child uses or may use, by its own word and the order that it has followed."""
        return int(struct.unpack_from("<I", self._memory, _HELD_AT)[0])

    @property
    def spent(self) -> bool:
        """Whether the child has started as many jobs as one process may."""
        return bool(struct.unpack_from("<I", self._memory, _HELD_AT + 4)[0])

    def ended(self) -> tuple[int, float]:
        """How many runs have ended, and for how many seconds they ran together."""
        jobs, seconds = 0, 0.0
        for slot in range(self.slots):
            more, longer = _TOTALS.unpack_from(self._memory, HEADER.size + slot * RECORD.size + _TOTALS_IN)
            jobs, seconds = jobs + more, seconds + longer
        return jobs, seconds

    @property
    def ready(self) -> bool:
        """Whether the child has begun to claim."""
        return bool(struct.unpack_from("<I", self._memory, _READY_AT)[0])

    def beats(self) -> Beats:
        """When its loops last turned."""
        return Beats(*struct.unpack_from("<dd", self._memory, _LOOP_AT))

    def counters(self) -> tuple[int, int, int]:
        """Attempts settled as completed, failed (or to be retried), fenced."""
        completed, failed, fenced = struct.unpack_from("<QQQ", self._memory, _COUNTERS_AT)
        return completed, failed, fenced

    def running(self) -> list[Started]:
        """The jobs whose execution had started and not ended."""
        found = []
        for slot in range(self.slots):
            busy, attempt, since, limit, job_id, done, _, _ = RECORD.unpack_from(
                self._memory, HEADER.size + slot * RECORD.size
            )
            if busy:
                name = job_id.rstrip(b"\0").decode(errors="replace")
                found.append(Started(name, attempt, since, limit, None if done < 0 else done))
        return found


def slots_of(order: int) -> int:
    """The slots that an order allows."""
    return order & (1 << _WORD_BITS) - 1


def size_of(slots: int) -> int:
    """Bytes of a board with this many slots."""
    return HEADER.size + slots * RECORD.size
