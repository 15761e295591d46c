"""C13 (I4, I10): a job is started at least once, and no more often than its retries, crashes and releases allow.

What counts is read off the log and the effects, not off the counters of the document: those are what may be wrong.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from tests.chaos.history import Document, History

from .attempts import Attempt, attempts_of
from .c12_hygiene import PILL
from .report import Report, Violation

EARLY_SECONDS = 1.0
"""What clocks that differ may do to a time that was asked for."""
DEATHS = frozenset({"orphaned", "host_lost"})


def check_starts(history: History) -> Report:
    """Judge how often each job was claimed, and why."""
    started = {(effect.job_id, effect.attempt) for effect in history.effects if effect.phase == "start"}
    over = {(effect.job_id, effect.attempt) for effect in history.effects if effect.phase == "end"}  # it did no harm
    leaves_effects = {d.job_type for d in history.documents if any(key[0] == d.id for key in started)}
    headway = {e.job_id for e in history.effects if e.phase.startswith("step")}
    culprits = _owners_killed_for_a_job(history)
    max_crashes = int(history.run.settings.get("max_crashes", 3))
    violations: list[Violation] = []
    claims = []
    for document in history.documents:
        attempts = list(attempts_of(document))
        claims.append(len(attempts))
        if document.log_dropped:
            continue
        violations += _judge_retries(document)
        violations += _judge_end(document, attempts, started, leaves_effects=document.job_type in leaves_effects)
        deaths = [
            attempt
            for attempt in attempts
            if attempt.end is not None and attempt.end.reason in DEATHS and attempt.owner not in culprits
        ]
        counted = [
            a
            for a in deaths
            if a.end is not None
            and (a.end.reason == "host_lost" or ((a.job_id, a.number) in started and (a.job_id, a.number) not in over))
        ]
        if document.id not in headway and len(counted) >= max_crashes:
            says = f"{len(counted)} attempts died under it and it was queued again; {max_crashes} should end it"
            violations.append(Violation("crash-limit", says, document.id))
    extra = sum(count - 1 for count in claims if count > 1)
    return Report(
        "C13 starts",
        ("I4", "I10"),
        sum(claims),
        tuple(violations),
        {
            "claims": sum(claims),
            "claims per job, max": max(claims, default=0),
            "claims per job, mean": sum(claims) / len(claims) if claims else 0.0,
            "claims beyond the first": extra,
        },
    )


def _judge_retries(document: Document) -> Iterator[Violation]:
    reasons = Counter(entry.reason for entry in document.log)
    again = reasons["retry"] + sum(e.reason == "timeout" and e.after == "queued" for e in document.log)
    if again > document.max_retries:
        yield Violation("retry-limit", f"retried {again} times; max_retries is {document.max_retries}", document.id)
    if reasons["crash_loop"] and sum(reasons[reason] for reason in DEATHS) + 1 < document.crashes:
        yield Violation("crash-count", f"{document.crashes} crashes are noted, its log knows fewer", document.id)
    expired = [entry for entry in document.log if entry.reason == "expired"]
    if expired and (document.expires_at is None or expired[0].at < document.expires_at - 1):
        yield Violation("expired-early", "it expired before it had to start", document.id)


def _judge_end(
    document: Document, attempts: list[Attempt], started: set[tuple[str, int]], *, leaves_effects: bool
) -> Iterator[Violation]:
    """A job that completed had run, and one that failed had used what it was allowed."""
    last = attempts[-1] if attempts else None
    if document.state == "completed" and leaves_effects and (last is None or (last.job_id, last.number) not in started):
        yield Violation("never-started", "it completed, and its last attempt left no sign of a start", document.id)
    if last is not None and last.claim.at < document.run_at - EARLY_SECONDS:
        early = document.run_at - last.claim.at
        yield Violation("early", f"attempt {last.number} began {early:.1f} s before it was due", document.id)
    if document.job_type == PILL and document.state == "completed":
        yield Violation("survived", "it kills whoever runs it, and it completed", document.id)
    if document.state == "failed" and document.log:
        reasons = Counter(entry.reason for entry in document.log)
        tries = reasons["retry"] + reasons["timeout"] + reasons["failed"]
        if document.log[-1].reason == "failed" and tries <= document.max_retries and not _is_permanent(document):
            says = f"it failed for good after {tries} tries; max_retries is {document.max_retries}"
            yield Violation("gave-up-early", says, document.id)


def _is_permanent(document: Document) -> bool:
    return document.error_type in {"PermanentError", "InvalidPayload"}


def _owners_killed_for_a_job(history: History) -> frozenset[str]:
    """Incarnations that their supervisor killed for one job: the others' deaths there are no crashes of theirs."""
    return frozenset(
        attempt.owner
        for document in history.documents
        for attempt in attempts_of(document)
        if attempt.end is not None
        and attempt.owner is not None
        and attempt.end.reason in {"timeout", "cancelled"}
        and attempt.was_taken
    )
