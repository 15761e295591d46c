"""Results as rows of plain values, one per run: as lines, as one table, and as JSON that is read back.

`python -m tests.chaos.table FILE...` puts the results of several invocations together as one table in Markdown.
"""

from __future__ import annotations

import json
import os
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import psutil

from .outcome import Outcome, commit

Row = Mapping[str, Any]
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
TIMES = "C11 times"


def row_of(outcome: Outcome) -> Row:
    """Everything but the history, as JSON has it."""
    return {
        "seed": outcome.plan.seed,
        "mode": outcome.plan.mode,
        "commit": outcome.history.run.commit,
        "seconds": round(outcome.seconds, 1),
        "passed": outcome.passed,
        "planned": len(outcome.history.planned),
        "fired": len(outcome.history.fired),
        "trouble": outcome.trouble,
        "not_fired": dict(outcome.failures),
        "reports": [report.to_json() for report in outcome.reports],
    }


def figure(row: Row, checker: str, name: str) -> float:
    """A figure of a checker; 0 where it has none."""
    found = (report["figures"].get(name, 0.0) for report in row["reports"] if report["checker"] == checker)
    return float(next(found, 0.0))


def show_line(row: Row) -> str:
    """One run, and below it all that was wrong."""
    parts = [f"{title} {figure(row, checker, name):g}" for title, checker, name in COLUMNS]
    word = "ok" if row["passed"] else "FAILED"
    faults = f"faults {row['fired']}/{row['planned']}"
    lines = [f"{row['mode']} {row['seed']}: {word} | {' | '.join(parts)} | {faults} | {row['seconds']:.0f} s"]
    if row["trouble"]:
        lines.append(f"    {row['trouble']}")
    lines += [f"    {fault} did not fire: {why}" for fault, why in row["not_fired"].items()]
    for report in row["reports"]:
        rules = Counter(violation["rule"] for violation in report["violations"])
        for rule, count in rules.items():
            first = next(each for each in report["violations"] if each["rule"] == rule)
            where = f" [{first['job_id']}]" if first["job_id"] else ""
            lines.append(f"    {report['checker']}: {rule} x{count}: {first['says']}{where}")
    return "\n".join(lines)


def totals(rows: Sequence[Row]) -> dict[str, float]:
    """Sums over all runs."""
    found = {title: sum(figure(row, checker, name) for row in rows) for title, checker, name in COLUMNS}
    return {**found, **{name: sum(row[name] for row in rows) for name in ("planned", "fired")}}


def times(rows: Sequence[Row]) -> dict[str, dict[str, float]]:
    """The recovery times over all runs: how many, the maximum, and the largest bound."""
    found: dict[str, dict[str, float]] = {}
    for row in rows:
        for report in row["reports"]:
            for key, value in report["figures"].items() if report["checker"] == TIMES else ():
                name, _, what = key.partition(": ")
                entry = found.setdefault(name, {"n": 0.0})
                entry[what] = entry["n"] + value if what == "n" else max(value, entry.get(what, 0.0))
    return found


def sentence(rows: Sequence[Row]) -> str:
    """What may be said of it, and no more."""
    sums = totals(rows)
    accepted = int(sums["accepted"])
    rate = 3 / accepted if accepted else 1
    return (
        f"{int(sums['lost'])} lost of {accepted} accepted in {len(rows)} runs, {int(sums['fired'])} of "
        f"{int(sums['planned'])} planned faults fired, {sum(not row['passed'] for row in rows)} runs failed; "
        f"0 of {accepted} would bound the rate at {rate:.1e} (95 %)"
    )


def show_totals(rows: Sequence[Row]) -> str:
    """The sentence, and the recovery times."""
    lines = [sentence(rows)]
    for name, row in times(rows).items():
        if row["n"]:
            maximum, bound = row.get("max, s", 0.0), row.get("bound, s", 0.0)
            lines.append(f"  {name}: max {maximum:.2f} s of {int(row['n'])}, bound {bound:.2f} s")
    return "\n".join(lines)


def as_markdown(rows: Sequence[Row]) -> str:
    """One table, a line per run, the sums last."""
    titles = ["run", *(title for title, _, _ in COLUMNS), "faults", "s", "passed"]
    lines = [f"| {' | '.join(titles)} |", f"| --- |{' ---: |' * (len(titles) - 2)} --- |"]
    for row in rows:
        figures = [f"{figure(row, checker, name):g}" for _, checker, name in COLUMNS]
        ends = [f"{row['fired']}/{row['planned']}", f"{row['seconds']:.0f}", "yes" if row["passed"] else "**no**"]
        lines.append(f"| {' | '.join([row['mode'] + ' ' + str(row['seed']), *figures, *ends])} |")
    sums = totals(rows)
    figures = [f"{sums[title]:g}" for title, _, _ in COLUMNS]
    passed = f"{sum(row['passed'] for row in rows)} of {len(rows)}"
    seconds = f"{sum(row['seconds'] for row in rows):.0f}"
    faults = f"{sums['fired']:g}/{sums['planned']:g}"
    return "\n".join([*lines, f"| all | {' | '.join([*figures, faults, seconds, passed])} |"])


def machine() -> dict[str, Any]:
    """What it ran on."""
    return {"cores": os.cpu_count(), "memory_gib": round(psutil.virtual_memory().total / 2**30, 1)}


def save_results(rows: Sequence[Row], path: Path) -> None:
    """All rows, and what they come to."""
    path.parent.mkdir(parents=True, exist_ok=True)
    result = {
        "machine": machine(),
        "commit": commit(),
        "says": sentence(rows),
        "totals": totals(rows),
        "times": times(rows),
        "runs": list(rows),
    }
    path.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


def read_results(paths: Sequence[Path]) -> list[Row]:
    """The rows of several files, by mode and seed."""
    rows = [row for path in paths for row in json.loads(path.read_text(encoding="utf-8"))["runs"]]
    return sorted(rows, key=lambda row: (row["mode"], row["seed"]))


if __name__ == "__main__":
    found = read_results([Path(name) for name in sys.argv[1:]])
    print(as_markdown(found))
    print(f"\n{show_totals(found)}")
