"""C1 (I1): no accepted job is lost, and at quiet every stored job is over."""

from __future__ import annotations

from collections import Counter

from tests.chaos.history import History

from .attempts import TERMINAL_STATES
from .report import Report, Violation


def check_lost(history: History) -> Report:
    """Compare what was answered 2xx with the documents at quiet."""
    submits = [op for op in history.operations if op.op in {"submit", "replay"}]
    accepted = [op for op in submits if op.outcome == "ok"]
    documents = {document.id: document for document in history.documents}
    violations = [
        Violation("no-id", f"operation {op.index} was answered {op.status} without the id of a job")
        for op in accepted
        if op.job_id is None
    ]
    ids = {op.job_id for op in accepted if op.job_id is not None}
    violations += [
        Violation("lost", "it was accepted, and there is no document", job_id)
        for job_id in sorted(ids - documents.keys())
    ]
    for document in documents.values():
        if document.state not in TERMINAL_STATES:
            word = "accepted" if document.id in ids else "stored"
            violations.append(
                Violation(
                    "stuck", f"{word}, and still {document.state} at quiet (attempt {document.attempt})", document.id
                )
            )
    ends = Counter(document.state for document in documents.values())
    refused = Counter(op.status or 0 for op in submits if op.outcome == "fail")
    return Report(
        "C1 lost",
        ("I1",),
        len(accepted),
        tuple(violations),
        {
            "submits": len(submits),
            "accepted": len(accepted),
            "indeterminate": sum(op.outcome == "info" for op in submits),
            "refused 429": refused[429],
            "refused 503": refused[503],
            "refused otherwise": sum(refused.values()) - refused[429] - refused[503],
            **{state: ends[state] for state in sorted(TERMINAL_STATES)},
            "lost": sum(violation.rule in {"lost", "stuck"} for violation in violations),
        },
    )
