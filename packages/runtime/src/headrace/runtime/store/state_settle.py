"""The end of attempts: settle in bulk, judge what did not match."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from pymongo import UpdateMany

from headrace.contracts.errors import OutcomeUnknownError
from headrace.contracts.states import JobState, Reason
from headrace.runtime.store import updates
from headrace.runtime.store.documents import to_milliseconds
from headrace.runtime.store.faults import reading, writing
from headrace.runtime.store.state_base import StateBase
from headrace.runtime.store.values import Settled, Settlement, SettleVerdict

PART_BYTES = 6_000_000
"""Results in one statement; MongoDB takes 16 MiB."""


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
        operations = self._operations(settlements, by=by, owner=owner)
        with writing("settle"):
            result = await self._jobs.bulk_write(operations, ordered=False)
        if result.matched_count == len(settlements) and all(item.to.is_terminal for item in settlements):
            return [Settled(SettleVerdict.APPLIED, item.to) for item in settlements]
        return await self._judge(settlements, by=by, owner=owner)

    def _operations(self, settlements: Sequence[Settlement], *, by: str, owner: str) -> list[UpdateMany]:
        """One update for all settlements of a kind; what differs from job to job is looked up by the job's id.

        A statement per job costs the server three times as much: it parses and plans each pipeline, and keeps a record
        of each for the driver's own retries. An update of many is not retried by the driver; the caller repeats the
        settlement instead, and what was applied is recognised by its log entry.
        """
        alike: dict[Settlement, list[Settlement]] = {}
        for item in settlements:
            kind = replace(item, job_id="", result=None, progress=None, started_ms_ago=None)
            alike.setdefault(kind, []).append(item)
        return [
            UpdateMany(
                updates.guarded_many([item.job_id for item in part], kind.attempt, owner) | updates.not_cancelled(),
                updates.leave(
                    kind.to,
                    kind.reason,
                    by=by,
                    keep_days=self._keep_days.get(kind.to, 0),
                    delay_ms=kind.delay_ms,
                    extra=_fields(kind, part),
                ),
            )
            for kind, items in alike.items()
            for part in _parts(items)
        ]

    def _cancel_operation(self, item: Settlement, *, by: str, owner: str) -> UpdateMany:
        return UpdateMany(
            updates.guarded(item.job_id, item.attempt, owner) | {"cancel_requested_at": {"$ne": None}},
            updates.leave(
                JobState.CANCELLED,
                Reason.CANCELLED,
                by=by,
                keep_days=self._keep_days[JobState.CANCELLED],
                extra=updates.started(item.started_ms_ago) | updates.with_error(item.error),
            ),
        )

    async def _judge(self, settlements: Sequence[Settlement], *, by: str, owner: str) -> list[Settled]:
        documents = await self._settled_documents(settlements)
        cancels = [
            self._cancel_operation(item, by=by, owner=owner)
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


def _fields(kind: Settlement, items: Sequence[Settlement]) -> dict[str, Any]:
    """The `$set` fields of settlements of one kind."""
    ids = [item.job_id for item in items]
    fields = updates.with_error(kind.error)
    if kind.counts_failure:
        fields["failures"] = {"$add": ["$failures", 1]}
    if any(item.started_ms_ago is not None for item in items):
        fields |= updates.started(updates.by_job(ids, [item.started_ms_ago for item in items]))
    if kind.counts_failure or "started_at" in fields:
        fields["expires_at"] = "$$REMOVE"  # it did start in time
    if any(item.progress is not None for item in items):
        fractions = [item.progress[0] if item.progress else None for item in items]
        messages = [item.progress[1] if item.progress else None for item in items]
        fields["progress"] = {
            "$cond": [
                {"$eq": [updates.by_job(ids, fractions), None]},
                "$progress",
                {"fraction": updates.by_job(ids, fractions), "message": updates.by_job(ids, messages), "at": "$$NOW"},
            ]
        }
    if any(item.result is not None for item in items):
        fields["result"] = updates.by_job(ids, [item.result for item in items])
    return fields


def _parts(items: Sequence[Settlement]) -> Iterator[list[Settlement]]:
    """Cut settlements so that one statement stays far below the size a server takes."""
    part: list[Settlement] = []
    size = 0
    for item in items:
        length = len(item.result or "") * 3  # at most: bytes of a character in UTF-8 that JSON text often has
        if part and size + length > PART_BYTES:
            yield part
            part, size = [], 0
        part.append(item)
        size += length
    yield part


def _holds(document: dict[str, Any] | None, item: Settlement, owner: str) -> bool:
    return (
        document is not None
        and document["state"] == JobState.PROCESSING.value
        and document["attempt"] == item.attempt
        and document.get("owner") == owner
    )
