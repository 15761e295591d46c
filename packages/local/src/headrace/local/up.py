"""`headrace-local up`: the whole system until Ctrl-C, with `--reload` following its code."""

from __future__ import annotations

import time

from rich.console import Console
from rich.table import Table

from headrace.local.foreground import say
from headrace.local.reload import run_reloading, watched
from headrace.local.system import LocalSystem

_PURPOSES = {
    "scheduler": "HTTP API: submit and watch jobs",
    "monitor": "overview",
    "worker": "health and metrics",
    "recovery": "health and metrics",
    "redis": "the order of the waiting jobs",
    "mongodb": "the truth",
}


async def run_up(system: LocalSystem, console: Console, *, reload: bool = False) -> int:
    """Start the system, say where everything is, and watch it for ever.

    Args:
        system: What to run.
        console: Where to say it.
        reload: Restart the services whose code changes; one that ends then waits for its next change.

    Raises:
        HeadraceError: A part did not start or ended by itself.
    """
    began = time.monotonic()
    say(console, f"Starting Redis, MongoDB and {len(system.ports)} services ...")
    await system.start()
    table = Table(box=None, show_header=False, pad_edge=False)
    for name, url in system.urls.items():
        table.add_row(name, url, _PURPOSES.get(name, ""))
    console.print(table)
    say(console, f"data       {system.folder}" + (" (removed at the end; --data DIR keeps it)" * system.temporary))
    say(console, f"logs       {system.logs}")
    say(console, f"Ready after {time.monotonic() - began:.1f} s. Stop with Ctrl-C.")
    if reload:
        await run_reloading(system, console, watched())
    await system.watch()
    return 0
