"""The commands about jobs: status, watch, list, cancel, replay, why, logs, history."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.text import Text

from headrace.client.aio import Client
from headrace.client.cli.following import follow_job
from headrace.client.cli.job_views import events_line, job_table, show_job
from headrace.client.cli.options import (
    JobId,
    JobIds,
    PoolOption,
    TypeOption,
    complete_job,
    parse_moment,
    parse_tags,
)
from headrace.client.cli.output import Output
from headrace.client.cli.problems import ExitCode, UsageError, exit_code, explain
from headrace.client.cli.session import AsJson, access_of, run
from headrace.client.cli.words import clean, span
from headrace.contracts.errors import ApiError
from headrace.contracts.job import Priority
from headrace.contracts.states import JobState


def status(context: typer.Context, ids: JobIds, as_json: AsJson = False) -> None:
    """Show how jobs stand."""

    async def work(client: Client, output: Output) -> None:
        jobs = [await client.get(job_id) for job_id in ids]
        if output.as_json:
            output.document(jobs[0] if len(jobs) == 1 else jobs)
        elif len(jobs) == 1:
            show_job(output, jobs[0])
        else:
            job_table(output, jobs)

    run(context, as_json, work)


def watch(
    context: typer.Context,
    id: Annotated[str | None, typer.Argument(metavar="[ID]", help="One job.", autocompletion=complete_job)] = None,
    type: TypeOption = None,
    pool: PoolOption = None,
    as_json: AsJson = False,
) -> None:
    """Watch one job until it is over, or everything that happens until Ctrl-C.

    With --json: one event per line.
    """

    async def work(client: Client, output: Output) -> ExitCode | None:
        if id is not None:
            if type is not None or pool is not None:
                raise UsageError("ID excludes --type and --pool")
            return await follow_job(client, output, id, event_lines=True)
        async for event in client.events(type=type, pool=pool):
            if output.as_json:
                output.line({"event": event.name, **({} if event.job is None else {"job": event.job})})
            else:
                output.say(events_line(event))
        return None

    run(context, as_json, work)


def list_jobs(
    context: typer.Context,
    *,
    state: Annotated[JobState | None, typer.Option("--state", "-s", help="In this state.")] = None,
    type: TypeOption = None,
    pool: PoolOption = None,
    priority: Annotated[Priority | None, typer.Option(help="Of this priority.")] = None,
    tag: Annotated[str | None, typer.Option(metavar="NAME=VALUE", help="With this tag.")] = None,
    created_after: Annotated[str | None, typer.Option(metavar="TIME", help="Submitted after this.")] = None,
    created_before: Annotated[str | None, typer.Option(metavar="TIME", help="Submitted before this.")] = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=200, help="How many at most.")] = 20,
    cursor: Annotated[str | None, typer.Option(metavar="C", help="Go on there: the next_cursor of a list.")] = None,
    as_json: AsJson = False,
) -> None:
    """List jobs, newest first."""

    async def work(client: Client, output: Output) -> None:
        tags = [f"{name}:{value}" for name, value in parse_tags([tag] if tag else None).items()]
        found = await client.job_page(
            cursor,
            limit,
            state=state.value if state else None,
            type=type,
            pool=pool,
            priority=priority.value if priority else None,
            tag=tags[0] if tags else None,
            created_after=parse_moment(created_after, "--created-after"),
            created_before=parse_moment(created_before, "--created-before"),
        )
        if output.as_json:
            output.document(found)
            return
        if not found.jobs:
            output.say("no jobs match")
            return
        job_table(output, found.jobs)
        if found.next_cursor:
            output.say(f"more with --cursor {found.next_cursor}", style="dim")

    run(context, as_json, work)


def cancel(context: typer.Context, ids: JobIds, as_json: AsJson = False) -> None:
    """Cancel jobs. A running one takes a moment to stop; it never completes."""

    async def work(client: Client, output: Output) -> ExitCode | None:
        done, worst = [], None
        for job_id in ids:
            try:
                job = await client.cancel(job_id)
            except ApiError as error:
                if len(ids) == 1:
                    raise
                output.warn(f"{clean(job_id)}: {explain(error, access_of(context))[0]}")
                worst = exit_code(error)
                continue
            done.append(job)
            if not output.as_json:
                is_over = job.state.is_terminal
                output.say(f"{job.id} {'cancelled' if is_over else 'is asked to stop'}")
        if output.as_json:
            output.document(done[0] if len(ids) == 1 else done)
        return worst

    run(context, as_json, work)


def replay(
    context: typer.Context,
    id: JobId,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Show its progress and wait for its end.")] = False,
    as_json: AsJson = False,
) -> None:
    """Run a job that is over again, as a new job. Prints the new one's id."""

    async def work(client: Client, output: Output) -> ExitCode | None:
        job = await client.replay(id)
        if follow:
            if not output.as_json:
                output.say(f"job {job.id}")
            return await follow_job(client, output, job.id)
        output.document(job) if output.as_json else output.say(job.id)
        return None

    run(context, as_json, work)


def why(context: typer.Context, id: JobId, as_json: AsJson = False) -> None:
    """Explain why a job does not run, or that it does."""

    async def work(client: Client, output: Output) -> None:
        found = await client.why(id)
        if output.as_json:
            output.document(found)
            return
        for reason in found.reasons:
            output.say(Text.assemble((reason.code, "bold"), f"  {clean(reason.detail)}"))
        if found.position is not None:
            eta = "" if found.eta_seconds is None else f", its turn comes in about {span(found.eta_seconds)}"
            output.say(f"place {found.position} in the line{eta}")

    run(context, as_json, work)


def logs(
    context: typer.Context,
    id: JobId,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Wait for more until the job is over.")] = False,
    attempt: Annotated[int | None, typer.Option(metavar="N", help="Of this attempt only.")] = None,
    as_json: AsJson = False,
) -> None:
    """Show what a job printed and logged. With --json: one line of JSON per line."""

    async def work(client: Client, output: Output) -> None:
        found = False
        async for line in client.logs(id, follow=follow):
            if attempt is not None and line.attempt != attempt:
                continue
            found = True
            if output.as_json:
                output.line(line)
            else:
                style = "red" if line.level in {"stderr", "error", "critical"} else None
                head = f"{line.at:%H:%M:%S}  {line.attempt}  {line.level:8} "
                output.say(Text.assemble((head, "dim"), (clean(line.text), style or "")))
        if not found and not output.as_json:
            output.say("it has said nothing")

    run(context, as_json, work)


def history(context: typer.Context, id: JobId, as_json: AsJson = False) -> None:
    """Show every step of a job and its last errors."""

    async def work(client: Client, output: Output) -> None:
        found = await client.history(id)
        if output.as_json:
            output.document(found)
            return
        output.table(
            (">step", "at", "from", "to", ">attempt", "reason", "owner"),
            [
                (
                    str(s.seq),
                    f"{s.at:%Y-%m-%d %H:%M:%S.%f}"[:-3] + "Z",
                    str(s.from_ or ""),
                    str(s.to),
                    str(s.attempt),
                    str(s.reason),
                    clean(s.owner or ""),
                )
                for s in found.transitions
            ],
        )
        for error in found.errors:
            output.say(f"{error.at:%Y-%m-%d %H:%M:%S}Z  {clean(error.type)}: {clean(error.message)}")

    run(context, as_json, work)
