"""One schedule: the services over the model stores, what happens to them, and what was seen."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Coroutine
from contextvars import Context
from datetime import UTC, datetime, timedelta
from typing import Any

from prometheus_client import CollectorRegistry

from headrace.contracts.config import JobConfig
from headrace.contracts.errors import HeadraceError
from headrace.contracts.executor import JobExecutor
from headrace.contracts.heartbeat import ExitRecord
from headrace.recovery.parts import open_parts
from headrace.recovery.service import JobRecoveryService
from headrace.runtime.process.failpoints import afp  # noqa: F401 -- imported so that its module is patched
from headrace.runtime.queue import Keys
from headrace.runtime.store.database import JOB_INDEXES
from headrace.runtime.store.job_types import JobType
from headrace.scheduler.services import Services, make_services, make_stores

from .clients import client
from .loop import ACTOR, BEGIN_SECONDS, SimLoop
from .mongo_client import Handle
from .mongo_server import MongoModel
from .network import Network, Weather
from .plan import ACTIVE_SECONDS, Event, Plan
from .redis_client import Board, Client
from .redis_server import RedisModel
from .watch import Watch
from .worker import POOL, SimChild, SimService
from .workload import Effect, Scripted

BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
QUIET_SECONDS = 200.0
"""After everything is healed all jobs must have ended and both stores agree within this."""
DUTIES = frozenset(
    {"deaths", "orphans", "rebuild", "dead_claims", "sweep", "stored", "reservations", "expiry", "timeouts", "cancels",
     "recent", "ghosts", "full_pass"}
)  # fmt: skip
"""What brings the stores back together. Retention, history and warnings move no job."""


class Metrics:
    """Stands for recovery's metrics."""

    def __init__(self, sim: Simulation) -> None:
        self._sim = sim

    def did(self, duty: str, counts: Counter[str]) -> None:
        """A duty has done something."""
        sim = self._sim
        if duty == "rebuild" and counts["pool_rebuilt"]:
            sim.rebuilt_at = sim.loop.time()
        # While a rebuild goes on, and a little longer, others may find what it is about to add.
        if sim.is_complete() and sim.loop.time() - sim.rebuilt_at > 2.0:
            sim.missing += counts["missing"]

    def __getattr__(self, name: str) -> Any:
        return lambda *given: None


class Simulation:
    """One schedule.

    Args:
        plan: What happens.
        is_verbose: Keep a trace of every call and log line.
    """

    def __init__(self, plan: Plan, *, is_verbose: bool = False) -> None:
        seed = plan.seed
        self.plan = plan
        self.is_verbose = is_verbose
        self.trace: list[str] = []
        self.unexpected: list[str] = []
        self.effects: list[Effect] = []
        self.missing = 0
        """Ids that recovery found missing although Redis was complete."""
        self.rebuilt_at = 0.0
        self.product_dice = random.Random(f"product {seed}")
        self.plan_dice = random.Random(f"client {seed}")
        self.loop = SimLoop(random.Random(f"loop {seed}"))
        self.network = Network(self.loop, random.Random(f"network {seed}"), self.tell if is_verbose else None)
        self.network.weather = plan.weather
        self.network.on_call = self._on_call
        self.watch = Watch(self)
        self.mongo = MongoModel(self._mongo_now)
        self.mongo.on_write = self.watch.on_write
        self.redis = RedisModel(self._redis_us, random.Random(f"redis {seed}"))
        self._board = Board()
        self.redis.publish = self._publish
        self.config = JobConfig(
            lease_seconds=3.0,
            worker_heartbeat_seconds=1.0,
            recovery_interval_seconds=5.0,
            max_workers=plan.slots,
            queue_size_limit=plan.bound,
            shutdown_grace_seconds=1.0,
        )
        self.keys = Keys(self.config.namespace).pool(POOL)
        self.executors: dict[str, type[JobExecutor[Any]]] = {Scripted.job_type: Scripted}
        self.children: dict[str, tuple[SimChild, str]] = {}
        self.schedulers: dict[str, Services] = {}
        self._stops: dict[str, asyncio.Event] = {}
        self._born: dict[str, int] = {}
        self._pid = 100
        self._jobs_made = 0
        self._tasks: list[asyncio.Task[Any]] = []
        self._snapshot: dict[str, Any] = {}
        self._crashes = {event.call: event for event in plan.events if event.call}

    # -- what the patched product sees -------------------------------------------------------------------------

    def wall_seconds(self) -> float:
        """Seconds since 1970."""
        return BEGIN.timestamp() + self.loop.time() - BEGIN_SECONDS

    def _mongo_now(self) -> datetime:
        passed = timedelta(milliseconds=int((self.loop.time() - BEGIN_SECONDS) * 1000))
        return BEGIN + passed

    def _redis_us(self) -> int:
        return int(self.wall_seconds() * 1_000_000) + self.plan.redis_ahead_ms * 1000

    def mongo_handle(self) -> Handle:
        """A database handle."""
        return Handle(self.mongo, self.network)

    def redis_client(self, answer_seconds: float) -> Client:
        """A Redis client."""
        return Client(self.redis, self.network, self._board, answer_seconds=answer_seconds)

    def _publish(self, channel: str, text: str) -> None:
        if self.network.weather.lost == 0 or self.plan_dice.random() > 0.3:
            self._board.publish(channel, text)

    def new_job_id(self) -> str:
        """Rises, as UUIDv7 does."""
        self._jobs_made += 1
        return f"00000000-0000-7000-8000-{self._jobs_made:012x}"

    def next_pid(self) -> int:
        """A process id."""
        self._pid += 1
        return self._pid

    def job_types(self) -> list[JobType]:
        """What workers register."""
        return [
            JobType(name, kind.policy, kind.payload_model.model_json_schema()) for name, kind in self.executors.items()
        ]

    def loses_answer(self) -> bool:
        """Whether a client never hears what a scheduler says."""
        weather = self.network.weather
        return (weather.unanswered + weather.lost) > 0 and self.plan_dice.random() < 0.15

    def tell(self, line: str) -> None:
        """Add to the trace."""
        if self.is_verbose:
            self.trace.append(f"{self.loop.time() - BEGIN_SECONDS:9.4f} {line}")

    # -- actors ------------------------------------------------------------------------------------------------

    def spawn(self, actor: str, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Run something in an actor."""
        context = Context()
        context.run(ACTOR.set, actor)
        task = self.loop.create_task(work, context=context)
        self._tasks.append(task)
        return task

    def in_actor(self, actor: str, call: Any) -> None:
        """Call something in an actor, soon."""
        context = Context()
        context.run(ACTOR.set, actor)
        self.loop.call_soon(call, context=context)

    def start(self, kind: str, name: str) -> str:
        """Start a process; its name tells how often it was started."""
        self._born[name] = self._born.get(name, 0) + 1
        actor = f"{name}.{self._born[name]}"
        self._stops[actor] = stop = asyncio.Event()
        main = {"host": self._host, "recovery": self._recovery, "scheduler": self._scheduler}[kind]
        self.spawn(actor, main(actor, stop))
        return actor

    def add_child(self, child: SimChild, work: Any) -> None:
        """A host starts a child."""
        self.children[child.actor] = (child, ACTOR.get())
        self.spawn(child.actor, work())

    def kill(self, actor: str, *, back: float | None) -> None:
        """Kill a process other than a child, with its children, and start it again after a while."""
        if self.loop.is_dead(actor):
            return
        self.tell(f"      {actor:16} *** killed")
        self.loop.kill(actor)
        self.schedulers.pop(actor, None)
        for name, (_, host) in self.children.items():
            if host == actor:
                self.loop.kill(name)
        if back is not None:
            self._start_again(actor, back)

    def _start_again(self, actor: str, back: float) -> None:
        name = actor.rpartition(".")[0]
        kind = name.partition("-")[0]
        self.loop.call_later(back, self.start, kind, name, context=Context())

    def kill_child(self, child: SimChild, *, signal: int) -> None:
        """SIGKILL a child."""
        self.exit(child.actor, -signal)

    def exit(self, actor: str, code: int) -> None:
        """A child's process has ended."""
        if not self.loop.is_dead(actor):
            self.tell(f"      {actor:16} *** ended with {code}")
            self.loop.kill(actor)
            self.children[actor][0].gone(code)

    def some_scheduler(self) -> tuple[str, Services] | None:
        """A scheduler that lives."""
        living = sorted(self.schedulers)
        if not living:
            return None
        actor = self.plan_dice.choice(living)
        return actor, self.schedulers[actor]

    def living(self, kind: str) -> list[str]:
        """The processes of a kind that live."""
        names = self.children if kind == "child" else self._stops
        return [name for name in names if name.startswith(kind) and not self.loop.is_dead(name)]

    async def _host(self, actor: str, stop: asyncio.Event) -> None:
        service = SimService(self.config)
        await service.run(stop)
        self.loop.kill(actor)

    async def _scheduler(self, actor: str, stop: asyncio.Event) -> None:
        services = make_services(self.config, make_stores(self.config), CollectorRegistry())
        self.schedulers[actor] = services
        announcing = asyncio.create_task(services.announcer.run())
        await stop.wait()
        services.announcer.close()
        await announcing

    async def _recovery(self, actor: str, stop: asyncio.Event) -> None:
        metrics: Any = Metrics(self)
        service = JobRecoveryService(open_parts(self.config), metrics)
        service.duties = tuple(duty for duty in service.duties if duty.name in DUTIES)
        if self.plan.is_leaderless:
            service.leadership.is_leading = lambda: True  # type: ignore[method-assign]
        if self.plan.is_full_recovery:
            await service.start()
            await stop.wait()
            await service.stop()
            return
        while True:
            passes = [service._lead(), *(service._led(duty)() for duty in service.duties)]
            for outcome in await asyncio.gather(*passes, return_exceptions=True):
                if isinstance(outcome, Exception) and not isinstance(outcome, HeadraceError):
                    self.unexpected.append(f"{actor}: {outcome!r}")
            # Without a leader all look at the same moment.
            now = self.loop.time()
            await asyncio.sleep(1 - now % 1 if self.plan.is_leaderless else self.product_dice.uniform(0.5, 2.0))

    # -- what happens ------------------------------------------------------------------------------------------

    def _on_call(self, number: int, actor: str, name: str, applied: bool) -> bool:
        event = self._crashes.get(number)
        if event is not None and event.applied == applied and self._is_process(actor):
            del self._crashes[number]
            self.tell(f"      {actor:16} *** {event.what} at {name}, {'applied' if applied else 'not sent'}")
            if event.what == "pause":
                self._pause(actor, event.seconds)
            elif actor in self.children:
                self.exit(actor, -9)
            else:
                self.kill(actor, back=event.back)
        return self.loop.is_dead(actor)

    def _is_process(self, actor: str) -> bool:
        return actor in self.children or actor in self._stops

    def _happen(self, event: Event) -> None:
        self.tell(f"      {'':16} *** {event.what}")
        verb, _, what = event.what.partition(" ")
        match verb:
            case "declare":
                self._declare_dead()
            case "kill" | "freeze" | "stop":
                living = self.living("host" if what == "supervisor" else what)
                if living:
                    self._strike(verb, self.plan_dice.choice(living), event)
            case "flush":
                self.redis.flush()
            case "restart":
                self.redis.restart({"empty": {}, "old": self._snapshot}.get(what))
                self._board.drop_all()
            case "redis" | "mongo":
                self.network.down[verb] = self.loop.time() + event.seconds

    def _strike(self, verb: str, actor: str, event: Event) -> None:
        if verb == "freeze":
            self.loop.freeze(actor, event.seconds)
            if event.what == "freeze host":  # the whole machine
                for name, (_, host) in self.children.items():
                    if host == actor:
                        self.loop.freeze(name, event.seconds)
        elif verb == "stop":
            self.in_actor(actor, self._stops[actor].set)
            self._start_again(actor, event.back)
        elif actor in self.children:
            self.exit(actor, -9)
        else:
            self.kill(actor, back=event.back)

    def _pause(self, actor: str, seconds: float) -> None:
        self.loop.freeze(actor, seconds)
        if actor in self.children:
            incarnation = self.children[actor][0].incarnation
            self.loop.call_later(0.5, self._declare_dead, incarnation, context=Context())

    def _declare_dead(self, incarnation: str = "") -> None:
        """Somebody who cannot see a child says that it is dead, and nobody saw what it had started."""
        workers = self.mongo.collection("workers")
        living = [name for name, worker in workers.all.items() if worker["dead_at"] is None]
        if incarnation in living or (living and not incarnation):
            name = incarnation or self.plan_dice.choice(living)
            marks = {"dead_at": self._mongo_now(), "exit": ExitRecord(kind="lease").model_dump()}
            workers.all[name] = {**workers.all[name], **marks}

    def is_complete(self) -> bool:
        """Whether Redis is declared to hold everything."""
        epoch: str = self.redis.values.get(self.keys.epoch, "")
        return epoch.startswith(self.redis.run_id)

    def _take_snapshot(self) -> None:
        self._snapshot = self.redis.copy_of_data()

    # -- the schedule ------------------------------------------------------------------------------------------

    def run(self) -> list[str]:
        """Run it to its end. Returns what is wrong."""
        try:
            self.loop.run_until_complete(self.spawn("", self._run()))
        except Exception as error:  # noqa: BLE001 -- reported with its seed
            self.watch.add(f"the schedule itself failed: {error!r}")
        finally:
            self.network.is_closed = True
            try:
                self.loop.run_until_complete(self.loop.bury())
            finally:
                self.loop.close()
        return self.watch.violations

    async def _run(self) -> None:
        self._prepare()
        for name in ("host-a", "host-b"):
            self.start("host", name)
        for number in range(self.plan.recoveries):
            self.start("recovery", f"recovery-{number}")
        self.start("scheduler", "scheduler-0")
        clients = [self.spawn(f"client-{item.name}", client(item)) for item in self.plan.submissions]
        self.loop.call_later(self.plan_dice.uniform(0, ACTIVE_SECONDS / 2), self._take_snapshot)
        for event in self.plan.events:
            if not event.call:
                self.loop.call_later(event.at, self._happen, event)
        await asyncio.sleep(ACTIVE_SECONDS)
        self._heal()
        await asyncio.wait(clients)
        await self._become_quiet()
        await self.watch.judge()

    def _prepare(self) -> None:
        self.mongo.collection("jobs").create_indexes(JOB_INDEXES)
        for item in self.job_types():
            self.mongo.collection("job_types").all[item.type] = {
                "_id": item.type,
                "policy": item.policy.model_dump(mode="json"),
                "payload_schema": self.schema_text(item),
                "contract_version": item.contract_version,
            }
        if self.plan.begins_complete:
            self.redis.values[self.keys.epoch] = f"{self.redis.run_id}:1"

    @staticmethod
    def schema_text(item: JobType) -> str:
        """The schema as it is stored."""
        import json

        return json.dumps(item.payload_schema, sort_keys=True)

    def _heal(self) -> None:
        self.tell(f"      {'':16} *** healed")
        self._crashes.clear()
        self.network.weather = Weather()
        self.network.down.clear()

    async def _become_quiet(self) -> None:
        deadline = self.loop.time() + QUIET_SECONDS
        while self.watch.unrest():
            if self.loop.time() > deadline:
                self.watch.add(f"I1/I6: not quiet after {QUIET_SECONDS:.0f} s: {self.watch.unrest()}")
                return
            await asyncio.sleep(0.5)
