"""`headrace top`: the whole system on one screen, live."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Annotated

import typer
from rich.live import Live

from headrace.client.aio import Client
from headrace.client.cli.options import PoolOption
from headrace.client.cli.output import Output
from headrace.client.cli.session import AsJson, access_of, run
from headrace.client.cli.top_view import Picture, Screen
from headrace.client.transport import NotReachableError
from headrace.contracts.errors import ApiError, StoreUnavailableError
from headrace.contracts.states import JobState
from headrace.contracts.values import to_rfc3339

_RUNNING = 50


def top(
    context: typer.Context,
    pool: PoolOption = None,
    interval: Annotated[
        float, typer.Option("--interval", "-i", metavar="SECONDS", min=0.1, help="How often it looks.")
    ] = 1.0,
    once: Annotated[bool, typer.Option("--once", help="Look once and end; so it does without a terminal.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show pools, running jobs and dead letters, live. 'q' or Ctrl-C ends it. With --json: one look per line."""

    async def work(client: Client, output: Output) -> None:
        screen = Screen(access_of(context).url, interval)
        screen.take(await _look(client, pool))  # the first look may fail as any command does
        if as_json:
            await _tell_lines(client, output, screen, pool, interval, once=once)
        elif once or not output.is_live:
            output.console.print(screen.render(output.console.size.height, live=False))
        else:
            await _show_live(client, output, screen, pool, interval)

    run(context, as_json, work)


async def _look(client: Client, pool: str | None) -> Picture:
    pools, running, groups, breakers = await asyncio.gather(
        client.pools(),
        client.job_page(limit=_RUNNING, state=JobState.PROCESSING, pool=pool),
        client.dead_letter_groups(pool=pool),
        client.breakers(),
    )
    shown = [found for found in pools if pool in {None, found.name}]
    return Picture(at=datetime.now(UTC), pools=shown, running=running.jobs, groups=groups, breakers=breakers)


async def _tell_lines(
    client: Client, output: Output, screen: Screen, pool: str | None, interval: float, *, once: bool
) -> None:
    while True:
        picture = screen.picture
        output.line({"at": to_rfc3339(picture.at), "pools": picture.pools, "running": picture.running}
                    | {"dead": picture.groups, "breakers": picture.breakers})  # fmt: skip
        if once:
            return
        await asyncio.sleep(interval)
        screen.take(await _look(client, pool))


async def _show_live(client: Client, output: Output, screen: Screen, pool: str | None, interval: float) -> None:
    with Live(console=output.console, screen=True, auto_refresh=False) as live:
        async with _keys() as keys:
            while True:
                live.update(screen.render(output.console.size.height), refresh=True)
                try:
                    async with asyncio.timeout(interval):
                        while await keys.get() not in {"q", "Q", "\x1b", "\x04"}:
                            pass
                    return
                except TimeoutError:
                    pass
                try:
                    screen.take(await _look(client, pool))
                except (NotReachableError, StoreUnavailableError) as error:
                    screen.is_lost(str(error))  # a restart of the server must not end the view of it
                except ApiError as error:
                    if error.status < 500 and error.status != 429:
                        raise
                    screen.is_lost(str(error))


@asynccontextmanager
async def _keys() -> AsyncIterator[asyncio.Queue[str]]:
    """The keys that are pressed, one by one and without an echo; none where standard input is no terminal."""
    keys: asyncio.Queue[str] = asyncio.Queue()
    if not sys.stdin.isatty():
        yield keys
        return
    import termios  # not on every system
    import tty

    descriptor, loop = sys.stdin.fileno(), asyncio.get_running_loop()
    before = termios.tcgetattr(descriptor)
    tty.setcbreak(descriptor)
    loop.add_reader(descriptor, lambda: keys.put_nowait(sys.stdin.read(1)))
    try:
        yield keys
    finally:
        loop.remove_reader(descriptor)
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)
