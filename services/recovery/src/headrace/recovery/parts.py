"""The open stores as recovery uses them, put together once."""

from __future__ import annotations

from dataclasses import dataclass

from headrace.contracts.config import JobConfig
from headrace.runtime.process.breaker import Breaker
from headrace.runtime.queue import EventLog, RedisJobQueue, redis_client
from headrace.runtime.store.database import Database
from headrace.runtime.store.event_reads import EventReads
from headrace.runtime.store.incarnations import Incarnations
from headrace.runtime.store.job_types import JobTypes
from headrace.runtime.store.reads import Reads
from headrace.runtime.store.reconcile_reads import ReconcileReads
from headrace.runtime.store.state_manager import JobStateManager

NAME = "recovery"


@dataclass(frozen=True)
class Parts:
    """Everything a duty may need. Connects when it is first used."""

    config: JobConfig
    database: Database
    jobs: JobStateManager
    reads: Reads
    reconcile: ReconcileReads
    incarnations: Incarnations
    job_types: JobTypes
    queue: RedisJobQueue
    events: EventLog
    event_reads: EventReads
    redis_breaker: Breaker
    mongo_breaker: Breaker

    async def close(self) -> None:
        """Close every connection."""
        await self.queue.close()
        self.database.close()


def open_parts(config: JobConfig) -> Parts:
    """The parts for these settings.

    Raises:
        ConfigError: An address cannot be one.
    """
    redis = redis_client(config.redis_url, kind="command", name=NAME)
    database = Database(config, appname=NAME)
    redis_breaker = Breaker("redis")
    return Parts(
        config=config,
        database=database,
        jobs=JobStateManager(
            database, retention_days=config.retention_days, dead_retention_days=config.dead_retention_days
        ),
        reads=Reads(database),
        reconcile=ReconcileReads(database),
        incarnations=Incarnations(database),
        job_types=JobTypes(database),
        queue=RedisJobQueue(redis, namespace=config.namespace, breaker=redis_breaker),
        events=EventLog(redis, config.namespace),
        event_reads=EventReads(database),
        redis_breaker=redis_breaker,
        mongo_breaker=Breaker("mongodb"),
    )
