"""What a child is made of: the stores and the parts that claim, run, settle and audit, wired once.

Nothing here runs yet, and nothing is connected: the loops and Dramatiq's threads are `JobWorker`'s.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dramatiq.asyncio import EventLoopThread

from headrace.contracts.config import JobConfig
from headrace.contracts.executor import JobExecutor
from headrace.runtime.process.breaker import Breaker
from headrace.runtime.queue.client import redis_client
from headrace.runtime.queue.event_sender import EventSender
from headrace.runtime.queue.history import EventLog
from headrace.runtime.queue.redis_queue import RedisJobQueue
from headrace.runtime.store.breakers import DependencyBreakers
from headrace.runtime.store.database import Database
from headrace.runtime.store.event_reads import EventReads
from headrace.runtime.store.job_logs import JobLogs
from headrace.runtime.store.persistent_queue import PersistentJobQueue
from headrace.runtime.store.state_manager import JobStateManager
from headrace.worker.announce import ChildAnnouncer
from headrace.worker.audit import Audit
from headrace.worker.board import Board
from headrace.worker.breakers import Dependencies
from headrace.worker.child_spec import ChildSpec
from headrace.worker.claim import Claims, Pool
from headrace.worker.claim_loop import ClaimLoop
from headrace.worker.feed import Feed
from headrace.worker.held import HeldJobs
from headrace.worker.job_logs import JobLogWriter
from headrace.worker.prefetch import Prefetch
from headrace.worker.refused import RefusedIds
from headrace.worker.runner import Runner
from headrace.worker.settler import Settler


@dataclass(frozen=True)
class ChildParts:
    """The parts of one child.

    Attributes:
        spec: What the supervisor said.
        board: What the supervisor sees.
        database: MongoDB.
        redis: Redis, for commands.
        listening: Redis, for hints alone.
        held: The jobs it holds.
        feed: Claimed jobs that wait for a thread.
        sender: Events on their way.
        logs: What jobs said, on its way.
        dependencies: The breakers of what jobs depend on.
        runner: Runs a job.
        settler: Ends attempts.
        claims: The claim loop.
        audit: The own-jobs audit.
    """

    spec: ChildSpec
    board: Board
    database: Database
    redis: Any
    listening: Any
    held: HeldJobs
    feed: Feed
    sender: EventSender
    logs: JobLogWriter
    dependencies: Dependencies
    runner: Runner
    settler: Settler
    claims: ClaimLoop
    audit: Audit


def make_parts(
    spec: ChildSpec,
    config: JobConfig,
    executors: Mapping[str, JobExecutor[Any]],
    *,
    board: Board,
    thread: EventLoopThread,
    scratch_root: Path,
    on_room: Callable[[], None],
    follow_life: Callable[[], Awaitable[None]],
) -> ChildParts:
    """Wire one child.

    Args:
        spec: What the supervisor said.
        config: The settings.
        executors: By job type.
        board: Shared with the supervisor.
        thread: The event loop thread that everything but Dramatiq's threads runs on.
        scratch_root: Where the scratch folders of jobs are made.
        on_room: Called from any thread when the claim loop may have something to do.
        follow_life: Ends this process if it was declared dead.
    """
    loop = thread.loop
    database = Database(config, appname="headrace-worker", max_pool_size=8)
    redis = redis_client(config.redis_url, kind="command", name="headrace-worker")
    queue = RedisJobQueue(redis, namespace=config.namespace)
    state = JobStateManager(
        database, retention_days=config.retention_days, dead_retention_days=config.dead_retention_days
    )
    sender = EventSender(EventLog(redis, config.namespace), loop)
    announcer = ChildAnnouncer(sender, spec.pool, EventReads(database))
    logs = JobLogWriter(JobLogs(database), loop)
    dependencies = Dependencies(DependencyBreakers(database))
    held = HeldJobs()
    feed = Feed(0, on_room, max_jobs=spec.max_jobs, on_held=board.hold)
    runner = Runner(
        executors=executors,
        config=config,
        incarnation=spec.incarnation,
        state=state,
        board=board,
        thread=thread,
        scratch_root=scratch_root,
        announcer=announcer,
        logs=logs,
        dependencies=dependencies,
    )
    settler = Settler(
        pool=spec.pool,
        incarnation=spec.incarnation,
        state=state,
        queue=queue,
        held=held,
        board=board,
        loop=loop,
        announcer=announcer,
    )
    pool = Pool(spec.pool, spec.types, {name: executor.contract_version for name, executor in executors.items()})
    claims = ClaimLoop(
        pool=pool,
        claims=Claims(
            pool=pool,
            incarnation=spec.incarnation,
            queue=queue,
            direct=PersistentJobQueue(database),
            breaker=Breaker("redis"),
            state=state,
            held=held,
            board=board,
        ),
        prefetch=Prefetch(
            horizon_seconds=config.claim_horizon_ms / 1000,
            feed=feed,
            held=held,
            run_times=runner.run_times,
            settler=settler,
        ),
        refused=RefusedIds(pool=pool, state=state, queue=queue, announcer=announcer),
        board=board,
        follow_life=follow_life,
    )
    audit = Audit(
        pool=spec.pool,
        incarnation=spec.incarnation,
        state=state,
        queue=queue,
        held=held,
        feed=feed,
        settler=settler,
        announcer=announcer,
    )
    return ChildParts(
        spec=spec,
        board=board,
        database=database,
        redis=redis,
        listening=redis_client(config.redis_url, kind="pubsub", name="headrace-worker-hints"),
        held=held,
        feed=feed,
        sender=sender,
        logs=logs,
        dependencies=dependencies,
        runner=runner,
        settler=settler,
        claims=claims,
        audit=audit,
    )
