"""What operators do to many dead letters at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from headrace.contracts.api import DeadLetterResult, Refusal
from headrace.contracts.errors import DuplicateJobError, NotFoundError, NotTerminalError
from headrace.contracts.operations import DeadLetterAction
from headrace.runtime.store.dead_reads import DeadFilter, DeadReads
from headrace.runtime.store.state_manager import JobStateManager
from headrace.runtime.web.auth import Token
from headrace.scheduler.audit_trail import AuditTrail
from headrace.scheduler.intake import Stored
from headrace.scheduler.links import MongoLink
from headrace.scheduler.replays import Replays

READ_SECONDS = 10.0
STRETCH = 100
"""Dead letters that are in memory at once: each may have 256 KiB of payload."""
DISCARD_STRETCH = 1000


class DeadLetters:
    """Replays and discards. A call that was cut short may be made again: what is done is done once."""

    def __init__(
        self, *, reads: DeadReads, states: JobStateManager, mongo: MongoLink, replays: Replays, audit: AuditTrail
    ) -> None:
        self._reads = reads
        self._states = states
        self._mongo = mongo
        self._replays = replays
        self._audit = audit

    async def replay(self, action: DeadLetterAction, token: Token) -> DeadLetterResult:
        """Replay the oldest that match and have no replay yet. A dry run says which would be refused, and does nothing.

        Raises:
            StoreUnavailableError: MongoDB does not answer; some may be done.
        """
        wanted = _filter_of(action, token, unreplayed=True)
        matched = await self._count(wanted)
        refused = await self._unmatched(wanted, action)
        done = 0
        try:
            # No more than there were: a replay that fails while this goes on is a newer dead letter of the same kind.
            after, left = "", min(action.limit, matched)
            while left > 0:
                page, at = min(left, STRETCH), after
                jobs = await self._mongo.read(
                    lambda page=page, at=at: self._reads.oldest(wanted, after_id=at, limit=page),  # type: ignore[misc]
                    seconds=READ_SECONDS,
                )
                if not jobs:
                    break
                after, left = jobs[-1].id, left - len(jobs)
                types = await self._replays.types_of(jobs)
                reasons = {job.id: self._replays.refusal(job, types) for job in jobs}
                refused += [Refusal(id=job_id, code=error.code) for job_id, error in reasons.items() if error]
                takers = [job for job in jobs if reasons[job.id] is None]
                if action.dry_run or not takers:
                    continue
                for job, outcome in zip(
                    takers, await self._replays.replay_all(takers, types, token=token), strict=True
                ):
                    if isinstance(outcome, Stored):
                        done += 1
                    else:
                        refused.append(Refusal(id=job.id, code=outcome.code))
        finally:
            await self._note("replay", action, token, done)
        return DeadLetterResult(matched=matched, done=done, refused=refused)

    async def discard(self, action: DeadLetterAction, token: Token) -> DeadLetterResult:
        """Hide the oldest that match.

        Raises:
            StoreUnavailableError: MongoDB does not answer; some may be done.
        """
        wanted = _filter_of(action, token)
        matched = await self._count(wanted)
        refused = await self._unmatched(wanted, action)
        done = 0
        if not action.dry_run:
            ids = await self._mongo.read(
                lambda: self._reads.oldest_ids(wanted, limit=action.limit), seconds=READ_SECONDS
            )
            try:
                for first in range(0, len(ids), DISCARD_STRETCH):
                    part = ids[first : first + DISCARD_STRETCH]
                    done += await self._mongo.write(lambda part=part: self._states.discard(part))  # type: ignore[misc]
            finally:
                await self._note("discard", action, token, done)
        return DeadLetterResult(matched=matched, done=done, refused=refused)

    async def _count(self, wanted: DeadFilter) -> int:
        return await self._mongo.read(lambda: self._reads.count(wanted), seconds=READ_SECONDS)

    async def _unmatched(self, wanted: DeadFilter, action: DeadLetterAction) -> list[Refusal]:
        """Ids that were named and do not match: no dead letter for this token, not over, or replayed already."""
        named = list(dict.fromkeys(action.filter.ids or ()))
        if not named:
            return []
        matching = set(await self._ids(wanted, len(named)))
        rest = [job_id for job_id in named if job_id not in matching]
        replayed = set(await self._ids(replace(wanted, ids=rest, unreplayed=False), len(rest))) if rest else set()
        states = await self._mongo.read(lambda: self._reads.why_not(rest, tenant=wanted.tenant)) if rest else {}

        def code(job_id: str) -> str:
            if job_id in replayed:
                return DuplicateJobError.code
            state = states.get(job_id)
            return NotFoundError.code if state is None or state.is_terminal else NotTerminalError.code

        return [Refusal(id=job_id, code=code(job_id)) for job_id in rest]

    async def _ids(self, wanted: DeadFilter, limit: int) -> Sequence[str]:
        return await self._mongo.read(lambda: self._reads.oldest_ids(wanted, limit=limit), seconds=READ_SECONDS)

    async def _note(self, what: str, action: DeadLetterAction, token: Token, done: int) -> None:
        if not action.dry_run:
            asked = action.filter.model_dump(exclude_none=True) | {"limit": action.limit}
            await self._audit.note(token, what, filter=asked, count=done)


def _filter_of(action: DeadLetterAction, token: Token, *, unreplayed: bool = False) -> DeadFilter:
    asked = action.filter
    return DeadFilter(
        type=asked.type,
        pool=asked.pool,
        fingerprint=asked.fingerprint,
        ids=asked.ids,
        tenant=token.tenant,
        unreplayed=unreplayed,
    )
