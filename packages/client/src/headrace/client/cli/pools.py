"""`headrace pools`: how pools stand, pauses, sizes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import typer
from rich.text import Text

from headrace.client.aio import Client
from headrace.client.cli.options import PoolArgument
from headrace.client.cli.output import Output
from headrace.client.cli.problems import UsageError
from headrace.client.cli.session import AsJson, run
from headrace.client.cli.words import clean, span
from headrace.client.operate import PoolSizes
from headrace.contracts.api import PoolView

Size = Annotated[str | None, typer.Option(metavar="N", help="A number, or 'default'.")]
app = typer.Typer(invoke_without_command=True, help="Show, pause, resume and resize pools.")
COLUMNS = (
    "pool", ">high", ">medium", ">low", ">delayed", ">running", ">slots", ">workers", ">per second", "oldest", "",
)  # fmt: skip


def pool_rows(pools: Sequence[PoolView]) -> list[tuple[str | Text, ...]]:
    """One row of `COLUMNS` per pool."""
    return [
        (
            Text(pool.name, style="bold"),
            *(str(count) for count in (pool.waiting.high, pool.waiting.medium, pool.waiting.low)),
            str(pool.delayed),
            str(pool.in_flight),
            f"{pool.slots.busy}/{pool.slots.total}",
            str(pool.workers),
            "" if pool.throughput_per_second is None else f"{pool.throughput_per_second:.1f}",
            "" if pool.oldest_waiting_seconds is None else span(pool.oldest_waiting_seconds),
            _mark(pool),
        )
        for pool in pools
    ]


def _mark(pool: PoolView) -> Text:
    if pool.paused:
        return Text(f"paused: {clean(pool.paused_reason or 'no reason given', one_line=True, limit=40)}", "yellow")
    if pool.workers == 0:
        return Text("no worker", "red")
    return Text("")


def _show(output: Output, pool: PoolView) -> None:
    if output.as_json:
        output.document(pool)
    else:
        output.table(COLUMNS, pool_rows([pool]))
        output.say(f"size limit {pool.size_limit}")


@app.callback()
def pools(context: typer.Context, as_json: AsJson = False) -> None:
    """Show how every pool stands: what waits by priority, what runs, slots and speed; or change one."""
    if context.invoked_subcommand is not None:
        return

    async def work(client: Client, output: Output) -> None:
        found = await client.pools()
        if output.as_json:
            output.document({"pools": found})
        elif not found:
            output.say("no pools yet: no worker has registered")
        else:
            output.table(COLUMNS, pool_rows(found))

    run(context, as_json, work)


@app.command()
def show(context: typer.Context, pool: PoolArgument, as_json: AsJson = False) -> None:
    """Show how one pool stands."""

    async def work(client: Client, output: Output) -> None:
        _show(output, await client.pool(pool))

    run(context, as_json, work)


@app.command()
def pause(
    context: typer.Context,
    pool: PoolArgument,
    reason: Annotated[str, typer.Option("--reason", "-r", metavar="TEXT", help="Shown to whoever asks why.")] = "",
    as_json: AsJson = False,
) -> None:
    """Stop claims of a pool. Running jobs run on, and submissions are taken."""

    async def work(client: Client, output: Output) -> None:
        _show(output, await client.pause_pool(pool, reason))

    run(context, as_json, work)


@app.command()
def resume(context: typer.Context, pool: PoolArgument, as_json: AsJson = False) -> None:
    """Let claims of a pool go on."""

    async def work(client: Client, output: Output) -> None:
        _show(output, await client.resume_pool(pool))

    run(context, as_json, work)


@app.command()
def resize(
    context: typer.Context,
    pool: PoolArgument,
    *,
    size_limit: Size = None,
    min_slots: Size = None,
    max_slots: Size = None,
    as_json: AsJson = False,
) -> None:
    """Change the sizes of a pool; running workers follow within seconds."""

    async def work(client: Client, output: Output) -> None:
        sizes: PoolSizes = {}
        if size_limit is not None:
            sizes["size_limit"] = _size("--size-limit", size_limit)
        if min_slots is not None:
            sizes["min_slots"] = _size("--min-slots", min_slots)
        if max_slots is not None:
            sizes["max_slots"] = _size("--max-slots", max_slots)
        if not sizes:
            raise UsageError("name at least one of --size-limit, --min-slots and --max-slots")
        _show(output, await client.resize_pool(pool, **sizes))

    run(context, as_json, work)


def _size(name: str, text: str) -> int | None:
    if text == "default":
        return None
    if not text.isascii() or not text.isdecimal():
        raise UsageError(f"{name} must be a whole number or 'default'")
    return int(text)
