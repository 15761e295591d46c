"""Run what a command does: with a client, its output, and every error told in one way."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Annotated

import typer

from headrace.client.aio import Client
from headrace.client.cli.output import Output
from headrace.client.cli.problems import ExitCode, as_document, exit_code, explain
from headrace.client.environment import Access, read_access
from headrace.contracts.errors import HeadraceError

TRIES = 3
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]
Work = Callable[[Client, Output], Awaitable[ExitCode | None]]


@dataclass(frozen=True)
class Globals:
    """What was said before the command."""

    url: str | None = None


def access_of(context: typer.Context) -> Access:
    """The address and the token that the command line and the environment give.

    Raises:
        ConfigError: The environment contradicts itself.
    """
    access, said = read_access(), context.find_object(Globals)
    return replace(access, url=said.url) if said is not None and said.url else access


def run(context: typer.Context, as_json: bool, work: Work) -> None:
    """Do the work of a command, tell what went wrong, and leave with the right exit code."""
    output, access = Output(as_json=as_json), Access()
    try:
        access = access_of(context)
        code = asyncio.run(_with_client(access, output, work)) or ExitCode.DONE
    except KeyboardInterrupt:
        code = ExitCode.INTERRUPTED
    except BrokenPipeError:
        # Whoever read our output has enough. Python would complain at its end when it flushes.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = ExitCode.DONE
    except HeadraceError as error:
        fail(error, output, access)
        code = exit_code(error)
    if code is not ExitCode.DONE:
        raise typer.Exit(int(code))


def fail(error: HeadraceError, output: Output, access: Access) -> None:
    """Tell of an error on standard error."""
    if output.as_json:
        sys.stderr.write(json.dumps(as_document(error)) + "\n")
        return
    first, *rest = explain(error, access)
    output.warn(first, style="bold red")
    for line in rest:
        output.warn(line)


async def _with_client(access: Access, output: Output, work: Work) -> ExitCode | None:
    async with Client(access.url, access.token, tries=TRIES) as client:
        return await work(client, output)
