"""Follow a job to its end, and say how it ended."""

from __future__ import annotations

from rich.text import Text

from headrace.client.aio import Client
from headrace.client.cli.output import Output
from headrace.client.cli.problems import ExitCode
from headrace.client.cli.progress import ProgressView
from headrace.client.cli.words import STATE_STYLES, as_json, clean, span
from headrace.client.events import GAP, Event
from headrace.contracts.api import JobView
from headrace.contracts.states import JobState

_RESULT_CHARACTERS = 20_000


async def follow_job(client: Client, output: Output, job_id: str, *, event_lines: bool = False) -> ExitCode:
    """Show what happens to a job until it is over, and how it ended.

    Args:
        client: Asks the server.
        output: Shows it.
        job_id: The job.
        event_lines: Where JSON is asked for: write a line for each event instead of the job at its end.
    """
    with ProgressView(output.console, None if output.as_json else output.say) as view:
        async for event in client.follow(job_id):
            if event_lines and output.as_json:
                output.line({"event": event.name, **({} if event.job is None else {"job": event.job})})
            words = clean(_words(event), one_line=True)
            view.show(_fraction(event), words, is_due=event.name != "job.progress")
    job = await client.get(job_id)
    if not output.as_json:
        tell_end(output, job)
    elif not event_lines:
        output.document(job)
    return ExitCode.DONE if job.state is JobState.COMPLETED else ExitCode.JOB_FAILED


def tell_end(output: Output, job: JobView) -> None:
    """Say how a job ended, with its result or its error."""
    # A later attempt's own start would leave out those before it.
    began = job.started_at if job.started_at is not None and job.attempt == 1 else job.created_at
    took = "" if job.finished_at is None else f" after {span((job.finished_at - began).total_seconds())}"
    attempts = "" if job.attempt <= 1 else f", {job.attempt} attempts"
    output.say(Text(f"{job.state}{took}{attempts}", style=STATE_STYLES[job.state]))
    if job.error is not None and job.state is not JobState.COMPLETED:
        output.say(f"{clean(job.error.type)}: {clean(job.error.message)}")
    if job.state is JobState.COMPLETED and job.result is not None:
        output.say(as_json(job.result, limit=_RESULT_CHARACTERS))
    if job.state is JobState.FAILED:
        output.say(f"see 'headrace logs {job.id}'; 'headrace replay {job.id}' runs it again", style="dim")


def _fraction(event: Event) -> float | None:
    if event.job is None or event.job.state is JobState.COMPLETED:
        return None if event.job is None else 1.0
    return event.job.progress.fraction if event.job.progress is not None else None


def _words(event: Event) -> str:
    job = event.job
    if job is None:
        return "some events were lost" if event.name == GAP else event.name
    if event.name == "job.retrying":
        return f"attempt {job.attempt} failed, it will be tried again"
    if job.state is JobState.PROCESSING and job.progress is not None and job.progress.message:
        return job.progress.message
    return str(job.state)
