"""One submission from its checked body to a stored job, in the order that keeps every promise (A9)."""

from __future__ import annotations

from headrace.contracts.config import JobConfig
from headrace.contracts.errors import IdempotencyMismatchError
from headrace.contracts.job import Idempotency
from headrace.runtime.store.state_manager import JobStateManager
from headrace.runtime.web.auth import Token
from headrace.scheduler.body import JobBody
from headrace.scheduler.drafts import Draft, make_draft
from headrace.scheduler.intake import Intake, Stored
from headrace.scheduler.keys import KeysInFlight
from headrace.scheduler.links import ANSWER_SECONDS, MongoLink
from headrace.scheduler.metrics import SchedulerMetrics
from headrace.scheduler.registry import Registry
from headrace.scheduler.tasks import Tasks


class Submitter:
    """Validate → look the key up → bound, insert and enqueue (`commit`)."""

    def __init__(
        self,
        *,
        config: JobConfig,
        registry: Registry,
        intake: Intake,
        states: JobStateManager,
        mongo: MongoLink,
        keys: KeysInFlight,
        tasks: Tasks,
        metrics: SchedulerMetrics,
    ) -> None:
        self._config = config
        self._registry = registry
        self._intake = intake
        self._states = states
        self._mongo = mongo
        self._tasks = tasks
        self._metrics = metrics
        self._keys = keys

    async def submit(self, body: JobBody, *, token: Token, key: str | None) -> Stored:
        """Store the job that the body describes, or find the one that was stored with the same key.

        A caller that is cancelled leaves nothing or a whole job.

        Raises:
            RefusedError: It breaks a rule, there is no room, or another job is in the way; nothing was kept.
            StoreUnavailableError: MongoDB is down; nothing was kept.
            OutcomeUnknownError: It may have been stored as `job_id`.
        """
        job_type = await self._registry.find(body.fields.type)
        self._registry.check(job_type, body.payload)
        idempotency = None if key is None else Idempotency(scope=token.name, key=key, digest=body.digest())
        draft = make_draft(
            body.fields, body.payload, job_type=job_type, config=self._config, token=token, idempotency=idempotency
        )
        return await self.store(draft)

    async def store(self, draft: Draft) -> Stored:
        """Store a draft that is checked already; raises as `submit`."""
        if draft.idempotency is None:
            stored = await self._intake.submit(draft)
        else:
            # Shielded whole: the key must stay held for as long as its commit is under way.
            stored = await self._tasks.shielded(self._submit_once(draft, draft.idempotency))
        if stored.created:
            self._metrics.enqueued.labels(draft.pool, draft.fields.type).inc()
        return stored

    async def _submit_once(self, draft: Draft, asked: Idempotency) -> Stored:
        async with self._keys.turn(asked.scope, asked.key):
            # Before any limit is judged: a repeat of an accepted request must not hear that the queue is full.
            known = await self._mongo.read(
                lambda: self._states.find_by_key(asked.scope, asked.key), seconds=ANSWER_SECONDS
            )
            stored = Stored(known, created=False) if known is not None else await self._intake.submit(draft)
        if not stored.created:
            before = stored.job.idempotency
            if before is None or before.digest != asked.digest:
                raise IdempotencyMismatchError("this Idempotency-Key was used before with another body")
        return stored
