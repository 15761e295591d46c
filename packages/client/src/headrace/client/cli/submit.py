"""`headrace submit`."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from headrace.client.aio import Client
from headrace.client.cli.following import follow_job
from headrace.client.cli.options import complete_type, parse_moment, parse_tags
from headrace.client.cli.output import Output
from headrace.client.cli.problems import ExitCode, UsageError
from headrace.client.cli.session import AsJson, run
from headrace.client.cli.submit_lines import submit_lines
from headrace.client.submission import SubmitOptions
from headrace.contracts.job import Priority

Type = Annotated[str, typer.Argument(metavar="TYPE", help="The job type.", autocompletion=complete_type)]
Payload = Annotated[
    str | None,
    typer.Argument(metavar="JSON", help="The payload; '-' reads standard input, '@FILE' a file. Without it: {}."),
]


def submit(
    context: typer.Context,
    type: Type,
    payload: Payload = None,
    *,
    priority: Annotated[Priority | None, typer.Option(help="Default medium.")] = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Show its progress and wait for its end.")] = False,
    delay: Annotated[float | None, typer.Option(metavar="SECONDS", help="Run no sooner than so long from now.")] = None,
    run_at: Annotated[str | None, typer.Option(metavar="TIME", help="Run no sooner than then.")] = None,
    timeout: Annotated[int | None, typer.Option(metavar="SECONDS", help="How long an attempt may take.")] = None,
    max_retries: Annotated[int | None, typer.Option(metavar="N", help="How often it may fail and run again.")] = None,
    expires_in: Annotated[
        float | None, typer.Option(metavar="SECONDS", help="Fail it if it has not started so long after it was due.")
    ] = None,
    unique_key: Annotated[
        str | None, typer.Option(metavar="KEY", help="Refuse it while another job of the type has this key.")
    ] = None,
    tag: Annotated[list[str] | None, typer.Option(metavar="NAME=VALUE", help="To find it by; may be repeated.")] = None,
    key: Annotated[
        str | None, typer.Option(metavar="KEY", help="Idempotency key: the same key again gives the same job.")
    ] = None,
    lines: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="One job per line of FILE ('-': standard input), each a payload."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Have a job done.

    Prints its id at once. With --follow it shows the progress and ends as the job does.
    """

    async def work(client: Client, output: Output) -> ExitCode | None:
        options: SubmitOptions = {
            "priority": priority.value if priority else None,
            "delay_seconds": delay,
            "run_at": parse_moment(run_at, "--run-at"),
            "timeout_seconds": timeout,
            "max_retries": max_retries,
            "expires_in_seconds": expires_in,
            "unique_key": unique_key,
            "tags": parse_tags(tag) or None,
        }
        if lines is not None:
            if payload is not None:
                raise UsageError("JSON and --lines exclude each other")
            texts = sys.stdin.read() if str(lines) == "-" else _read(lines)
            return await submit_lines(client, output, type, texts, options, key=key, follow=follow)
        job = await client.submit(type, parse_payload(payload), idempotency_key=key, **options)
        if not follow:
            output.document(job) if output.as_json else output.say(job.id)
            return None
        if not output.as_json:
            output.say(f"job {job.id}")
        return await follow_job(client, output, job.id)

    run(context, as_json, work)


def parse_payload(text: str | None) -> Any:
    """A payload as it was typed, or read from where it was said to be.

    Raises:
        UsageError: It is not JSON, or cannot be read.
    """
    where = "JSON"
    if text is None:
        return {}
    if text == "-":
        text, where = sys.stdin.read(), "standard input"
    elif text.startswith("@"):
        text, where = _read(Path(text[1:])), text[1:]
    try:
        return json.loads(text)
    except ValueError as error:
        hint = " (put it in single quotes for the shell)" if where == "JSON" else ""
        raise UsageError(f"{where} must be a JSON value{hint}: {error}") from None


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise UsageError(f"{path} must be text in UTF-8") from None
