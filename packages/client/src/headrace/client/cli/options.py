"""Options that several commands share, and what may be completed in a shell."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Annotated

import typer

from headrace.client.aio import Client
from headrace.client.cli.problems import UsageError
from headrace.client.environment import read_access
from headrace.contracts.errors import HeadraceError
from headrace.contracts.values import to_rfc3339


def _complete(what: Callable[[Client], object]) -> Callable[[str], list[str]]:
    async def ask() -> list[str]:
        access = read_access()
        async with Client(access.url, access.token, tries=1, timeout_seconds=1) as client:
            return await what(client)  # type: ignore[misc, no-any-return]

    def complete(incomplete: str) -> list[str]:
        try:
            return [name for name in asyncio.run(ask()) if name.startswith(incomplete)]
        except HeadraceError:  # a shell that waits for completions must not be shown errors
            return []

    return complete


async def _types(client: Client) -> list[str]:
    return [found.type for found in await client.job_types()]


async def _pools(client: Client) -> list[str]:
    return [found.name for found in await client.pools()]


async def _jobs(client: Client) -> list[str]:
    return [found.id for found in (await client.job_page(limit=20)).jobs]


complete_type, complete_pool, complete_job = _complete(_types), _complete(_pools), _complete(_jobs)

JobId = Annotated[str, typer.Argument(metavar="ID", help="The job's id.", autocompletion=complete_job)]
JobIds = Annotated[list[str], typer.Argument(metavar="ID...", help="The jobs' ids.", autocompletion=complete_job)]
PoolArgument = Annotated[str, typer.Argument(metavar="POOL", help="The pool.", autocompletion=complete_pool)]
TypeOption = Annotated[
    str | None, typer.Option("--type", "-t", metavar="TYPE", help="Of this job type.", autocompletion=complete_type)
]
PoolOption = Annotated[
    str | None, typer.Option("--pool", "-p", metavar="POOL", help="Of this pool.", autocompletion=complete_pool)
]
Fingerprint = Annotated[
    str | None, typer.Option("--fingerprint", metavar="F", help="That failed in this way; see 'headrace dead groups'.")
]


def parse_moment(text: str | None, name: str) -> datetime | None:
    """An RFC 3339 time; without an offset it is UTC.

    Raises:
        UsageError: It is none.
    """
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        now = to_rfc3339(datetime.now(UTC))
        raise UsageError(f"{name} must be a time such as {now}") from None
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)


def parse_tags(pairs: list[str] | None) -> dict[str, str]:
    """`name=value` or `name:value` as the API takes tags.

    Raises:
        UsageError: One is neither.
    """
    tags = {}
    for pair in pairs or ():
        at = min((found for mark in "=:" if (found := pair.find(mark)) > 0), default=0)
        if not at:
            raise UsageError("--tag must be NAME=VALUE")
        tags[pair[:at]] = pair[at + 1 :]
    return tags
