"""One running system: every service as a process behind links of its own, started again when it ends."""

from __future__ import annotations

import asyncio
import os
import signal
import struct
from collections.abc import Mapping, Sequence
from pathlib import Path

import aiohttp
from prometheus_client.parser import text_string_to_metric_families

from headrace.local.mongo_server import REPLICA_SET
from headrace.local.ports import LOOPBACK
from headrace.local.service import ServiceFailedError, ServiceProcess, service_spec

from .accounts import LOOK_S, Accounts
from .lasting_port import lasting_port
from .mongo_wire import RenamesMembers
from .parts import NAMESPACE, POOLS_FILE, Part
from .proxy import Link
from .recorder import Recorder
from .redis_copy import ChaosRedis
from .replica_set import Member, ReplicaSet

SKEWED = Path(__file__).parent / "skewed"
RESTART_S = 0.3


class Stack(Accounts):
    """The services of one run, on stores that are started already.

    Args:
        parts: How many of each role.
        settings: `JOB_*` settings of all services.
        clocks: Whether workers and recoveries run on clocks that `set_clock` can put wrong.
    """

    def __init__(
        self,
        *,
        folder: Path,
        recorder: Recorder,
        redis: ChaosRedis,
        replica_set: ReplicaSet,
        parts: Mapping[str, int],
        settings: Mapping[str, str],
        database: str,
        clocks: bool = False,
    ) -> None:
        super().__init__(folder=folder, recorder=recorder, replica_set=replica_set, database=database)
        self.redis = redis
        self.settings = dict(settings)
        self.clients: dict[str, Link] = {}
        """The way of clients to each scheduler."""
        self.mongod_failpoints = asyncio.Lock()
        self.lost_members: list[Member] = []
        """The mongods that are gone for good."""
        self._clocks = clocks
        self._counts = dict(parts)
        self._keeper: asyncio.Task[None] | None = None
        self._links: list[Link] = []
        (folder / "logs").mkdir(parents=True)
        (folder / "pools.toml").write_text(POOLS_FILE)

    def links(self, pattern: str) -> list[Link]:
        """The links of a name such as `worker-0>redis`, `worker-0>mongod` (all members) or `client>scheduler-0`."""
        return [link for link in self._links if link.name == pattern or link.name.startswith(pattern + "-")]

    # -- start and stop ------------------------------------------------------------------------------------------

    async def start(self, *, within: float = 60.0) -> None:
        """Start everything and wait until every readiness probe is content."""
        for role, count in self._counts.items():
            for number in range(count):
                await self._prepare(f"{role}-{number}", role)
        self._keeper = asyncio.create_task(self._keep())
        # Recovery last: it looks for new pools every five seconds only, and the first look should find them.
        first = [part for part in self.parts.values() if part.role != "recovery"]
        for part in first:
            await self._start(part)
        await self.until_ready(within=within, parts=first)
        for part in self.of_role("recovery"):
            await self._start(part)
        await self.until_ready(within=within)

    async def until_ready(self, *, within: float, parts: Sequence[Part] | None = None) -> None:
        """Wait until all wanted services, or these, say that they are ready.

        Raises:
            TimeoutError: One does not; the message says why.
        """
        deadline = self.clock.now() + within
        async with aiohttp.ClientSession() as session:
            for part in self.parts.values() if parts is None else parts:
                while part.wanted and not await self._answers_ready(part, session):
                    if self.clock.now() > deadline:
                        why = part.process.not_ready() if part.process is not None else "it does not run"
                        raise TimeoutError(f"{part.name} is not ready within {within} s: {why}")
                    await asyncio.sleep(0.05)

    async def is_ready(self, part: Part) -> bool:
        """Whether a service says so now."""
        async with aiohttp.ClientSession() as session:
            return await self._answers_ready(part, session)

    @staticmethod
    async def _answers_ready(part: Part, session: aiohttp.ClientSession) -> bool:
        try:
            return part.process is not None and part.runs and await part.process.is_ready(session)
        except ServiceFailedError:  # it has ended in this moment; the keeper starts another
            return False

    async def metrics(self, part: Part) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
        """What a service shows at /metrics: (name, labels) → value; empty when it does not answer."""
        try:
            timeout = aiohttp.ClientTimeout(total=2)
            async with (
                aiohttp.ClientSession(timeout=timeout) as session,
                session.get(f"http://{LOOPBACK}:{part.port}/metrics") as response,
            ):
                text = await response.text() if response.status == 200 else ""
        except (aiohttp.ClientError, TimeoutError, OSError):
            return {}
        return {
            (sample.name, tuple(sorted(sample.labels.items()))): sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
        }

    async def stop(self) -> None:
        """Stop the services as an operator would, and note who is left after that."""
        self.see_children()
        self.stopping_at = self.clock.now()
        if self._keeper is not None:
            self._keeper.cancel()
            await asyncio.gather(self._keeper, return_exceptions=True)
        for part in self.parts.values():
            if part.process is not None and part.runs:
                self.signal(part.pid, signal.SIGCONT)
                part.process.terminate()
        deadline = self.clock.now() + 15
        while any(part.runs for part in self.parts.values()) and self.clock.now() < deadline:
            self.see_children()
            await asyncio.sleep(LOOK_S)
        self.see_children()
        for part in self.parts.values():
            self.note_end(part, by="stop")
        await self.note_leftovers()
        for link in self._links:
            await link.close()

    # -- processes -----------------------------------------------------------------------------------------------

    async def _prepare(self, name: str, role: str) -> None:
        redis = await self._link(f"{name}>redis", self.redis.port)
        links = {"redis": redis}
        for number, member in enumerate(self.replica_set.members):
            links[f"mongod-{number}"] = await self._link(f"{name}>mongod-{number}", member.port)
        names = {
            member.host: f"{LOOPBACK}:{links[f'mongod-{number}'].port}"
            for number, member in enumerate(self.replica_set.members)
        }
        for number in range(len(names)):
            links[f"mongod-{number}"].rewrite = lambda: RenamesMembers(names)
        self._failpoints(role).mkdir(parents=True, exist_ok=True)
        part = Part(name, role, lasting_port(), links, {})
        part.env = self._environment(part, list(names.values()))
        self.parts[name] = part
        if role == "scheduler":
            self.clients[name] = await self._link(f"client>{name}", part.port)

    async def _link(self, name: str, port: int) -> Link:
        link = Link(name, port)
        await link.start()
        self._links.append(link)
        return link

    def _environment(self, part: Part, mongods: list[str]) -> dict[str, str]:
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("JOB_")}
        return {
            **inherited,
            "JOB_TEST_MODE": "1",
            "JOB_REDIS_URL": f"redis://:{self.redis.password}@{LOOPBACK}:{part.links['redis'].port}/0",
            "JOB_MONGO_URL": f"mongodb://{','.join(mongods)}/?replicaSet={REPLICA_SET}",
            "JOB_MONGO_DATABASE": self.database,
            "JOB_NAMESPACE": NAMESPACE,
            "JOB_POOLS_FILE": str(self.folder / "pools.toml"),
            "JOB_FAILPOINTS": f"@{self._failpoints(part.role)}",
            "JOB_SCHEDULER_URL": f"http://{LOOPBACK}:{self.parts['scheduler-0'].port}"
            if "scheduler-0" in self.parts
            else f"http://{LOOPBACK}:{part.port}",
            **(self._clock_of(part) if self._clocks and part.role in {"worker", "recovery"} else {}),
            **self.settings,
        }

    def _clock_of(self, part: Part) -> dict[str, str]:
        file = self._clock_file(part.name)
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(struct.pack("<d", 0.0))
        return {
            "HEADRACE_CLOCK": str(file.absolute()),
            "PYTHONPATH": os.pathsep.join(filter(None, (str(SKEWED), os.environ.get("PYTHONPATH")))),
        }

    def _clock_file(self, name: str) -> Path:
        return self.folder / "clocks" / name

    def set_clock(self, name: str, seconds: int) -> None:
        """Let the wall clock of a service, children included, differ from the machine's from now on."""
        with self._clock_file(name).open("r+b") as opened:
            opened.write(struct.pack("<d", float(seconds)))

    async def _start(self, part: Part) -> None:
        part.process = await asyncio.to_thread(
            ServiceProcess,
            service_spec(part.role, part.port),
            port=part.port,
            env=part.env,
            log_file=self.folder / "logs" / f"{part.name}.log",
        )
        part.started = self.clock.now()
        part.pids.append(part.process.pid)

    async def _keep(self) -> None:
        while True:
            self.see_children()
            for part in self.parts.values():
                if part.process is not None and not part.runs:
                    self.note_end(part)
                    if part.wanted:
                        await asyncio.sleep(RESTART_S)
                        await self._start(part)
            await asyncio.sleep(LOOK_S)
