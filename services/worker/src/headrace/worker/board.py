"""What a child shows its supervisor: a small shared memory that outlives the child's death.

The child writes which jobs it has started and when its loops last turned; the supervisor reads that for heartbeats,
for hard limits, and after a SIGKILL, when nobody is left to ask. Writing costs no system call, and a supervisor that is
slow or stopped never holds the child up, which a pipe would.

Layout: one header, then one record per slot. A record's flag is written last at a start and first at an end, so a
reader never sees a half-written id as running.
"""

from __future__ import annotations

import mmap
import os
import struct
import tempfile
import time
from dataclasses import dataclass

HEADER = struct.Struct("<4sIIIddQQQ")  # magic, slots, ready, _, loop beat, claim beat, completed, failed, fenced
RECORD = struct.Struct("<IIdd40s")  # busy, attempt, started, hard limit in seconds, job id
MAGIC = b"HRB1"
_READY_AT = 8
_LOOP_AT = 16
_CLAIM_AT = 24
_COUNTERS_AT = 32


@dataclass(frozen=True)
class Started:
    """A job that runs (or was running when its child died). `since` is in seconds of the machine's monotonic clock."""

    job_id: str
    attempt: int
    since: float
    limit_seconds: float


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

    @staticmethod
    def create(slots: int) -> Board:
        """A new, empty board in an unnamed temporary file."""
        with tempfile.TemporaryFile(prefix="headrace-board-") as file:
            descriptor = os.dup(file.fileno())
        os.ftruncate(descriptor, size_of(slots))
        board = Board(descriptor, slots)
        HEADER.pack_into(board._memory, 0, MAGIC, slots, 0, 0, 0.0, 0.0, 0, 0, 0)
        return board

    def close(self) -> None:
        """Give the memory back."""
        self._memory.close()
        os.close(self.descriptor)

    # -- the child's side --------------------------------------------------------------------------------------

    def set_ready(self) -> None:
        """The child has begun to claim."""
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
        RECORD.pack_into(self._memory, at, 0, attempt, time.monotonic(), limit_seconds, job_id.encode())
        struct.pack_into("<I", self._memory, at, 1)

    def end(self, slot: int) -> None:
        """Note that the slot is free."""
        struct.pack_into("<I", self._memory, HEADER.size + slot * RECORD.size, 0)

    def count(self, *, completed: int = 0, failed: int = 0, fenced: int = 0) -> None:
        """Add to the counters of settled attempts. One thread writes them."""
        now = struct.unpack_from("<QQQ", self._memory, _COUNTERS_AT)
        struct.pack_into(
            "<QQQ", self._memory, _COUNTERS_AT, now[0] + completed, now[1] + failed, now[2] + fenced
        )  # fmt: skip

    # -- the supervisor's side ---------------------------------------------------------------------------------

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
            busy, attempt, since, limit, job_id = RECORD.unpack_from(self._memory, HEADER.size + slot * RECORD.size)
            if busy:
                found.append(Started(job_id.rstrip(b"\0").decode(errors="replace"), attempt, since, limit))
        return found


def size_of(slots: int) -> int:
    """Bytes of a board with this many slots."""
    return HEADER.size + slots * RECORD.size
