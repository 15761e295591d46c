"""One running system: every service as a process behind links of its own, started again when it ends."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import psutil
from prometheus_client.parser import text_string_to_metric_families
from pymongo import MongoClient
from pymongo.errors import PyMongoError

from headrace.local.mongo_server import REPLICA_SET
from headrace.local.ports import LOOPBACK, free_port
from headrace.local.service import ServiceFailedError, ServiceProcess, service_spec
from headrace.runtime.queue import Keys
from headrace.worker.child import SPEC_VARIABLE

from .history import Process
from .mongo_wire import RenamesMembers
from .proxy import Link
from .recorder import Recorder
from .redis_copy import ChaosRedis
from .replica_set import ReplicaSet

SKEWED = Path(__file__).parent / "skewed"
RESTART_S = 0.3
LOOK_S = 0.1
NAMESPACE = "chaos"
POOL = "test"
KEYS = Keys(NAMESPACE).pool(POOL)
POOLS_FILE = """
[pools.test]
min_slots = 4
max_slots = 4
slots_per_process = 4
memory_limit_mb = 400
[pools.default]
min_slots = 0
max_slots = 0
[pools.crawl]
min_slots = 0
max_slots = 0
"""


@dataclass
class Child:
    """A worker child that was seen."""

    part: str
    pid: int
    incarnation: str
    started: float
    ended: float | None = None


@dataclass
class Part:
    """One service, over all its processes."""

    name: str
    role: str
    port: int
    links: dict[str, Link]
    env: dict[str, str]
    process: ServiceProcess | None = None
    started: float = 0.0
    wanted: bool = True
    """Whether it is started again when it ends."""
    pids: list[int] = field(default_factory=list)

    @property
    def pid(self) -> int:
        """Of the process that runs, or ran last."""
        return self.pids[-1]

    @property
    def runs(self) -> bool:
        """Whether there is a process (it may be paused)."""
        return self.process is not None and self.process.exit_code is None


class Stack:
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
        self.folder = folder
        self.recorder = recorder
        self.clock = recorder.clock
        self.redis = redis
        self.replica_set = replica_set
        self.database = database
        self.settings = dict(settings)
        self.parts: dict[str, Part] = {}
        self.clients: dict[str, Link] = {}
        """The way of clients to each scheduler."""
        self.children: dict[int, Child] = {}
        self.blamed: dict[int, str] = {}
        """Process → the fault that is to end it."""
        self.armed: dict[tuple[str, str], str] = {}
        """Failpoint and what it is to do → the fault that armed it."""
        self.mongod_failpoints = asyncio.Lock()
        self._clocks = clocks
        self._stopping_at = float("inf")
        self._counts = dict(parts)
        self._keeper: asyncio.Task[None] | None = None
        self._links: list[Link] = []
        (folder / "logs").mkdir(parents=True)
        (folder / "pools.toml").write_text(POOLS_FILE)

    def links(self, pattern: str) -> list[Link]:
        """The links of a name such as `worker-0>redis`, `worker-0>mongod` (all members) or `client>scheduler-0`."""
        return [link for link in self._links if link.name == pattern or link.name.startswith(pattern + "-")]

    def of_role(self, role: str) -> list[Part]:
        """All services of a role."""
        return [part for part in self.parts.values() if part.role == role]

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
        self._see_children()
        self._stopping_at = self.clock.now()
        if self._keeper is not None:
            self._keeper.cancel()
            await asyncio.gather(self._keeper, return_exceptions=True)
        for part in self.parts.values():
            if part.process is not None and part.runs:
                self.signal(part.pid, signal.SIGCONT)
                part.process.terminate()
        deadline = self.clock.now() + 15
        while any(part.runs for part in self.parts.values()) and self.clock.now() < deadline:
            self._see_children()
            await asyncio.sleep(LOOK_S)
        self._see_children()
        for part in self.parts.values():
            self._note_end(part, by="stop")
        await self._note_leftovers()
        for link in self._links:
            await link.close()

    async def _note_leftovers(self) -> None:
        deadline = self.clock.now() + 3
        while any(_exists(child.pid) for child in self.children.values()) and self.clock.now() < deadline:
            await asyncio.sleep(LOOK_S)
        self._see_children()
        exits = await asyncio.to_thread(self._exits)
        for child in self.children.values():
            left = _exists(child.pid)
            self._note_child(child, code=exits.get(child.incarnation), left=left)
            if left:
                self.signal(child.pid, signal.SIGKILL)
        for part in self.parts.values():
            if part.process is not None:
                part.process.kill()

    def _exits(self) -> dict[str, int]:
        """How children ended, as their supervisors wrote it: incarnation → exit code, negative for a signal."""
        found = {}
        try:
            client: MongoClient[dict[str, Any]]
            with MongoClient(self.replica_set.url, serverSelectionTimeoutMS=5000) as client:
                workers: list[dict[str, Any]] = list(client[self.database].workers.find({"exit": {"$ne": None}}))
                for worker in workers:
                    how = worker["exit"]
                    found[worker["_id"]] = -how["signal"] if how.get("signal") else how.get("code")
        except PyMongoError:
            return {}  # no primary at the end: the run says so where it reads the jobs
        return {incarnation: code for incarnation, code in found.items() if code is not None}

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
        part = Part(name, role, free_port(), links, {})
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
            self._see_children()
            for part in self.parts.values():
                if part.process is not None and not part.runs:
                    self._note_end(part)
                    if part.wanted:
                        await asyncio.sleep(RESTART_S)
                        await self._start(part)
            await asyncio.sleep(LOOK_S)

    def _note_end(self, part: Part, *, by: str | None = None) -> None:
        if part.process is None:
            return
        code = part.process.exit_code
        self.recorder.add(
            "process",
            Process(
                name=part.name,
                role=part.role,
                pid=part.process.pid,
                started=part.started,
                ended=self.clock.now() if code is not None else None,
                exit_code=code,
                ended_by=self._culprit(part.process.pid) or by,
                alive_after=code is None,
            ),
        )
        if code is not None:
            part.process = None

    def _see_children(self) -> None:
        for part in self.of_role("worker"):
            if not part.runs:
                continue
            with contextlib.suppress(psutil.Error):
                for process in psutil.Process(part.pid).children():
                    if process.pid not in self.children:
                        self._see_child(part, process)
        for child in self.children.values():
            if child.ended is None and not _exists(child.pid):
                child.ended = self.clock.now()

    def _see_child(self, part: Part, process: psutil.Process) -> None:
        try:
            spec = json.loads(process.environ().get(SPEC_VARIABLE, "{}"))
        except (psutil.Error, OSError):
            return
        if "incarnation" in spec:
            self.children[process.pid] = Child(part.name, process.pid, spec["incarnation"], self.clock.now())

    def _note_child(self, child: Child, *, code: int | None, left: bool) -> None:
        self.recorder.add(
            "process",
            Process(
                name=f"{child.part}/child",
                role="child",
                pid=child.pid,
                started=child.started,
                ended=child.ended,
                exit_code=code,
                ended_by=self._culprit(child.pid) or ("stop" if self._stopped_with(child) else None),
                alive_after=left,
            ),
        )

    def _stopped_with(self, child: Child) -> bool:
        """Whether it ended as its service was stopped at the run's end, and not by itself before."""
        return child.ended is not None and child.ended >= self._stopping_at

    def _failpoints(self, role: str) -> Path:
        """Where the failpoints of a role are armed; who of the role comes there first takes one."""
        return self.folder / "failpoints" / role

    def arm(self, role: str, name: str, action: str, fault: str) -> None:
        """Let the next process of a role that passes a failpoint do something there."""
        self.armed[name, action] = fault
        folder = self._failpoints(role)
        draft = folder / f".{name}"
        draft.write_text(action)
        draft.rename(folder / name)

    def fired(self, role: str, name: str, action: str) -> tuple[int, float] | None:
        """Who passed an armed failpoint, and when on the run's clock; None: nobody yet."""
        for file in self._failpoints(role).glob(f"{name}.*.fired"):
            if file.read_text() == action:
                pid, nanoseconds, _ = file.name.removeprefix(f"{name}.").split(".")
                return int(pid), self.clock.of_monotonic(int(nanoseconds) / 1e9)
        return None

    def _culprit(self, pid: int) -> str | None:
        """The fault that ended a process: by a signal, or by a failpoint that it passed."""
        for file in (self.folder / "failpoints").glob(f"*/*.{pid}.*.fired"):
            action = file.read_text()
            name = file.name.split(f".{pid}.")[0]
            if action.startswith("exit137") and (name, action) in self.armed:
                return self.armed[name, action]
        return self.blamed.get(pid)

    def living_children(self, name: str) -> list[Child]:
        """The children of a worker that run."""
        self._see_children()
        return [child for child in self.children.values() if child.part == name and child.ended is None]

    def part_of(self, pid: int) -> str:
        """The service that a process belongs to, or belonged to."""
        if pid in self.children:
            return self.children[pid].part
        return next((part.name for part in self.parts.values() if pid in part.pids), "")

    def incarnations(self, pids: list[int]) -> tuple[str, ...]:
        """Of the children among these processes."""
        return tuple(self.children[pid].incarnation for pid in pids if pid in self.children)

    @staticmethod
    def signal(pid: int, number: signal.Signals) -> bool:
        """Send one of our own processes a signal. False: it is gone."""
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            return False
        return True


def _exists(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False
