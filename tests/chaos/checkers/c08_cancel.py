"""C8 (I9): of a cancel and a job's own end exactly one wins, and the answer says which."""

from __future__ import annotations

from collections.abc import Iterator

from tests.chaos.history import Document, History, LogEntry, Operation

from .attempts import PROCESSING, TERMINAL_STATES, is_disturbed
from .report import Report, Violation

CANCELLED = "cancelled"


def check_cancel(history: History) -> Report:
    """Compare every answer to a cancel with the log, and every cancelled job with the requests."""
    documents = {document.id: document for document in history.documents}
    cancels = [op for op in history.operations if op.op == "cancel"]
    violations: list[Violation] = []
    slowest, slowest_job = 0.0, ""
    for op in cancels:
        document = documents.get(op.job_id or "")
        if document is None:
            continue  # C1 misses it
        violations += _judge_answer(op, document)
        end = _end_of(document)
        if op.status == 202 and end is not None and op.completed is not None:
            seconds = end.at - op.completed
            if seconds > slowest and not is_disturbed(history, op.completed, end.at, slack=5):
                slowest, slowest_job = seconds, document.id
    allowed = history.run.settings.get("cancel")
    if allowed is not None and slowest > allowed:
        violations.append(
            Violation("slow", f"it ended {slowest:.1f} s after its cancel; {allowed:.1f} s are allowed", slowest_job)
        )
    asked = {op.job_id for op in cancels if op.outcome != "fail"}
    for document in documents.values():
        violations += _judge_document(document, is_asked=document.id in asked)
    return Report(
        "C8 cancel",
        ("I9",),
        len(cancels),
        tuple(violations),
        {
            "cancels": len(cancels),
            "at once": sum(op.status == 200 for op in cancels),
            "asked for": sum(op.status == 202 for op in cancels),
            "too late": sum(op.status == 409 for op in cancels),
            "longest, s": slowest,
            "conflicts": len(violations),
        },
        {"longest, s": slowest_job} if slowest_job else {},
    )


def _judge_answer(op: Operation, document: Document) -> Iterator[Violation]:
    end = _end_of(document)
    completed = op.completed if op.completed is not None else float("inf")
    if op.outcome == "ok" and op.status in {200, 202}:
        if document.state != CANCELLED:
            yield Violation(
                "not-cancelled", f"a cancel was answered {op.status}; the job is {document.state}", document.id
            )
        elif op.status == 200 and end is not None and end.at > completed + 0.05:
            yield Violation("early", f"answered {CANCELLED} {end.at - completed:.2f} s before it was", document.id)
        if op.status == 200 and op.state != CANCELLED:
            yield Violation("answer", f"a cancel was answered 200 with the state {op.state}", document.id)
        late = [entry.attempt for entry in document.log if entry.after == PROCESSING and entry.at > completed + 0.05]
        if late:
            yield Violation(
                "claimed-after", f"attempt {late[0]} was claimed after the cancel was answered", document.id
            )
    elif op.status == 409:
        if document.state not in {"completed", "failed"}:
            yield Violation(
                "wrong-refusal", f"a cancel was refused as too late; the job is {document.state}", document.id
            )
        elif end is not None and end.at > completed + 0.05:
            yield Violation("wrong-refusal", "a cancel was refused as too late before the job had ended", document.id)


def _judge_document(document: Document, *, is_asked: bool) -> Iterator[Violation]:
    if document.state == CANCELLED and not is_asked:
        yield Violation("unasked", "it is cancelled, and nobody asked for that", document.id)
    if document.cancel_requested_at is not None and document.state in TERMINAL_STATES - {CANCELLED}:
        yield Violation("overruled", f"a cancel was noted in its document, and it ended {document.state}", document.id)


def _end_of(document: Document) -> LogEntry | None:
    return next((entry for entry in document.log if entry.after in TERMINAL_STATES), None)
