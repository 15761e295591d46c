"""How every service starts and stops."""

from __future__ import annotations

import asyncio
import inspect
import os
import signal
import sys
import time
from collections.abc import Awaitable, Callable

import structlog
from aiohttp import web

from headrace.contracts.config import JobConfig, load_config
from headrace.contracts.errors import ConfigError
from headrace.runtime.process import failpoints, lifecycle, listen, tracing
from headrace.runtime.process.logs import configure_logging
from headrace.runtime.process.open_stores import open_stores
from headrace.runtime.process.runner import Runner

Build = Callable[[JobConfig], Awaitable[web.Application]] | Callable[[JobConfig], web.Application]

EXIT_OK = 0
EXIT_FAILED = 1
EXIT_USAGE = 2
CLOSE_SECONDS = 5.0
"""How long requests under way may take after the drain, before their connections are cut."""

log = structlog.get_logger(__name__)


def run_service(build: Build, *, name: str, default_port: int) -> int:
    """Run one service until SIGTERM or SIGINT, and return the exit code of its process.

    Logs `service.listening` with the `url` once the port is its own and `service.ready` once requests are answered.
    The first signal turns `/readyz` to 503, runs what the application put on its drain list, then stops the server
    and cleans up. A second signal cuts the drain short. Afterwards the code is 0.

    Args:
        build: Makes the application from the settings; connects to nothing, so it works while every store is down.
        name: The service, as its command is called after `headrace-`.
        default_port: Where it listens unless `JOB_HTTP_PORT` says otherwise; 0 takes a free port.

    Returns:
        0 after a drain, 2 for a wrong setting or a port in use (one line on stderr), 1 when the start failed.
    """
    try:
        config, unknown = load_config()
        listen.check_access(config)
        failpoints.install(config.failpoints)
    except ConfigError as error:
        return _refuse(name, error)
    configure_logging(config, service=name)
    tracing.start(name)
    if unknown:
        log.warning("config.unknown_names", names=unknown)
    for setting in open_stores(config):
        log.warning("config.store_without_password", setting=setting)
    try:
        return asyncio.run(_serve(build, config, name, default_port))
    except ConfigError as error:
        return _refuse(name, error)
    except KeyboardInterrupt:  # a second Ctrl-C while the loop was already closing
        return EXIT_OK
    except Exception:
        log.exception("service.failed")
        return EXIT_FAILED
    finally:
        tracing.stop()


def _refuse(name: str, error: ConfigError) -> int:
    line = " ".join(str(error).split())
    sys.stderr.write(f"headrace-{name}: {line}\n")
    return EXIT_USAGE


async def _serve(build: Build, config: JobConfig, name: str, default_port: int) -> int:
    signals = _Signals()
    built = build(config)
    app = await built if inspect.isawaitable(built) else built
    lifecycle.prepare(app)
    port = default_port if config.http_port is None else config.http_port
    sockets = listen.listen(config.http_host, port)
    url = listen.url_of(sockets[0], config.http_base_path)
    log.info("service.listening", url=url, pid=os.getpid())
    runner = Runner(app, access_log=None, shutdown_timeout=CLOSE_SECONDS, auto_decompress=False)
    try:
        await runner.setup()
        for sock in sockets:
            await web.SockSite(runner, sock, backlog=listen.BACKLOG).start()
        log.info("service.ready", url=url)
        await signals.first.wait()
        began = time.monotonic()
        log.info("service.stopping", grace_seconds=config.shutdown_grace_seconds)
        app[lifecycle.STOPPING].set()
        await _drain(app, config.shutdown_grace_seconds, signals.second)
    finally:
        await runner.cleanup()
        for sock in sockets:
            sock.close()
    log.info("service.stopped", seconds=round(time.monotonic() - began, 3))
    return EXIT_OK


async def _drain(app: web.Application, grace_seconds: float, hurry: asyncio.Event) -> None:
    """Run the drain list together; end with the grace or at the second signal, whichever comes first."""
    steps = [asyncio.create_task(_step(step)) for step in app[lifecycle.DRAIN]]
    if not steps:
        return
    cut = asyncio.create_task(_cut_short(steps, hurry))
    await asyncio.wait(steps, timeout=grace_seconds)
    left = [step for step in steps if not step.done()]
    if left:
        log.warning("service.grace_over", steps=len(left))
    for task in (cut, *left):
        task.cancel()
    await asyncio.gather(cut, *steps, return_exceptions=True)


async def _step(step: lifecycle.DrainStep) -> None:
    try:
        await step()
    except Exception:
        log.exception("service.drain_failed")


async def _cut_short(steps: list[asyncio.Task[None]], hurry: asyncio.Event) -> None:
    await hurry.wait()
    log.warning("service.drain_cut_short")
    for step in steps:
        step.cancel()


class _Signals:
    """SIGTERM and SIGINT as two events: the wish to stop, and the wish to stop now."""

    def __init__(self) -> None:
        self.first = asyncio.Event()
        self.second = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._caught)

    def _caught(self) -> None:
        (self.second if self.first.is_set() else self.first).set()
