"""`headrace dead`: jobs that failed and that nobody has discarded."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable
from contextlib import nullcontext
from typing import Annotated, Any

import typer

from headrace.client.aio import Client
from headrace.client.cli.job_views import job_table
from headrace.client.cli.options import Fingerprint, PoolOption, TypeOption
from headrace.client.cli.output import Output
from headrace.client.cli.problems import ExitCode, UsageError
from headrace.client.cli.progress import make_bar
from headrace.client.cli.session import AsJson, run
from headrace.client.cli.words import age, clean
from headrace.client.operate import DeadFilter
from headrace.contracts.api import DeadLetterResult, Refusal

_AT_ONCE = 500
Act = Callable[..., Awaitable[DeadLetterResult]]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Change nothing; say how many match and which are refused.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
Limit = Annotated[int | None, typer.Option("--limit", "-n", min=1, help="How many at most, the oldest first.")]
Ids = Annotated[list[str] | None, typer.Argument(metavar="[ID]...", help="These only.")]

app = typer.Typer(no_args_is_help=False, invoke_without_command=True, help="List, replay and discard dead letters.")


@app.callback()
def dead(
    context: typer.Context,
    *,
    type: TypeOption = None,
    pool: PoolOption = None,
    fingerprint: Fingerprint = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=200, help="How many at most.")] = 20,
    cursor: Annotated[str | None, typer.Option(metavar="C", help="Go on there: the next_cursor of a list.")] = None,
    as_json: AsJson = False,
) -> None:
    """List jobs that failed and that nobody has discarded, newest first; or replay and discard them."""
    if context.invoked_subcommand is not None:
        return

    async def work(client: Client, output: Output) -> None:
        found = await client.dead_letter_page(cursor, limit, **_filter(type, pool, fingerprint))
        if output.as_json:
            output.document(found)
        elif not found.jobs:
            output.say("no dead letters")
        else:
            job_table(output, found.jobs)
            if found.next_cursor:
                output.say(f"more with --cursor {found.next_cursor}", style="dim")

    run(context, as_json, work)


@app.command()
def groups(context: typer.Context, type: TypeOption = None, pool: PoolOption = None, as_json: AsJson = False) -> None:
    """Count dead letters that failed in the same way."""

    async def work(client: Client, output: Output) -> None:
        found = await client.dead_letter_groups(type=type, pool=pool)
        if output.as_json:
            output.document({"groups": found})
        elif not found:
            output.say("no dead letters")
        else:
            output.table(
                (">count", "type", "fingerprint", "first", "last", "one of the messages"),
                [
                    (
                        str(g.count),
                        clean(g.type),
                        clean(g.fingerprint),
                        age(g.first_at),
                        age(g.last_at),
                        clean(g.sample_message, one_line=True, limit=60),
                    )
                    for g in found
                ],
            )

    run(context, as_json, work)


def _command(verb: str, help_: str, act_of: Callable[[Client], Act]) -> None:
    """Add a command that does something with dead letters: both take the same and ask the same."""

    @app.command(verb, help=help_)
    def command(
        context: typer.Context,
        ids: Ids = None,
        *,
        type: TypeOption = None,
        pool: PoolOption = None,
        fingerprint: Fingerprint = None,
        limit: Limit = None,
        dry_run: DryRun = False,
        yes: Yes = False,
        as_json: AsJson = False,
    ) -> None:
        async def work(client: Client, output: Output) -> ExitCode | None:
            which: dict[str, Any] = {**_filter(type, pool, fingerprint), "ids": ids or None}
            return await _act(output, verb, act_of(client), which, limit, dry_run=dry_run, yes=yes)

        run(context, as_json, work)


_command("replay", "Run dead letters again as new jobs, each at most once.", lambda client: client.replay_dead_letters)
_command("discard", "Hide dead letters. Their state does not change.", lambda client: client.discard_dead_letters)


def _filter(type: str | None, pool: str | None, fingerprint: str | None) -> DeadFilter:
    return {"type": type, "pool": pool, "fingerprint": fingerprint}


async def _act(
    output: Output, verb: str, act: Act, which: dict[str, Any], limit: int | None, *, dry_run: bool, yes: bool
) -> ExitCode | None:
    """Look first, ask, then do it in stretches, so that each request is short and a bar can move."""
    look = await act(**which, limit=limit or 1000, dry_run=True)
    if dry_run:
        return _tell(output, look, f"would be {verb}ed", dry_run=True)
    wanted = min(look.matched, limit or look.matched)
    if wanted and not yes:
        _ask(output, f"{verb.capitalize()} {wanted} dead letter{'s' if wanted > 1 else ''}?")
    done, refused = 0, {refusal.id: refusal for refusal in look.refused}
    bar = make_bar(output.console, unit=f"{verb}ed") if output.is_live else None
    with bar or nullcontext():
        task = None if bar is None else bar.add_task("", total=wanted)
        while done < wanted:
            # Those that are refused stay the oldest that match: ask for so many more.
            found = await act(**which, limit=min(10_000, _AT_ONCE + len(refused), wanted - done + len(refused)))
            done += found.done
            refused |= {refusal.id: refusal for refusal in found.refused}
            if bar is not None and task is not None:
                bar.update(task, completed=done)
            if found.done == 0:
                break
    return _tell(output, DeadLetterResult(matched=look.matched, done=done, refused=list(refused.values())), f"{verb}ed")


def _ask(output: Output, question: str) -> None:
    if not sys.stdin.isatty():
        raise UsageError("there is no terminal to ask on: add --yes, or --dry-run to look first")
    output.errors.print(f"{question} [y/N] ", end="", markup=False)
    if sys.stdin.readline().strip().lower() not in {"y", "yes"}:
        raise UsageError("nothing was done")


def _tell(output: Output, result: DeadLetterResult, words: str, *, dry_run: bool = False) -> ExitCode | None:
    if output.as_json:
        output.document(result)
    else:
        count = result.matched - len(result.refused) if dry_run else result.done
        output.say(f"{result.matched} matched, {count} {words}, {len(result.refused)} refused")
        _tell_refused(output, result.refused)
    return ExitCode.REFUSED if result.refused and not dry_run else None


def _tell_refused(output: Output, refused: list[Refusal]) -> None:
    for refusal in refused[:20]:
        output.say(f"  {refusal.id}  {clean(refusal.code)}")
    if len(refused) > 20:
        output.say(f"  and {len(refused) - 20} more; --json has all")
