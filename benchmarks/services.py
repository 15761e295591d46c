"""A service as a process beside the benchmark."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import aiohttp

from headrace.local.ports import free_port
from headrace.local.service import ServiceProcess, service_spec


def start_process(name: str, log_file: Path) -> ServiceProcess:
    """A service on a free port, with this process's environment."""
    return ServiceProcess(service_spec(name, 0), port=free_port(), env=dict(os.environ), log_file=log_file)


async def until_ready(process: ServiceProcess, session: aiohttp.ClientSession, *, looks: int = 1200) -> None:
    """Wait for its readiness probe, `looks` times 50 ms at most.

    Raises:
        ServiceFailedError: It is not ready; the message says why.
    """
    for _ in range(looks):
        if await process.is_ready(session):
            return
        await asyncio.sleep(0.05)
    raise process.not_ready()


@asynccontextmanager
async def run_service(name: str) -> AsyncIterator[tuple[str, int]]:
    """Start a service with this process's environment; its URL and process id, once it is ready."""
    with TemporaryDirectory() as folder:
        service = start_process(name, Path(folder) / "log")
        try:
            async with aiohttp.ClientSession() as session:
                await until_ready(service, session)
            yield service.url, service.pid
        finally:
            service.terminate()
            for _ in range(100):
                if service.exit_code is not None:
                    break
                await asyncio.sleep(0.05)
            service.kill()
