"""Results as one table and as JSON."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psutil

from .run import Outcome

COLUMNS = (
    ("accepted", "C1 lost", "accepted"),
    ("refused", "C1 lost", "refused 429"),
    ("503", "C1 lost", "refused 503"),
    ("unknown", "C1 lost", "indeterminate"),
    ("lost", "C1 lost", "lost"),
    ("ghosts", "C2 ghosts", "ghosts"),
    ("twice", "C3 log", "duplicated transitions"),
    ("starts", "C13 starts", "claims"),
    ("extra", "C13 starts", "claims beyond the first"),
    ("fenced", "C4 fencing", "rejected writes"),
    ("unfenced", "C4 fencing", "unfenced effects"),
    ("inversions", "C7 priority", "inversions"),
)


def figure(outcome: Outcome, checker: str, name: str) -> float:
    """A figure of a checker; 0 where it has none."""
    return next((report.figures.get(name, 0.0) for report in outcome.reports if report.checker == checker), 0.0)


def show_line(outcome: Outcome) -> str:
    """One run."""
    plan = outcome.plan
    parts = [f"{title} {figure(outcome, checker, name):g}" for title, checker, name in COLUMNS]
    fired, planned = len(outcome.history.fired), len(outcome.history.planned)
    word = "ok" if outcome.passed else "FAILED"
    lines = [
        f"{plan.mode} {plan.seed}: {word} | {' | '.join(parts)} | faults {fired}/{planned} | {outcome.seconds:.0f} s"
    ]
    if outcome.trouble:
        lines.append(f"    {outcome.trouble}")
    lines += [f"    {fault} did not fire: {why}" for fault, why in outcome.failures.items()]
    for report in outcome.reports:
        rules = Counter(violation.rule for violation in report.violations)
        for rule, count in rules.items():
            first = next(each for each in report.violations if each.rule == rule)
            where = f" [{first.job_id}]" if first.job_id else ""
            lines.append(f"    {report.checker}: {rule} x{count}: {first.says}{where}")
    return "\n".join(lines)


def totals(outcomes: Sequence[Outcome]) -> dict[str, float]:
    """Sums over all runs."""
    found = {title: sum(figure(o, checker, name) for o in outcomes) for title, checker, name in COLUMNS}
    found["planned"] = sum(len(o.history.planned) for o in outcomes)
    found["fired"] = sum(len(o.history.fired) for o in outcomes)
    return found


def times(outcomes: Sequence[Outcome]) -> dict[str, dict[str, float]]:
    """The recovery times over all runs: how many, the maximum, and the largest bound."""
    found: dict[str, dict[str, float]] = {}
    for outcome in outcomes:
        for report in outcome.reports:
            if report.checker != "C11 times":
                continue
            for key, value in report.figures.items():
                name, _, what = key.partition(": ")
                row = found.setdefault(name, {"n": 0.0})
                if what == "n":
                    row["n"] += value
                else:
                    row[what] = max(value, row.get(what, 0.0))
    return found


def show_totals(outcomes: Sequence[Outcome]) -> str:
    """The sentence, and the recovery times."""
    sums = totals(outcomes)
    accepted = int(sums["accepted"])
    lines = [
        f"{int(sums['lost'])} lost of {accepted} accepted in {len(outcomes)} runs, {int(sums['fired'])} of "
        f"{int(sums['planned'])} planned faults fired, {sum(not o.passed for o in outcomes)} runs failed; "
        f"0 of {accepted} would bound the rate at {3 / accepted if accepted else 1:.1e} (95 %)"
    ]
    for name, row in times(outcomes).items():
        if row["n"]:
            maximum, bound = row.get("max, s", 0.0), row.get("bound, s", 0.0)
            lines.append(f"  {name}: max {maximum:.2f} s of {int(row['n'])}, bound {bound:.2f} s")
    return "\n".join(lines)


def machine() -> dict[str, Any]:
    """What it ran on."""
    return {"cores": os.cpu_count(), "memory_gib": round(psutil.virtual_memory().total / 2**30, 1)}


def save_results(outcomes: Sequence[Outcome], path: Path) -> None:
    """Everything but the histories."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(
        json.dumps(
            {
                "machine": machine(),
                "commit": outcomes[0].history.run.commit if outcomes else "",
                "totals": totals(outcomes),
                "times": times(outcomes),
                "runs": [
                    {
                        "seed": outcome.plan.seed,
                        "mode": outcome.plan.mode,
                        "seconds": round(outcome.seconds, 1),
                        "passed": outcome.passed,
                        "trouble": outcome.trouble,
                        "not_fired": dict(outcome.failures),
                        "reports": [report.to_json() for report in outcome.reports],
                    }
                    for outcome in outcomes
                ],
            },
            indent=1,
        )
        + "\n",
        encoding="utf-8",
    )
