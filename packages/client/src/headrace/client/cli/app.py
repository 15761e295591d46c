"""The command line as a whole."""

from __future__ import annotations

from importlib.metadata import version
from typing import Annotated

import typer

from headrace.client.cli import about, dead, jobs, pools, token
from headrace.client.cli.session import Globals
from headrace.client.cli.submit import submit
from headrace.client.cli.top import top

app = typer.Typer(
    name="headrace",
    help="Submit jobs to a Headrace scheduler, watch them, and see to the system.",
    epilog="Environment: HEADRACE_URL (http://127.0.0.1:8080), HEADRACE_TOKEN or HEADRACE_TOKEN_FILE. "
    "Exit codes: 0 done, 1 the job failed or was cancelled, 2 bad usage, 3 refused by the server, 4 not reachable.",
    context_settings={"help_option_names": ["-h", "--help"]},
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    no_args_is_help=True,
)


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"headrace {version('headrace-client')}")
        raise typer.Exit


@app.callback()
def headrace(
    context: typer.Context,
    url: Annotated[
        str | None, typer.Option(metavar="URL", help="Where the scheduler answers; otherwise HEADRACE_URL.")
    ] = None,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Submit jobs to a Headrace scheduler, watch them, and see to the system."""
    context.obj = Globals(url=url)


app.command("submit")(submit)
app.command("status")(jobs.status)
app.command("watch")(jobs.watch)
app.command("list")(jobs.list_jobs)
app.command("cancel")(jobs.cancel)
app.command("replay")(jobs.replay)
app.command("why")(jobs.why)
app.command("logs")(jobs.logs)
app.command("history")(jobs.history)
app.add_typer(dead.app, name="dead")
app.add_typer(pools.app, name="pools")
app.command("types")(about.types)
app.command("breakers")(about.breakers)
app.command("audit")(about.audit)
app.command("top")(top)
app.add_typer(token.app, name="token")
