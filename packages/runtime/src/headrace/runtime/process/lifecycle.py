"""What an application knows about its own end."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from aiohttp import web

DrainStep = Callable[[], Awaitable[object]]

STOPPING: Final = web.AppKey("STOPPING", asyncio.Event)
"""Set as soon as shutdown begins. Every stream waits on it beside its own events and ends; without that, one open
stream would hold up the process for the whole grace."""

DRAIN: Final = web.AppKey("DRAIN", list[DrainStep])
"""What must be finished or handed back while the probes are still answered; run together, within the grace."""


def prepare(app: web.Application) -> None:
    """Give the application its stop event and its drain list, once."""
    if STOPPING not in app:
        app[STOPPING] = asyncio.Event()
        app[DRAIN] = []


def on_drain(app: web.Application, step: DrainStep) -> None:
    """Run `step` when shutdown begins, before the server stops answering.

    It is cancelled when `JOB_SHUTDOWN_GRACE_SECONDS` is over or a second signal comes.
    """
    app[DRAIN].append(step)
