"""What a load run came to: the figures of requests, the lives of the jobs, and what must not be."""

from __future__ import annotations

import os
import platform
import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

from headrace.contracts.api import JobSummary
from headrace.contracts.states import JobState

BEGIN, END = "<!-- load: begin -->\n", "<!-- load: end -->\n"


@dataclass(frozen=True)
class Row:
    """One kind of request."""

    name: str
    count: int
    failures: int
    median_ms: float
    p95_ms: float
    p99_ms: float
    worst_ms: float
    reasons: Sequence[str] = ()
    """Why it failed, and how often."""


@dataclass(frozen=True)
class Figures:
    """One run."""

    users: int
    seconds: float
    drained_seconds: float | None
    rows: Sequence[Row]
    jobs: Sequence[JobSummary]
    faults: Sequence[str]

    def markdown(self) -> str:
        """The run as a section of a page."""
        requests = sum(row.count for row in self.rows if not row.name.startswith("JOB "))
        states = Counter(str(job.state) for job in self.jobs)
        ended = ", ".join(f"{count:,} {state}" for state, count in sorted(states.items()))
        head = (
            f"{date.today().isoformat()}, {os.cpu_count()} cores for everything, the load generator included, Python "
            f"{platform.python_version()}: {self.users} users for {self.seconds:.0f} s, {requests:,} requests "
            f"({requests / self.seconds:.0f} per second), none answered with a 5xx. {len(self.jobs):,} jobs were "
            f"accepted and really run ({ended}); the last ended {self.drained_seconds or 0:.1f} s after the load."
        )
        lines = [
            "| request | count | median ms | 95 % ms | 99 % ms | worst ms |",
            "| --- | ---: | ---: | ---: | ---: | ---: |",
        ]
        lines += [_request_line(row) for row in self.rows]
        lines += ["", "| life of a job, as its own times tell | median ms | 95 % ms | 99 % ms | worst ms |"]
        lines += ["| --- | ---: | ---: | ---: | ---: |", *(_life_line(name, spans) for name, spans in self._lives())]
        return head + "\n\n" + "\n".join(lines) + "\n"

    def _lives(self) -> list[tuple[str, list[float]]]:
        over = [job for job in self.jobs if job.state is JobState.COMPLETED and job.started_at and job.finished_at]
        once = [job for job in over if job.attempt == 1]
        due = {job.id: max(job.created_at, job.run_at) for job in once}
        waits = [
            (
                f"due until started, {priority}",
                [_ms(due[job.id], job.started_at) for job in once if job.priority == priority],
            )
            for priority in ("high", "medium", "low")
        ]
        return [
            *waits,
            ("due until completed, at the first attempt", [_ms(due[job.id], job.finished_at) for job in once]),
            ("submitted until completed, at a later attempt",
             [_ms(job.created_at, job.finished_at) for job in over if job.attempt > 1]),
        ]  # fmt: skip


def figures_of(
    facts: Mapping[str, Any],
    jobs: Sequence[JobSummary],
    *,
    code: int,
    users: int,
    drained_seconds: float | None,
) -> Figures:
    """The figures of a run, and its faults: what no run may show."""
    rows = [Row(**row) for row in facts["rows"]]
    faults = [
        f"{row.name}: {row.failures} of {row.count} failed: {'; '.join(row.reasons)}" for row in rows if row.failures
    ]
    faults += [f"{count} answers with {status}" for status, count in facts["statuses"].items() if int(status) >= 500]
    stored = {job.id for job in jobs}
    lost = [job_id for job_id in facts["accepted"] if job_id not in stored]
    if lost:
        faults.append(f"{len(lost)} accepted jobs are not there, such as {lost[0]}")
    left = [job for job in jobs if not job.state.is_terminal]
    if left or drained_seconds is None:
        faults.append(f"{len(left)} jobs have not ended")
    if not rows or not jobs:
        faults.append("nothing was measured")
    if facts["counted"].get("repeats that gave another job"):
        faults.append("a repeated submission gave another job")
    faults += [f"a user of the load broke: {message}" for message in facts["broken"]]
    if code != 0 and not faults:
        faults.append(f"locust ended with {code}; see its log")
    return Figures(users, facts["seconds"], drained_seconds, rows, jobs, faults)


def write_page(page: Path, figures: Figures) -> None:
    """Put the figures between their marks on a page.

    Raises:
        ValueError: The page lacks the marks.
    """
    before, begin, rest = page.read_text(encoding="utf-8").partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{page.name} lacks the marks of the load section")
    page.write_text(before + BEGIN + figures.markdown() + END + after, encoding="utf-8")


def _request_line(row: Row) -> str:
    spans = (row.median_ms, row.p95_ms, row.p99_ms, row.worst_ms)
    return f"| `{row.name}` | {row.count:,} | " + " | ".join(f"{span:.0f}" for span in spans) + " |"


def _ms(start: Any, end: Any) -> float:
    return max(0.0, float((end - start).total_seconds() * 1000))


def _life_line(name: str, spans: list[float]) -> str:
    if len(spans) < 2:
        return f"| {name} | | | | |"
    cuts = statistics.quantiles(spans, n=100, method="inclusive")
    return f"| {name} | {cuts[49]:.0f} | {cuts[94]:.0f} | {cuts[98]:.0f} | {max(spans):.0f} |"
