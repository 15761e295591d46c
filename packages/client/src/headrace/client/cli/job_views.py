"""How jobs look on a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from rich.table import Table
from rich.text import Text

from headrace.client.cli.output import Output
from headrace.client.cli.words import STATE_STYLES, age, as_json, bar, clean, moment_text, span
from headrace.client.events import Event
from headrace.contracts.api import JobSummary, JobView
from headrace.contracts.states import JobState

_VALUE_CHARACTERS = 4000


def state_text(job: JobSummary) -> Text:
    """The state in its colour; a job that is not due yet says so."""
    text = Text(str(job.state), style=STATE_STYLES[job.state])
    if job.state is JobState.QUEUED and job.run_at > datetime.now(UTC):
        text.append(f" ({age(job.run_at)})", style="dim")
    elif job.state is JobState.PROCESSING and job.cancel_requested_at is not None:
        text.append(" (stopping)", style="yellow")
    return text


def progress_text(job: JobSummary, *, limit: int = 40) -> str:
    """How far it is; of a failed job what went wrong."""
    if job.state is JobState.FAILED and job.error is not None:
        return clean(f"{job.error.type}: {job.error.message}", one_line=True, limit=limit)
    if job.state is not JobState.PROCESSING or job.progress is None:
        return ""
    message = clean(job.progress.message, one_line=True, limit=limit)
    return f"{job.progress.fraction:4.0%} {message}"


def job_table(output: Output, jobs: Sequence[JobSummary]) -> None:
    """One line per job."""
    output.table(
        ("id", "type", "priority", "state", ">attempt", "submitted", "progress or error"),
        [
            (
                job.id,
                clean(job.type),
                str(job.priority),
                state_text(job),
                str(job.attempt),
                age(job.created_at),
                progress_text(job),
            )
            for job in jobs
        ],
    )


def show_job(output: Output, job: JobView) -> None:
    """Everything about one job."""
    rows: list[tuple[str, str | Text]] = [
        ("job", job.id),
        ("type", f"{clean(job.type)}, pool {job.pool}, priority {job.priority}"),
        ("state", state_text(job)),
    ]
    if job.state is JobState.PROCESSING and job.progress is not None:
        message = clean(job.progress.message, one_line=True)
        rows.append(("progress", f"{bar(job.progress.fraction)} {job.progress.fraction:.0%} {message}"))
    counted = f"{job.attempt}, {job.failures} failed, {job.crashes} crashed, {job.max_retries} retries allowed"
    rows += [("attempts", counted), ("submitted", moment_text(job.created_at))]
    if job.run_at > job.created_at:
        rows.append(("due", moment_text(job.run_at)))
    rows += [("started", moment_text(job.started_at)), ("finished", moment_text(job.finished_at))]
    if job.started_at is not None and job.finished_at is not None:
        rows.append(("took", span((job.finished_at - job.started_at).total_seconds())))
    if job.error is not None:
        rows.append(("error", clean(f"{job.error.type}: {job.error.message}")))
    rows += [
        ("tags", ", ".join(f"{clean(name)}={clean(value)}" for name, value in job.tags.items())),
        ("unique key", clean(job.unique_key or "")),
        ("replay of", job.replay_of or ""),
        ("payload", as_json(job.payload, limit=_VALUE_CHARACTERS)),
    ]
    if job.state is JobState.COMPLETED:
        rows.append(("result", as_json(job.result, limit=_VALUE_CHARACTERS)))
    grid = Table.grid(padding=(0, 2))
    for name, value in rows:
        if value:
            grid.add_row(Text(name, style="dim"), value if isinstance(value, Text) else Text(value))
    output.console.print(grid)
    if job.state is JobState.QUEUED:
        output.say(f"'headrace why {job.id}' tells why it does not run yet", style="dim")


def events_line(event: Event) -> Text:
    """One event as a line."""
    job = event.job
    if job is None:
        return Text(f"{'':8}  some events were lost", style="yellow")
    words = f" {job.progress.fraction:.0%} {clean(job.progress.message, one_line=True)}" if job.progress else ""
    return Text.assemble(
        (f"{job.at:%H:%M:%S}  ", "dim"),
        (f"{event.name.removeprefix('job.'):9} ", STATE_STYLES[job.state]),
        f" {job.id}  {clean(job.type)}",
        words if event.name == "job.progress" else "",
    )
