"""The filters and pipelines of every state change, built in one place.

One guarded filter serves everything an attempt may write: `{_id, state: processing, attempt, owner}`. Every way out of
`processing` goes through `leave`, which clears owner and token, writes the log entry in the same update, and gives a
terminal document its expiry. Times are the server's (`$$NOW`). Values of users and workers go through `$literal`.

A log entry names whose attempt it concerns (`owner`) and who wrote it (`by`): a worker recognises its own earlier
write by the second, never by the first.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from headrace.contracts.job import JobError
from headrace.contracts.states import JobState, Reason

Document = dict[str, Any]
Pipeline = list[Document]

LOG_LIMIT = 200
ERRORS_KEPT = 10
DAY_MS = 86_400_000


def guarded(job_id: str, attempt: int, owner: str | None) -> Document:
    """The filter of every write that an attempt is entitled to."""
    return guarded_many([job_id], attempt, owner)


def guarded_many(job_ids: Sequence[str], attempt: int, owner: str | None) -> Document:
    """The same filter for several jobs at the same attempt of the same owner."""
    job = job_ids[0] if len(job_ids) == 1 else {"$in": list(job_ids)}
    return {"_id": job, "state": JobState.PROCESSING.value, "attempt": attempt, "owner": owner}


def literal(value: Any) -> Document:
    """A value that no operator or field path can hide in."""
    return {"$literal": value}


def not_cancelled() -> Document:
    """Filter part: nobody has asked for a cancel."""
    return {"cancel_requested_at": None}


def log_entry(to: JobState, reason: Reason, *, by: str, attempt: Any = "$attempt", owner: Any = "$owner") -> Document:
    """The expressions of one log entry; numbered from what is there, so the log cannot have a gap."""
    return {
        "seq": {"$add": [{"$size": "$log"}, "$log_dropped"]},
        "from": "$state",
        "to": to.value,
        "attempt": attempt,
        "owner": {"$ifNull": [owner, None]},
        "by": literal(by),
        "at": "$$NOW",
        "reason": reason.value,
    }


def _log_with(entry: Document) -> Document:
    """The `$set` fields that append an entry and keep the log bounded."""
    return {
        "log": {"$slice": [{"$concatArrays": ["$log", [entry]]}, -LOG_LIMIT]},
        "log_dropped": {
            "$add": ["$log_dropped", {"$max": [0, {"$subtract": [{"$add": [{"$size": "$log"}, 1]}, LOG_LIMIT]}]}]
        },
        "updated_at": "$$NOW",
    }


def claim(*, token: str, owner: str) -> Pipeline:
    """`queued` → `processing`: the only update that raises the attempt."""
    entry = log_entry(
        JobState.PROCESSING, Reason.CLAIMED, by=owner, attempt={"$add": ["$attempt", 1]}, owner=literal(owner)
    )
    return [
        {
            "$set": {
                "state": JobState.PROCESSING.value,
                "attempt": {"$add": ["$attempt", 1]},
                "owner": literal(owner),
                "claim_token": literal(token),
                "claimed_at": "$$NOW",
                "started_at": "$$REMOVE",
                "indexed": True,
                **_log_with(entry),
            }
        }
    ]


def terminal(to: JobState, *, keep_days: float) -> Document:
    """The `$set` fields that every entry into a terminal state has."""
    fields: Document = {"finished_at": "$$NOW", "indexed": True}  # nothing is left to be told to Redis
    if keep_days > 0:
        fields["expire_at"] = {"$add": ["$$NOW", int(keep_days * DAY_MS)]}
    if to is JobState.CANCELLED:
        fields["cancel_requested_at"] = {"$ifNull": ["$cancel_requested_at", "$$NOW"]}
    return fields


def leave(
    to: JobState,
    reason: Reason,
    *,
    by: str,
    keep_days: float = 0,
    delay_ms: int | None = None,
    extra: Document | None = None,
) -> Pipeline:
    """`processing` or `queued` → `to`.

    Args:
        to: The state it enters.
        reason: Written in the log.
        by: Who writes it: an incarnation, or a service's name.
        keep_days: For a terminal state, how long the document is kept; 0 = for ever.
        delay_ms: For `queued`, when it is due again, from the server's now; None leaves `run_at` as it is.
        extra: More `$set` expressions.
    """
    fields: Document = {
        "state": to.value,
        "owner": "$$REMOVE",
        "claim_token": "$$REMOVE",
        **_log_with(log_entry(to, reason, by=by)),
    }
    if to.is_terminal:
        fields |= terminal(to, keep_days=keep_days)
    if delay_ms is not None:
        fields["run_at"] = {"$add": ["$$NOW", delay_ms]}
    return [{"$set": fields | (extra or {})}]


def by_job(job_ids: Sequence[str], values: Sequence[Any]) -> Document:
    """The value of the updated job, out of one per job. One literal when they are all the same.

    The server looks a constant array up by hash, so this costs no more for many jobs than for one.
    """
    if all(value == values[0] for value in values):
        return literal(values[0])
    return {"$arrayElemAt": [literal(list(values)), {"$indexOfArray": [literal(list(job_ids)), "$_id"]}]}


def started(milliseconds_ago: int | Document | None) -> Document:
    """The `$set` field that fixes when the attempt began to run, once. Absent for a job that was never started.

    Args:
        milliseconds_ago: Before the server's now; or an expression for it, which may give null.
    """
    if milliseconds_ago is None:
        return {}
    since = {"$subtract": ["$$NOW", {"$max": [0, milliseconds_ago]}]}
    if isinstance(milliseconds_ago, dict):
        since = {"$cond": [{"$eq": [milliseconds_ago, None]}, "$$REMOVE", since]}
    return {"started_at": {"$ifNull": ["$started_at", since]}}


def error_value(type_: str, message: str) -> Document:
    """The expression of an error that the system itself found; its fingerprint is its type."""
    return {"type": type_, "message": literal(message), "fingerprint": type_, "at": "$$NOW"}


def keep_error(type_: str, message: str) -> Document:
    """The `$set` field that adds such an error to the job's last ten."""
    return _kept(error_value(type_, message))


def ended_by(type_: str, message: str) -> Document:
    """The `$set` fields of a failure that the system itself found."""
    return {"error": error_value(type_, message), **keep_error(type_, message)}


def with_error(error: JobError | None) -> Document:
    """The `$set` fields that record a failure; the last ten are kept."""
    if error is None:
        return {}
    value: Document = {
        "type": literal(error.type),
        "message": literal(error.message),
        "fingerprint": literal(error.fingerprint),
        "at": "$$NOW",
    }
    return {"error": value, **_kept(value)}


def _kept(error: Document) -> Document:
    return {"errors": {"$slice": [{"$concatArrays": ["$errors", [error]]}, -ERRORS_KEPT]}}
