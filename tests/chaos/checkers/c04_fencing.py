"""C4 (I3, I4): an attempt that was taken away changes nothing, and is told so."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from tests.chaos.history import Effect, History

from .attempts import Attempt, all_attempts
from .report import Report, Violation

OWNERS_OWN = frozenset({"completed", "failed", "retry"})
"""Reasons that the owner of the attempt alone may write."""
REJECTED = frozenset({"settle.fenced", "audit.lost", "child.declared_dead"})
"""What a worker logs when its attempt no longer counts."""


def check_fencing(history: History) -> Report:
    """Compare who wrote with who was entitled to, and effects with attempts."""
    attempts = all_attempts(history)
    violations = [
        *_strange_writers(history),
        *_strange_runs(history, attempts),
        *_reused_owners(history, attempts),
        *_backwards(history),
    ]
    rejected = sum(line.count for line in history.log_lines if line.event in REJECTED)
    silent = _unanswered(history, attempts)
    if silent and not rejected:
        job_id, number = silent[0]
        violations.append(
            Violation(
                "silent", f"attempt {number} came to its end after it was taken away; no refusal was logged", job_id
            )
        )
    unfenced = list(_unfenced(history))
    explained = [effect for effect in unfenced if _is_explained(history, effect, attempts)]
    return Report(
        "C4 fencing",
        ("I3", "I4"),
        len(attempts),
        tuple(violations),
        {
            "attempts": len(attempts),
            "taken away": sum(attempt.was_taken for attempt in attempts.values()),
            "rejected writes": rejected,
            "refused by the fenced sink": sum(not e.applied for e in history.effects if e.sink == "fenced"),
            "unfenced effects": len(unfenced),
            "unfenced, unexplained": len(unfenced) - len(explained),
        },
    )


def _strange_writers(history: History) -> Iterator[Violation]:
    for document in history.documents:
        owner, highest = None, 0
        for entry in document.log:
            if entry.attempt < highest:
                yield Violation(
                    "older", f"entry {entry.seq} is attempt {entry.attempt}'s, after {highest}", document.id
                )
            highest = max(highest, entry.attempt)
            if entry.after == "processing":
                owner = entry.owner
            elif entry.before == "processing" and owner is not None:
                if entry.owner != owner:
                    says = f"entry {entry.seq} ends an attempt of {entry.owner}; {owner} had claimed it"
                    yield Violation("foreign-owner", says, document.id)
                elif entry.reason in OWNERS_OWN and entry.by != owner:
                    says = f"entry {entry.seq} ({entry.reason}) was written by {entry.by}, not by its owner {owner}"
                    yield Violation("foreign-writer", says, document.id)


def _strange_runs(history: History, attempts: dict[tuple[str, int], Attempt]) -> Iterator[Violation]:
    """Executed without a claim: nobody was entitled to that."""
    dropped = {document.id for document in history.documents if document.log_dropped}
    known = {document.id for document in history.documents}
    for job_id, number in sorted({(e.job_id, e.attempt) for e in history.effects} - attempts.keys()):
        if job_id in known and job_id not in dropped:
            yield Violation("unclaimed-run", f"attempt {number} ran, and no claim made it", job_id)


def _reused_owners(history: History, attempts: dict[tuple[str, int], Attempt]) -> Iterator[Violation]:
    """An owner is one process: else a dead one's jobs look owned, and its late writes look entitled."""
    pids: defaultdict[str, set[int]] = defaultdict(set)
    for effect in history.effects:
        attempt = attempts.get((effect.job_id, effect.attempt))
        if attempt is not None and attempt.owner is not None and effect.pid is not None:
            pids[attempt.owner].add(effect.pid)
    for owner, several in sorted(pids.items()):
        if len(several) > 1:
            yield Violation("owner-reused", f"{owner} is the name of {len(several)} processes: {sorted(several)}")


def _backwards(history: History) -> Iterator[Violation]:
    highest: dict[str, int] = {}
    for effect in sorted((e for e in history.effects if e.sink == "fenced" and e.applied), key=lambda e: e.at):
        if effect.attempt < highest.get(effect.job_id, 0):
            says = f"the fenced sink took attempt {effect.attempt} after {highest[effect.job_id]}"
            yield Violation("sink-backwards", says, effect.job_id)
        highest[effect.job_id] = max(effect.attempt, highest.get(effect.job_id, 0))


def _unanswered(history: History, attempts: dict[tuple[str, int], Attempt]) -> list[tuple[str, int]]:
    """Attempts that did all their work after they had been taken away, in processes that lived on."""
    ended = {process.pid: process.ended for process in history.processes if process.ended is not None}
    found = []
    for effect in history.effects:
        attempt = attempts.get((effect.job_id, effect.attempt))
        if effect.phase != "end" or attempt is None or attempt.end is None or not attempt.was_taken:
            continue
        lived_until = ended.get(effect.pid or -1, float("inf"))
        if effect.at > attempt.end.at and lived_until > effect.at + 5 and attempt.end.reason != "cancelled":
            found.append((effect.job_id, effect.attempt))
    return found


def _unfenced(history: History) -> Iterator[Effect]:
    """Effects in the plain sink by an attempt after a newer one had started."""
    newest: dict[str, int] = {}
    for effect in sorted((e for e in history.effects if e.sink == "plain"), key=lambda e: e.at):
        if effect.attempt < newest.get(effect.job_id, 0):
            yield effect
        newest[effect.job_id] = max(effect.attempt, newest.get(effect.job_id, 0))


def _is_explained(history: History, effect: Effect, attempts: dict[tuple[str, int], Attempt]) -> bool:
    attempt = attempts.get((effect.job_id, effect.attempt))
    return attempt is not None and any(
        fault.at <= effect.at and (effect.pid in fault.pids or attempt.owner in fault.owners or not fault.pids)
        for fault in history.fired
    )
