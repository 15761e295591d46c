"""Jobs this child cannot run, at the head of its pool: put out of the way quickly, so that nothing starves behind them.

A claim takes as many ids as there are free slots. Were a thousand strangers put away at that pace, they would come back
before the first job behind them was reached, for ever. So when a whole claim consists of strangers the child looks at
many ids at once, without claiming any: strangers wait, everything else goes back to where it was.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import structlog

from headrace.contracts.states import JobState
from headrace.runtime.queue.base import Entry, JobQueue
from headrace.runtime.store.state_manager import JobStateManager
from headrace.runtime.store.values import Place
from headrace.worker.claim import Pool
from headrace.worker.judge import is_newer, judge

LOOK = 500
"""Ids looked at per round."""
ROUNDS = 40
"""Rounds in a row at most; the next claim begins again."""

log = structlog.get_logger(__name__)


def is_stranger(place: Place, *, types: Sequence[str], versions: Mapping[str, int]) -> bool:
    """Whether the job is due and this child lacks its type or its payload's version."""
    if place.state is not JobState.QUEUED or not place.due:
        return False
    return place.type not in types or is_newer(place, versions)


async def put_away(pool: Pool, *, token: str, queue: JobQueue, state: JobStateManager) -> int:
    """Look at the best ids of the pool and let the strangers among them wait. One round.

    What a crash leaves: ids in flight that are queued; the sweep returns them.

    Args:
        pool: The pool, and what this child can run.
        token: A fresh token; nothing is claimed in MongoDB under it.
        queue: Where the ids wait.
        state: Where their documents are.

    Returns:
        How many strangers there were; 0 when a job that may be claimed, or nothing, is at the head.

    Raises:
        StoreUnavailableError: A store does not answer.
    """
    types, versions = pool.types, pool.versions
    claim = await queue.claim(pool.name, token=token, count=LOOK)
    if not claim.ids:
        return 0
    places = await state.places(claim.ids)
    strangers = 0
    welcome: list[Place] = []
    others: list[Place] = []
    for place in places:
        is_strange = is_stranger(place, types=types, versions=versions)
        strangers += is_strange
        # What is due and runnable goes straight back to its place; everything else goes where its document says.
        is_welcome = place.state is JobState.QUEUED and place.due and not is_strange
        (welcome if is_welcome else others).append(place)
    if others:
        verdicts = [judge(place, types=types, versions=versions, now_ms=claim.now_ms) for place in others]
        await queue.putback(pool.name, token=token, verdicts=verdicts)
    if welcome:
        await queue.release(pool.name, [Entry(place.job_id, place.score, token=token) for place in welcome])
    log.info("claim.strangers_put_away", pool=pool.name, strangers=strangers, welcome=len(welcome))
    return 0 if welcome else strangers
