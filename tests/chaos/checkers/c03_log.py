"""C3 (I2, I3): each job's log is one unbroken, legal chain that ends once, and nobody rewrites it."""

from __future__ import annotations

from collections.abc import Iterator

from tests.chaos.history import Document, History, LogEntry

from headrace.contracts.states import TRANSITIONS

from .attempts import PROCESSING, TERMINAL_STATES
from .report import Report, Violation

LEGAL = {
    (None if before is None else before.value, after.value): {reason.value for reason in reasons}
    for (before, after), reasons in TRANSITIONS.items()
}


def check_log(history: History) -> Report:
    """Judge every final log by itself, and every earlier sight of it against the final one."""
    final = {document.id: document for document in history.documents}
    violations = [violation for document in final.values() for violation in _judge(document)]
    for earlier in history.observed:
        later = final.get(earlier.id)
        if later is not None:  # gone documents are C1's
            violations += _judge_rewritten(earlier, later)
    entries = sum(len(document.log) for document in final.values())
    return Report(
        "C3 log",
        ("I2", "I3"),
        entries,
        tuple(violations),
        {
            "entries": entries,
            "earlier sights": len(history.observed),
            "duplicated transitions": sum(violation.rule == "ended-twice" for violation in violations),
        },
    )


def _judge(document: Document) -> Iterator[Violation]:
    job_id, log = document.id, document.log
    if not log:
        yield Violation("empty", "its log is empty", job_id)
        return
    before: str | None = None
    attempt = 0
    if document.log_dropped:  # the beginning is gone: the chain starts from what the first entry says
        before = log[0].before
        attempt = log[0].attempt - (log[0].after == PROCESSING)
    for number, entry in enumerate(log, start=document.log_dropped):
        yield from _judge_entry(job_id, entry, number=number, before=before, attempt=attempt)
        before, attempt = entry.after, entry.attempt
    ends = [entry.seq for entry in log if entry.after in TERMINAL_STATES]
    if len(ends) > 1:
        yield Violation("ended-twice", f"it ended {len(ends)} times, at entries {ends}", job_id)
    elif ends and ends[0] != log[-1].seq:
        yield Violation("after-end", f"entry {log[-1].seq} follows its end at {ends[0]}", job_id)
    if (document.state, document.attempt) != (before, attempt):
        yield Violation(
            "state",
            f"the document says {document.state} at attempt {document.attempt}, its log {before} at {attempt}",
            job_id,
        )


def _judge_entry(job_id: str, entry: LogEntry, *, number: int, before: str | None, attempt: int) -> Iterator[Violation]:
    if entry.seq != number:
        yield Violation("gap", f"entry {number} is numbered {entry.seq}", job_id)
    if entry.before != before:
        yield Violation("chain", f"entry {number} leaves {entry.before}, the one before it entered {before}", job_id)
    if (entry.before, entry.after) not in LEGAL:
        yield Violation("illegal", f"entry {number} goes from {entry.before} to {entry.after}", job_id)
    elif entry.reason not in LEGAL[entry.before, entry.after]:
        yield Violation("reason", f"entry {number}, {entry.before} to {entry.after}, says {entry.reason!r}", job_id)
    expected = attempt + (entry.after == PROCESSING)
    if entry.attempt != expected:
        yield Violation("attempt", f"entry {number} has attempt {entry.attempt}, it should be {expected}", job_id)


def _judge_rewritten(earlier: Document, later: Document) -> Iterator[Violation]:
    kept = {entry.seq: entry for entry in later.log}
    for entry in earlier.log:
        if entry.seq >= later.log_dropped and kept.get(entry.seq) != entry:
            what = "is gone" if entry.seq not in kept else "is another now"
            yield Violation("rewritten", f"entry {entry.seq}, seen at {earlier.read_at:.1f} s, {what}", earlier.id)
            return
    if earlier.state in TERMINAL_STATES:
        for name in ("state", "attempt", "result_digest", "error_type", "failures", "crashes"):
            was, became = getattr(earlier, name), getattr(later, name)
            if was != became:
                yield Violation(
                    "changed-after-end", f"{name} was {was!r} when it had ended and is {became!r}", earlier.id
                )
