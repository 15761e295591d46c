"""C9 (I12): reads never go back, never deny what was accepted, and what was reported stays true."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from tests.chaos.history import Document, History, Operation

from .attempts import TERMINAL_STATES
from .report import Report, Violation


def check_reads(history: History) -> Report:
    """Judge each client's reads in order, each against what was accepted before, and all against the final logs."""
    reads = [op for op in history.operations if op.op in {"get", "history"} and op.outcome == "ok"]
    documents = {document.id: document for document in history.documents}
    violations = [
        *_denied(history, reads),
        *_backwards(reads),
        *(v for op in reads for v in _untrue(op, documents.get(op.job_id or ""))),
        *_foreign(history),
    ]
    return Report(
        "C9 reads",
        ("I12",),
        len(reads),
        tuple(violations),
        {"reads": len(reads), "not found": sum(op.status == 404 for op in reads)},
    )


def _denied(history: History, reads: list[Operation]) -> Iterator[Violation]:
    accepted: dict[str, float] = {}
    for op in history.operations:
        if op.op in {"submit", "replay"} and op.outcome == "ok" and op.job_id and op.completed is not None:
            accepted[op.job_id] = min(op.completed, accepted.get(op.job_id, float("inf")))
    for op in reads:
        if op.status == 404 and op.invoked >= accepted.get(op.job_id or "", float("inf")):
            yield Violation("denied", f"read {op.index} did not find it after it had been accepted", op.job_id)


def _backwards(reads: list[Operation]) -> Iterator[Violation]:
    """Per client and job: attempt and log length do not fall, and an end is the end."""
    seen: defaultdict[tuple[str, str | None], dict[str, tuple[float, int]]] = defaultdict(dict)
    ended: dict[tuple[str, str | None], tuple[float, str | None]] = {}
    for op in sorted((op for op in reads if op.completed is not None), key=lambda op: op.completed or 0.0):
        if op.status == 404:
            continue
        who = (op.client, op.job_id)
        for name, value in (("attempt", op.attempt), ("log length", op.log_length)):
            if value is None:
                continue
            at, before = seen[who].get(name, (float("-inf"), value))
            if op.invoked >= at and value < before:
                yield Violation(
                    "went-back", f"read {op.index} of {op.client} has {name} {value} after {before}", op.job_id
                )
            if value >= before:
                seen[who][name] = (op.completed or 0.0, value)
        if who in ended and op.invoked >= ended[who][0] and op.state is not None and op.state != ended[who][1]:
            says = f"read {op.index} of {op.client} says {op.state} after {ended[who][1]}"
            yield Violation("rose-again", says, op.job_id)
        if op.state in TERMINAL_STATES:
            ended.setdefault(who, (op.completed or 0.0, op.state))


def _untrue(op: Operation, final: Document | None) -> Iterator[Violation]:
    """What was reported must be in the job's final log: else it was rolled back."""
    if op.status == 404:
        return
    if final is None:
        yield Violation("rolled-back", f"read {op.index} showed it, and there is no document", op.job_id)
        return
    if op.log_length is not None and op.log_length > len(final.log) + final.log_dropped:
        says = f"read {op.index} showed {op.log_length} transitions; there are {len(final.log) + final.log_dropped}"
        yield Violation("rolled-back", says, op.job_id)
    if op.state is None or op.attempt is None or final.log_dropped:
        return
    if (op.state, op.attempt) not in {(entry.after, entry.attempt) for entry in final.log}:
        says = f"read {op.index} said {op.state} at attempt {op.attempt}; its log knows no such moment"
        yield Violation("rolled-back", says, op.job_id)


def _foreign(history: History) -> Iterator[Violation]:
    """A reply that belongs to somebody else's request: connections were mixed up."""
    own = defaultdict(set)
    for op in history.operations:
        if op.tag is not None:
            own[op.tag].add(op.tag)
            if op.key is not None:
                own[f"key {op.tenant} {op.key}"].add(op.tag)
    for op in history.operations:
        if op.op != "submit" or op.tag is None or op.echoed_tag is None:
            continue
        mine = own[f"key {op.tenant} {op.key}"] if op.key is not None else {op.tag}
        if op.echoed_tag not in mine:
            yield Violation("foreign-reply", f"operation {op.index} was answered with {op.echoed_tag}'s job", op.job_id)
