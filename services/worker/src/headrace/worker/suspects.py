"""Jobs that may have killed their process run alone, so that the next death is nobody else's (B3).

A job is a suspect once a crash was counted against it. Its neighbours in that crash are suspects too until they have
run alone and ended; the one that kills its process again does so without company.
"""

from __future__ import annotations

from collections.abc import Sequence

from headrace.contracts.job import Job
from headrace.worker.held import Held

PATIENCE_SECONDS = 5.0
"""How long a child starts nothing else, so that its running jobs end and a suspect can start. Then the suspect goes
back, for another child or a later time."""
FIRST_PAUSE_MS = 1000
MAX_PAUSE_MS = 60_000


def is_suspect(job: Job) -> bool:
    """Whether the job must run alone in its child."""
    return job.crashes > 0


def split(jobs: Sequence[Held]) -> tuple[list[Held], list[Held]]:
    """What of a claim may wait here, and what goes back at once.

    What comes before the first suspect in claim order runs before it. Whatever comes after it would only wait for a job
    that may take the process with it.
    """
    for index, held in enumerate(jobs):
        if is_suspect(held.job):
            return list(jobs[: index + 1]), list(jobs[index + 1 :])
    return list(jobs), []


def pause_ms(job: Job) -> int:
    """How long a suspect stays away after it found no room to run alone: longer each time, at most a minute."""
    without_cost = max(0, job.attempt - job.failures - job.crashes - 1)
    return int(min(FIRST_PAUSE_MS * 2 ** min(without_cost, 10), MAX_PAUSE_MS))
