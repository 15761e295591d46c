"""Run something in the foreground until it is done, something breaks or the user has had enough."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Coroutine

from rich.console import Console

from headrace.contracts.errors import HeadraceError
from headrace.local.system import LocalSystem


def make_console() -> Console:
    """The terminal, or plain text without any control code where the output is not one."""
    terminal = sys.stdout.isatty()
    return Console(
        force_terminal=terminal, no_color=None if terminal else True, highlight=False, width=None if terminal else 100
    )


async def run_in_foreground(
    system: LocalSystem, body: Coroutine[None, None, int], *, console: Console, interrupted: int
) -> int:
    """Run `body`, and stop the system however it ends.

    The first Ctrl-C (or SIGTERM) ends `body` and lets the services drain; the second kills them.

    Args:
        system: Stopped at the end, everything it started with it.
        body: What to do; its result is the exit code.
        console: Where failures are explained.
        interrupted: The exit code after a Ctrl-C.
    """
    task = asyncio.create_task(body)
    asked = False

    def on_signal() -> None:
        nonlocal asked
        if asked:
            system.hurry()
            return
        asked = True
        task.cancel()
        say(console, "\nStopping; press Ctrl-C again to stop without waiting.")

    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, on_signal)
    try:
        return await task
    except asyncio.CancelledError:
        return interrupted
    except HeadraceError as error:
        say(console, f"Failed: {error}")
        return 1
    finally:
        await system.stop()


def say(console: Console, text: str) -> None:
    """Print text as it is: no markup, no wrapping."""
    console.print(text, markup=False, soft_wrap=True)
