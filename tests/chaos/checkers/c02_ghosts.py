"""C2 (I5): nothing exists or runs that nobody asked for, and a key or a request makes one job at most."""

from __future__ import annotations

from collections import defaultdict

from tests.chaos.history import Document, History, Operation

from .report import Report, Violation

FORGED = "forged-"
"""How ids begin that the suite itself puts into Redis."""


def check_ghosts(history: History) -> Report:
    """Trace every document and every effect to a request that was not definitely refused."""
    submits = [op for op in history.operations if op.op in {"submit", "replay"}]
    violations = [
        *_untraced(history.documents, submits),
        *_twice(history.documents),
        *_keys(submits),
        *_pushed_first(history),
    ]
    known = {document.id for document in history.documents}
    violations += [
        Violation("ghost-run", "it ran, and there is no document", job_id)
        for job_id in sorted({effect.job_id for effect in history.effects} - known)
    ]
    return Report(
        "C2 ghosts",
        ("I5",),
        len(history.documents),
        tuple(violations),
        {
            "documents": len(history.documents),
            "from unknown answers": len(known - {op.job_id for op in submits if op.outcome == "ok"}),
            "keys repeated": sum(count > 1 for count in _count_keys(submits).values()),
            "ghosts": len(violations),
        },
    )


def _untraced(documents: tuple[Document, ...], submits: list[Operation]) -> list[Violation]:
    named = {op.job_id for op in submits if op.outcome == "ok"}
    open_ = [op for op in submits if op.outcome == "info"]
    may_be = {op.job_id for op in open_} - {None}
    tags = {op.tag for op in open_} - {None}
    keys = {(op.tenant, op.key) for op in submits if op.key is not None and op.outcome != "fail"}
    replayed = {op.job_id for op in open_ if op.op == "replay"}  # the request names the old job
    refused = {op.tag: op for op in submits if op.outcome == "fail" and op.tag is not None}
    found = []
    for document in documents:
        if document.id in named | may_be or document.tag in tags:
            continue
        if document.key is not None and (document.tenant, document.key) in keys:
            continue
        if document.replay_of is not None and document.replay_of in replayed:
            continue
        refusal = refused.get(document.tag) if document.tag is not None else None
        if refusal is None:
            found.append(Violation("ghost", "no request accounts for its document", document.id))
        else:
            found.append(
                Violation(
                    "refused-kept", f"it was refused ({refusal.status} {refusal.problem}) and stored", document.id
                )
            )
    return found


def _pushed_first(history: History) -> list[Violation]:
    """The index knew a job that MongoDB never had: it was pushed before it was durable."""
    known = {document.id for document in history.documents}
    pushed = sorted({event.job_id for event in history.queue_events if event.kind == "ready"} - known)
    return [
        Violation("pushed-unstored", "Redis was told of it, and it was never stored", job_id)
        for job_id in pushed
        if not job_id.startswith(FORGED)
    ]


def _twice(documents: tuple[Document, ...]) -> list[Violation]:
    groups: defaultdict[tuple[str, str | None, str], list[Document]] = defaultdict(list)
    for document in documents:
        if document.key is not None:
            groups["key", document.tenant, document.key].append(document)
        if document.tag is not None and document.replay_of is None:
            groups["request", None, document.tag].append(document)
    return [
        Violation(f"{kind}-twice", f"one {kind} made {len(same)} jobs: {', '.join(d.id for d in same)}", same[0].id)
        for (kind, _, _), same in groups.items()
        if len(same) > 1
    ]


def _keys(submits: list[Operation]) -> list[Violation]:
    """What clients heard about a key: one job, and nothing but a refusal for another body."""
    answers: defaultdict[tuple[str | None, str], list[Operation]] = defaultdict(list)
    for op in submits:
        if op.key is not None and op.outcome == "ok":
            answers[op.tenant, op.key].append(op)
    found = []
    for (_, key), ops in answers.items():
        ids = sorted({op.job_id or "" for op in ops})
        if len(ids) > 1:
            found.append(Violation("two-answers", f"clients of key {key} were given the jobs {', '.join(ids)}", ids[0]))
        elif len({op.digest for op in ops}) > 1:
            found.append(Violation("other-body", f"key {key} was accepted with two different bodies", ids[0]))
    return found


def _count_keys(submits: list[Operation]) -> dict[tuple[str | None, str], int]:
    counts: defaultdict[tuple[str | None, str], int] = defaultdict(int)
    for op in submits:
        if op.key is not None:
            counts[op.tenant, op.key] += 1
    return counts
