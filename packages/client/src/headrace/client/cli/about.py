"""The commands about the rest: types, breakers, audit."""

from __future__ import annotations

import difflib
from typing import Annotated

import typer
from rich.text import Text

from headrace.client.aio import Client
from headrace.client.cli.options import complete_type
from headrace.client.cli.output import Output
from headrace.client.cli.session import AsJson, run
from headrace.client.cli.words import age, clean, span
from headrace.client.cli.words import as_json as json_text
from headrace.contracts.errors import NotFoundError


def types(
    context: typer.Context,
    type: Annotated[
        str | None, typer.Argument(metavar="[TYPE]", help="Show its schema.", autocompletion=complete_type)
    ] = None,
    as_json: AsJson = False,
) -> None:
    """List the job types that workers have registered, or show one with the schema of its payload."""

    async def work(client: Client, output: Output) -> None:
        found = sorted(await client.job_types(), key=lambda item: item.type)
        if type is None:
            if output.as_json:
                output.document({"types": found})
                return
            output.table(
                ("type", "pool", ">timeout", ">retries", ">version", ">workers"),
                [
                    (
                        clean(t.type),
                        t.pool,
                        span(t.timeout_seconds),
                        str(t.max_retries),
                        str(t.contract_version),
                        Text(str(t.workers), style="red" if t.workers == 0 else ""),
                    )
                    for t in found
                ],
            )
            return
        one = next((item for item in found if item.type == type), None)
        if one is None:
            near = difflib.get_close_matches(type, [item.type for item in found], n=1)
            raise NotFoundError(f"no worker has registered the type {type}" + (f"; near: {near[0]}" if near else ""))
        output.document(one) if output.as_json else output.say(json_text(one.payload_schema))

    run(context, as_json, work)


def breakers(
    context: typer.Context,
    reset: Annotated[str | None, typer.Option(metavar="NAME", help="Close this one by hand.")] = None,
    as_json: AsJson = False,
) -> None:
    """List open breakers of what jobs depend on, or close one by hand."""

    async def work(client: Client, output: Output) -> None:
        if reset is not None:
            done = await client.reset_breaker(reset)
            output.document(done) if output.as_json else output.say(f"{clean(done.name)} is closed")
            return
        found = await client.breakers()
        if output.as_json:
            output.document({"breakers": found})
        elif not found:
            output.say("no breaker is open")
        else:
            output.table(
                ("dependency", "state", "opened", "tries again", ">failures", "types", "error"),
                [
                    (
                        clean(b.name),
                        b.state,
                        age(b.opened_at),
                        f"in {span(b.retry_in_seconds)}",
                        str(b.failures),
                        ", ".join(map(clean, b.types)),
                        clean(b.error, one_line=True, limit=60),
                    )
                    for b in found
                ],
            )

    run(context, as_json, work)


def audit(
    context: typer.Context,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, help="How many at most.")] = 20,
    as_json: AsJson = False,
) -> None:
    """Show who did what, newest first. Needs a token with the scope admin."""

    async def work(client: Client, output: Output) -> None:
        entries = []
        async for entry in client.audit():
            entries.append(entry)
            if len(entries) == limit:
                break
        if output.as_json:
            output.document({"entries": entries})
            return
        output.table(
            ("when", "who", "what", "target", ">count"),
            [(age(e.when), clean(e.who), clean(e.what), clean(e.target or ""), str(e.count)) for e in entries],
        )

    run(context, as_json, work)
