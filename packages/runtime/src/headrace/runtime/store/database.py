"""The open database: one handle per process, the collections by name, and the indexes with the query each serves."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from pymongo import ASCENDING, DESCENDING, IndexModel

from headrace.contracts.config import JobConfig
from headrace.runtime.store import mongo_driver
from headrace.runtime.store.faults import READ_SECONDS, reading, writing
from headrace.runtime.store.indexes import ensure

INDEX_SECONDS = 600.0
"""The server gives up an index whose command takes longer, and all that it has built of it."""
PENDING = {"state": {"$in": ["queued", "processing"]}}
ENDED = {"state": {"$in": ["completed", "failed", "cancelled"]}}
MOVED = {"state": {"$in": ["queued", "failed", "cancelled"]}}
"""Not the running and the completed ones: a job that only runs and completes is put into this index once, and taken out
once, instead of being moved in it by every transition."""
COMPLETED = {"state": "completed"}
FAILED = {"state": "failed"}

JOB_INDEXES = (
    # Claims straight from MongoDB, rebuilds, counts per pool and state: (pool, state) in claim order. It holds pending
    # jobs only, so it stays small however much history is kept. With `run_at` a rebuild reads it alone, no document.
    IndexModel(
        [
            ("pool", ASCENDING),
            ("state", ASCENDING),
            ("score", ASCENDING),
            ("_id", ASCENDING),
            ("run_at", ASCENDING),
        ],
        name="pending_in_claim_order",
        partialFilterExpression=PENDING,
    ),
    # Own-jobs audit and orphans: what an incarnation holds.
    IndexModel([("owner", ASCENDING)], name="held_by", partialFilterExpression={"owner": {"$exists": True}}),
    # Reconcile: what changed in the last two minutes, but for the running (few, by `held_by`) and the completed.
    IndexModel([("updated_at", ASCENDING)], name="moved", partialFilterExpression=MOVED),
    # Lists, newest first (ids are ordered by time): of what is over by state; of what is pending, where a claim does
    # not move a job because nothing pending has a `finished_at`; and by type.
    IndexModel([("state", ASCENDING), ("_id", DESCENDING)], name="ended_by_state", partialFilterExpression=ENDED),
    IndexModel(
        [("finished_at", ASCENDING), ("_id", DESCENDING)], name="pending_newest", partialFilterExpression=PENDING
    ),
    IndexModel([("type", ASCENDING), ("_id", DESCENDING)], name="by_type"),
    # History: what was completed in the last seconds. With the indexes of changes and of owners it finds every job that
    # has changed since a moment.
    IndexModel([("finished_at", ASCENDING)], name="completed", partialFilterExpression=COMPLETED),
    # Dead letters, newest first, and by the kind of their error. Two, so that a page is read without a sort either way;
    # both hold failed jobs only, so other transitions pay next to nothing. Discarded ones are passed over by the index.
    IndexModel([("discarded_at", ASCENDING), ("_id", DESCENDING)], name="dead_letters", partialFilterExpression=FAILED),
    IndexModel(
        [("discarded_at", ASCENDING), ("error.fingerprint", ASCENDING), ("_id", DESCENDING)],
        name="dead_by_fingerprint",
        partialFilterExpression=FAILED,
    ),
    # One job per idempotency key in its scope, as long as the document lives.
    IndexModel(
        [("idempotency.scope", ASCENDING), ("idempotency.key", ASCENDING)],
        name="idempotency",
        unique=True,
        partialFilterExpression={"idempotency.key": {"$exists": True}},
    ),
    # One pending job per unique key; the key is free again with the terminal update itself.
    IndexModel(
        [("tenant", ASCENDING), ("type", ASCENDING), ("unique_key", ASCENDING)],
        name="unique_key",
        unique=True,
        partialFilterExpression={**PENDING, "unique_key": {"$exists": True}},
    ),
    # A tenant's share of a pool's bound. Jobs without a tenant are not in it, and no transition but the last moves a
    # job in it: the key is the same in both states.
    IndexModel(
        [("tenant", ASCENDING), ("pool", ASCENDING)],
        name="pending_of_tenant",
        partialFilterExpression={**PENDING, "tenant": {"$exists": True}},
    ),
    # Jobs that must start by a time.
    IndexModel(
        [("expires_at", ASCENDING)],
        name="must_start_by",
        partialFilterExpression={"state": "queued", "expires_at": {"$exists": True}},
    ),
    # Stored while Redis was away.
    IndexModel([("pool", ASCENDING)], name="not_indexed", partialFilterExpression={"indexed": False}),
    # Retention. Only terminal updates set the field.
    IndexModel([("expire_at", ASCENDING)], name="retention", expireAfterSeconds=0),
)
WORKER_INDEXES = (
    # Liveness: who is not dead, by lease.
    IndexModel([("dead_at", ASCENDING), ("lease_until", ASCENDING)], name="by_lease"),
)
BREAKER_INDEXES = (
    # A breaker that nobody has tried for ten minutes after it might have been closed is forgotten.
    IndexModel([("open_until", ASCENDING)], name="forgotten", expireAfterSeconds=600),
)


class Database:
    """A lazily connecting handle on the collections. One per process and event loop."""

    def __init__(self, config: JobConfig, *, appname: str, max_pool_size: int = 20) -> None:
        self._client = mongo_driver.connect(
            config.mongo_url.get_secret_value(), appname=appname, max_pool_size=max_pool_size
        )
        self.handle: Any = mongo_driver.database(self._client, config.mongo_database)
        self.jobs: Any = self.handle["jobs"]
        self.workers: Any = self.handle["workers"]
        self.leases: Any = self.handle["leases"]
        self.pools: Any = self.handle["pools"]
        self.job_types: Any = self.handle["job_types"]

    async def ping(self) -> None:
        """Ask the primary for a sign of life.

        Raises:
            StoreUnavailableError: There is none.
        """
        with reading("ping", seconds=1.5):
            await self.handle.command("ping")

    async def now(self, *, seconds: float = READ_SECONDS) -> datetime:
        """The primary's clock.

        Args:
            seconds: How long the answer may take.

        Raises:
            StoreUnavailableError: There was none.
        """
        with reading("clock", seconds=seconds):
            # With the options, or the answer is decoded without a time zone.
            answer = await self.handle.command("hello", codec_options=self.handle.codec_options)
        now: datetime = answer["localTime"]
        return now

    async def ensure_indexes(self) -> None:
        """Create what is missing; cheap and safe when everything is there, and with many callers at once.

        Raises:
            ConfigError: A unique index of ours has another definition.
            StoreUnavailableError, OutcomeUnknownError: MongoDB did not answer in time.
        """
        with writing("indexes", seconds=INDEX_SECONDS):
            await ensure(self.jobs, JOB_INDEXES)
            await ensure(self.workers, WORKER_INDEXES)
            await ensure(self.handle["breakers"], BREAKER_INDEXES)

    def close(self) -> None:
        """Close the connections."""
        mongo_driver.close(self._client)
