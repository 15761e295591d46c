"""The whole system on this machine: both stores and the four services, started and stopped in order."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import aiohttp

from headrace.local.folders import Folder
from headrace.local.mongo_server import MongoServer
from headrace.local.ports import free_port, is_free
from headrace.local.redis_server import RedisServer
from headrace.local.server import EmbeddedServer
from headrace.local.service import ServiceFailedError, ServiceProcess, ServiceSpec, service_spec

SERVICES = (
    service_spec("scheduler", 8080),
    service_spec("worker", 8082),
    service_spec("recovery", 8083),
    service_spec("monitor", 8081),
)

_OURS = frozenset({"JOB_REDIS_URL", "JOB_REDIS_URL_FILE", "JOB_MONGO_URL", "JOB_MONGO_URL_FILE", "JOB_HTTP_BASE_PATH"})
_EXTRA_GRACE_SECONDS = 5.0
_READY_SECONDS = 60.0


class LocalSystem:
    """Headrace in one place. `start`, then use `urls`, then `stop`, whatever happened in between.

    Every `JOB_*` setting of this process reaches the services, except where they listen and where the stores are.

    Args:
        data: The folder that keeps jobs and logs; without it a temporary one that `stop` removes.
        logs_to_terminal: Show what the services log on standard error instead of keeping it in files.
        usual_ports: Take the documented ports where they are free.
        settings: Further `JOB_*` settings for all services.
        services: What to run beside the stores.

    Raises:
        FolderInUseError: Another system runs on `data`.
        BinaryMissingError: A store's program is missing or cannot run here.
    """

    def __init__(
        self,
        *,
        data: Path | None = None,
        logs_to_terminal: bool = False,
        usual_ports: bool = False,
        settings: Mapping[str, str] | None = None,
        services: Sequence[ServiceSpec] = SERVICES,
    ) -> None:
        self._folder = Folder(data, purpose="local")
        self._logs_to_terminal = logs_to_terminal
        self._settings = dict(settings or {})
        self.ports = {spec.name: _choose_port(spec.usual_port, usual=usual_ports) for spec in services}
        self._specs = services
        self._services: list[ServiceProcess] = []
        self._starts: list[asyncio.Task[None]] = []
        self._hurry = asyncio.Event()
        self._stores: list[EmbeddedServer] = []
        try:
            self.redis = RedisServer(folder=self.folder / "redis", appendonly=True)
            self._stores.append(self.redis)
            self.mongo = MongoServer(folder=self.folder / "mongod")
            self._stores.append(self.mongo)
        except BaseException:
            self._close_folders()
            raise

    @property
    def folder(self) -> Path:
        """Where data and logs are."""
        return self._folder.path

    @property
    def temporary(self) -> bool:
        """Whether `stop` removes the folder."""
        return self._folder.temporary

    @property
    def logs(self) -> str:
        """Where the services log, in words."""
        return "on standard error" if self._logs_to_terminal else str(self.folder / "logs")

    @property
    def urls(self) -> dict[str, str]:
        """Where each part answers, by its name."""
        stores = {"redis": self.redis.url, "mongodb": self.mongo.url} if all(s.running for s in self._stores) else {}
        return {service.name: service.url for service in self._services} | stores

    async def start(self) -> None:
        """Start everything and wait until every readiness probe is content.

        Raises:
            ServerStartError: A store did not start.
            ServiceFailedError: A service ended, or was not ready within a minute.
        """
        self._starts = [asyncio.create_task(asyncio.to_thread(store.start)) for store in self._stores]
        await asyncio.shield(asyncio.gather(*self._starts))  # threads cannot be cancelled, and `stop` must know of them
        logs = self.folder / "logs"
        logs.mkdir(exist_ok=True)
        self._services += [self._start(spec) for spec in self._specs]
        await self.wait_ready()

    async def watch(self) -> None:
        """Return never while everything runs.

        Raises:
            ServiceFailedError: A part has ended by itself.
        """
        while True:
            self.check_runs()
            await asyncio.sleep(0.2)

    def check_runs(self) -> None:
        """Do nothing while everything runs.

        Raises:
            ServiceFailedError: A part has ended by itself.
        """
        self.check_stores()  # first: a service that ends because of its store is not the cause
        for service in self._services:
            service.check_runs()

    def check_stores(self) -> None:
        """Do nothing while both stores run.

        Raises:
            ServiceFailedError: One has ended by itself.
        """
        for store in self._stores:
            if not store.running:
                raise ServiceFailedError(f"{store.name} has ended; its log is {store.log_file}")

    @property
    def services(self) -> dict[str, ServiceProcess]:
        """What was started last for each service, by its name."""
        return {service.name: service for service in self._services}

    async def restart(self, names: Collection[str]) -> None:
        """Stop services in order, as `stop` does, and start them anew where they listened, not yet ready."""
        old = [service for service in self._services if service.name in names]
        await self._end(old)
        for service in old:
            spec = next(spec for spec in self._specs if spec.name == service.name)
            self._services[self._services.index(service)] = self._start(spec)

    def hurry(self) -> None:
        """Make a `stop` under way, or the next one, kill the services instead of waiting for them."""
        self._hurry.set()

    async def stop(self) -> None:
        """Stop the services (SIGTERM, after their grace SIGKILL), then the stores. Leaves nothing running."""
        await self._end_store_starts()
        await self._end(self._services)
        if self.temporary:
            for store in self._stores:
                store.kill()  # nobody will read this data again
        await asyncio.to_thread(self._close_folders)

    def _start(self, spec: ServiceSpec) -> ServiceProcess:
        log_file = None if self._logs_to_terminal else self.folder / "logs" / f"{spec.name}.log"
        return ServiceProcess(spec, port=self.ports[spec.name], env=self._environment(), log_file=log_file)

    async def _end(self, services: Sequence[ServiceProcess]) -> None:
        for service in services:
            service.terminate()
        deadline = time.monotonic() + self._grace_seconds() + _EXTRA_GRACE_SECONDS
        while any(service.exit_code is None for service in services):
            if self._hurry.is_set() or time.monotonic() > deadline:
                break
            await asyncio.sleep(0.02)
        for service in services:
            service.kill()

    async def _end_store_starts(self) -> None:
        while not all(task.done() for task in self._starts):
            if self._hurry.is_set():
                for store in self._stores:
                    store.kill()
            await asyncio.sleep(0.02)
        await asyncio.gather(*self._starts, return_exceptions=True)  # whoever called `start` has heard of them

    def _close_folders(self) -> None:
        for store in self._stores:
            store.close()
        self._folder.close()

    async def wait_ready(self, names: Collection[str] | None = None) -> None:
        """Wait until the readiness probes of all services, or of these, are content.

        Raises:
            ServiceFailedError: One has ended, or was not ready within a minute.
        """
        began = time.monotonic()
        waiting = [service for service in self._services if names is None or service.name in names]
        async with aiohttp.ClientSession() as session:
            while waiting:
                waiting = [service for service in waiting if not await service.is_ready(session)]
                if waiting and time.monotonic() > began + _READY_SECONDS:
                    raise waiting[0].not_ready()
                await asyncio.sleep(0.05)

    def _environment(self) -> dict[str, str]:
        inherited = {name: value for name, value in os.environ.items() if name not in _OURS}
        return {
            **inherited,
            **({"JOB_LOG_FORMAT": "console"} if self._logs_to_terminal and "JOB_LOG_FORMAT" not in inherited else {}),
            **self._settings,
            "JOB_REDIS_URL": self.redis.url,
            "JOB_MONGO_URL": self.mongo.url,
            "JOB_SCHEDULER_URL": f"http://127.0.0.1:{self.ports.get('scheduler', 8080)}",
        }

    def _grace_seconds(self) -> float:
        name = "JOB_SHUTDOWN_GRACE_SECONDS"
        asked = self._settings.get(name) or os.environ.get(name)
        try:
            return float(asked or 30)
        except ValueError:
            return 0.0  # no service has started with it


def _choose_port(usual_port: int, *, usual: bool) -> int:
    return usual_port if usual and is_free(usual_port) else free_port()
