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


@asynccontextmanager
async def run_service(name: str) -> AsyncIterator[tuple[str, int]]:
    """Start a service with this process's environment; its URL and process id, once it is ready."""
    with TemporaryDirectory() as folder:
        service = ServiceProcess(
            service_spec(name, 0), port=free_port(), env=dict(os.environ), log_file=Path(folder) / "log"
        )
        try:
            async with aiohttp.ClientSession() as session:
                for _ in range(300):
                    if await service.is_ready(session):
                        break
                    await asyncio.sleep(0.05)
                else:
                    raise service.not_ready()
            yield service.url, service.pid
        finally:
            service.terminate()
            for _ in range(100):
                if service.exit_code is not None:
                    break
                await asyncio.sleep(0.05)
            service.kill()
