"""The end of attempts: settle in bulk, judge what did not match."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pymongo import UpdateOne

from headrace.contracts.errors import OutcomeUnknownError
from headrace.contracts.states import JobState, Reason
from headrace.runtime.store import updates
from headrace.runtime.store.documents import to_milliseconds
from headrace.runtime.store.faults import reading, writing
from headrace.runtime.store.state_base import StateBase
from headrace.runtime.store.values import Settled, Settlement, SettleVerdict


class Settling(StateBase):
    """Settlements."""

    async def settle(self, settlements: Sequence[Settlement], *, by: str, owner: str | None = None) -> list[Settled]:
        """End attempts: one unordered bulk, then the unmatched ones judged one by one.

        The fast form asks for "no cancel requested" and needs no conditions inside; what it does not match is re-read
        and is our own earlier write, a job whose cancel was accepted (it becomes `cancelled`), or fenced.

        Args:
            settlements: How the attempts ended.
            by: Who writes: the incarnation, or its supervisor's name.
            owner: Whose attempts they are; `by` when not given.

        Returns:
            One answer per settlement, in order.

        Raises:
            StoreUnavailableError, OutcomeUnknownError: Send the same again; what was applied is recognised.
        """
        if not settlements:
            return []
        owner = owner or by
        operations = [self._settle_operation(item, by=by, owner=owner) for item in settlements]
        with writing("settle"):
            result = await self._jobs.bulk_write(operations, ordered=False)
        if result.matched_count == len(settlements) and all(item.to.is_terminal for item in settlements):
            return [Settled(SettleVerdict.APPLIED, item.to) for item in settlements]
        return await self._judge(settlements, by=by, owner=owner)

    def _settle_operation(self, item: Settlement, *, by: str, owner: str, cancel: bool = False) -> UpdateOne:
        filter_ = updates.guarded(item.job_id, item.attempt, owner)
        extra = updates.started(item.started_ms_ago) | updates.with_error(item.error)
        if cancel:
            pipeline = updates.leave(
                JobState.CANCELLED,
                Reason.CANCELLED,
                by=by,
                keep_days=self._keep_days[JobState.CANCELLED],
                extra=extra,
            )
            return UpdateOne(filter_ | {"cancel_requested_at": {"$ne": None}}, pipeline)
        if item.progress is not None:
            fraction, message = item.progress
            extra["progress"] = {"fraction": fraction, "message": updates.literal(message), "at": "$$NOW"}
        if item.result is not None:
            extra["result"] = updates.literal(item.result)
        if item.counts_failure:
            extra["failures"] = {"$add": ["$failures", 1]}
        if item.counts_failure or item.started_ms_ago is not None:
            extra["expires_at"] = "$$REMOVE"  # it did start in time
        pipeline = updates.leave(
            item.to,
            item.reason,
            by=by,
            keep_days=self._keep_days.get(item.to, 0),
            delay_ms=item.delay_ms,
            extra=extra,
        )
        return UpdateOne(filter_ | updates.not_cancelled(), pipeline)

    async def _judge(self, settlements: Sequence[Settlement], *, by: str, owner: str) -> list[Settled]:
        documents = await self._settled_documents(settlements)
        cancels = [
            self._settle_operation(item, by=by, owner=owner, cancel=True)
            for item in settlements
            if _holds(documents.get(item.job_id), item, owner)
        ]
        if cancels:
            with writing("settle"):
                await self._jobs.bulk_write(cancels, ordered=False)
            documents = await self._settled_documents(settlements)
        return [self._verdict(item, documents.get(item.job_id), by=by, owner=owner) for item in settlements]

    async def _settled_documents(self, settlements: Sequence[Settlement]) -> dict[str, dict[str, Any]]:
        with reading("settled jobs"):
            cursor = self._jobs.find(
                {"_id": {"$in": [item.job_id for item in settlements]}},
                {"state": 1, "attempt": 1, "owner": 1, "log": 1, "score": 1, "run_at": 1},
            )
            return {document["_id"]: document async for document in cursor}

    @staticmethod
    def _verdict(item: Settlement, document: dict[str, Any] | None, *, by: str, owner: str) -> Settled:
        if document is None:
            return Settled(SettleVerdict.FENCED, None)
        if _holds(document, item, owner):
            raise OutcomeUnknownError("a settlement was not applied", job_id=item.job_id)
        for entry in reversed(document["log"]):
            if entry["attempt"] != item.attempt or entry["from"] != JobState.PROCESSING.value:
                continue
            if entry["by"] != by or entry["owner"] != owner:
                break
            to = JobState(entry["to"])
            verdict = SettleVerdict.CANCELLED if to is JobState.CANCELLED is not item.to else SettleVerdict.APPLIED
            # Queued again: somebody else may have claimed it since, which changes nothing about our own write.
            return Settled(verdict, to, document["score"], to_milliseconds(document["run_at"]))
        return Settled(SettleVerdict.FENCED, None)


def _holds(document: dict[str, Any] | None, item: Settlement, owner: str) -> bool:
    return (
        document is not None
        and document["state"] == JobState.PROCESSING.value
        and document["attempt"] == item.attempt
        and document.get("owner") == owner
    )
