"""A worker service in the simulation: the product's supervisor, pool manager and child, without processes and threads.

What stands in for the real thing: a child is an actor of its own instead of a process, its jobs are run by coroutines
instead of Dramatiq's threads, and the number of slots is fixed. Everything that claims, runs, settles, audits, renews,
buries and drains is the product's.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Coroutine
from contextvars import Context
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

from headrace.contracts.config import JobConfig
from headrace.contracts.heartbeat import ExitRecord
from headrace.runtime.process.every import every
from headrace.worker import child_parts, pool_manager
from headrace.worker.board import HEADER, MAGIC, Board, size_of
from headrace.worker.child_process import ChildProcess, Ending
from headrace.worker.child_spec import ChildSpec
from headrace.worker.child_watch import ChildWatch
from headrace.worker.context import RunningContext
from headrace.worker.feed import Feed
from headrace.worker.held import Held
from headrace.worker.job_worker import JobWorker
from headrace.worker.payloads import payload_of
from headrace.worker.pool_manager import WorkerPoolManager
from headrace.worker.pools import ChildPlan, PoolSpec
from headrace.worker.runner import Runner
from headrace.worker.service import POOLS_SECONDS, WATCH_SECONDS, JobWorkerService

from .patches import simulation

POOL = "default"
DEATH_SECONDS = 0.01
"""Until a supervisor hears of a child's end."""


class SimFeed(Feed):
    """A feed that wakes coroutines as the real one wakes threads."""

    def __init__(self, *args: Any, **options: Any) -> None:
        self.changed = asyncio.Event()
        super().__init__(*args, **options)

    def put(self, jobs: list[Held]) -> None:
        super().put(jobs)
        self.changed.set()

    def done(self, held: Held) -> None:
        super().done(held)
        self.changed.set()

    def resize(self, slots: int) -> None:
        super().resize(slots)
        self.changed.set()

    def withdraw(self, **options: Any) -> list[Held]:
        self.changed.set()
        return super().withdraw(**options)

    async def next(self) -> Held:
        """What a thread gets that waits in `take`."""
        while (held := self.take(0)) is None:
            self.changed.clear()
            await self.changed.wait()
        return held


class SimRunner(Runner):
    """`Runner.run` as a coroutine; everything that decides about a job is inherited."""

    async def run_here(self, slot: int, held: Held) -> None:
        """See `Runner.run`."""
        executor = self._executors[held.job.type]
        self._board.start(slot, held.job.id, held.job.attempt, held.job.timeout_seconds)
        try:
            context = RunningContext(
                held,
                state=self._state,
                owner=self._incarnation,
                loop=asyncio.get_running_loop(),
                limit_bytes=self._config.payload_limit_bytes,
                scratch_root=self._scratch_root,
                dependencies=self._dependencies,
            )
            running = asyncio.create_task(self._run_async(held, executor, context, payload_of(executor, held.job)))
            held.settlement = await running
        except Exception as error:  # noqa: BLE001 -- as in `Runner.run`
            held.settlement = self._endings.of_error(held, error)
        finally:
            held.end()
            self.running.end(held)
            self._board.end(slot)
        self.run_times.add(held.job.timeout_seconds)  # unknown run times: nothing is claimed ahead


class _Thread:
    """The event loop thread, of which only the loop is used."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop


class SimJobWorker(JobWorker):
    """The product's child on the simulation's loop."""

    def __init__(self, spec: ChildSpec, config: JobConfig, board: Board) -> None:
        self._spec = spec
        self._config = config
        self._executors = {name: executor() for name, executor in simulation().executors.items()}
        self._board = board
        self._thread: Any = _Thread(asyncio.get_running_loop())
        self._scratch_root = Path(spec.scratch)
        self._tasks: list[asyncio.Task[Any]] = []
        self._poke_sent = False

    async def run(self, stop: asyncio.Event) -> None:
        """The life of a child process: boot, wait for the order to end, drain."""
        self._make_parts()
        await self._start()
        threads = [asyncio.create_task(self._work(slot)) for slot in range(self._spec.slots)]
        await stop.wait()
        await self._drain()
        self._parts.feed.close()
        for thread in threads:
            thread.cancel()

    async def _work(self, slot: int) -> None:
        parts: Any = self._parts
        while True:
            held = await parts.feed.next()
            await parts.runner.run_here(slot, held)
            parts.feed.done(held)
            parts.settler.submit(held)


class SimBoard(Board):
    """A board in plain memory: nobody else looks at it."""

    def __init__(self, slots: int) -> None:
        self.descriptor = -1
        self.slots = slots
        self._memory: Any = bytearray(size_of(slots))
        self._slot_of: dict[str, int] = {}
        self._job_in: dict[int, str] = {}
        HEADER.pack_into(self._memory, 0, MAGIC, slots, 0, slots, 0.0, 0.0, 0, 0, 0, slots, 0, 0)

    def close(self) -> None:
        """Nothing to give back."""


class SimChild(ChildProcess):
    """A child as its supervisor sees it."""

    def __init__(self, incarnation: str, plan: ChildPlan, board: Board) -> None:
        loop = asyncio.get_running_loop()
        self.incarnation = incarnation
        self.plan = plan
        self.board = board
        self.pid = simulation().next_pid()
        self.began = loop.time()
        self.culprit = self.killed = self.worn = None
        self.silent = self.asked = False
        self.idle_since = None
        self._orders = [board.order]
        self.scratch: Any = SimpleNamespace(remove=lambda: None)
        self.ended = loop.create_future()
        self.stop = asyncio.Event()
        self.actor = f"child-{self.pid}"

    @staticmethod
    def spawn(incarnation: str, plan: ChildPlan, *, grace_seconds: float, allowed: int | None = None) -> ChildProcess:
        """See `ChildProcess.spawn`."""
        sim = simulation()
        board = SimBoard(plan.slots)
        board.hold(0, False)
        board.allow(plan.slots if allowed is None else allowed)
        child = SimChild(incarnation, plan, board)
        spec = ChildSpec(incarnation, plan.pool, plan.types, plan.slots, board.descriptor, grace_seconds, "/nowhere")
        sim.add_child(child, lambda: child.live(spec))
        return child

    async def live(self, spec: ChildSpec) -> None:
        """What the child's process does."""
        self.worker = SimJobWorker(spec, simulation().config, self.board)
        await self.worker.run(self.stop)
        simulation().exit(self.actor, 0)

    def allow(self, slots: int) -> None:
        """See `ChildProcess.allow`; the child looks twice a second."""
        if not self.ended.done() and slots != self.board.allowed:
            self._orders.append(self.board.allow(slots))
            if hasattr(self, "worker"):
                simulation().in_actor(self.actor, self.worker.resize)

    def ask_to_end(self) -> None:
        """SIGTERM."""
        self.asked = True
        self.stop.set()

    def kill(self, why: str = "killed") -> None:
        """SIGKILL."""
        self.killed = self.killed or why
        simulation().kill_child(self, signal=9)

    def gone(self, code: int) -> None:
        """The process has ended, with a code as of `waitpid`; told to whoever waits."""
        record = self._record(code, 0)
        ending = Ending(record, tuple(self.board.running()))
        simulation().loop.call_later(DEATH_SECONDS, self._tell, ending, context=Context())

    def rss_bytes(self) -> int:
        return 0

    def _record(self, code: int, peak_rss_bytes: int) -> ExitRecord:
        return ChildProcess._record(self, code, peak_rss_bytes)


class SimService(JobWorkerService):
    """The product's supervisor with pools of a fixed size."""

    async def start(self) -> None:
        """As the product's, without discovery, scaling and heartbeats."""
        types = tuple(sorted(simulation().executors))
        slots = self.config.max_workers
        self._types.update({item.type: item for item in simulation().job_types()})
        spec = PoolSpec(POOL, types, min_slots=slots, max_slots=slots, slots_per_process=slots)
        self.pools = WorkerPoolManager(
            {POOL: spec},
            max_workers=slots,
            service=self.name,
            incarnations=self._incarnations,
            version="0",
            lease_seconds=self.config.lease_seconds,
            grace_seconds=self.config.shutdown_grace_seconds,
        )
        self.watch = ChildWatch(self.pools, self._timeouts, lease_seconds=self.config.lease_seconds)
        self.pools.resize({POOL: slots})
        self.pools.reconcile()
        heartbeat = self.config.worker_heartbeat_seconds
        duties: tuple[Coroutine[Any, Any, None], ...] = (
            every(heartbeat, self.renew, name="renew", stop=self._stop),
            every(WATCH_SECONDS, self.watch.run_once, name="watch", stop=self._stop),
            every(POOLS_SECONDS, self._reconcile, name="pools", stop=self._stop),
        )
        self._tasks = [asyncio.create_task(duty) for duty in duties]

    async def run(self, stop: asyncio.Event) -> None:
        """The life of the supervisor's process."""
        await self.start()
        await stop.wait()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self.config.shutdown_grace_seconds + 3):
                await self.drain()
        await self.close()

    async def beat(self) -> Any:
        """Nobody looks at heartbeats here."""


REPLACED: tuple[tuple[ModuleType, str, Any], ...] = (
    (pool_manager, "ChildProcess", SimChild),
    (child_parts, "Feed", SimFeed),
    (child_parts, "Runner", SimRunner),
)
"""What the product's wiring makes, and ours instead."""
