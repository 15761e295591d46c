"""Ended jobs once more: a replay is a new job that points to the old one."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

import structlog

from headrace.contracts.errors import ApiError, NotTerminalError, StoreUnavailableError
from headrace.contracts.job import Idempotency, Job, Priority
from headrace.contracts.submission import JobSubmission
from headrace.runtime.process.ids import new_job_id
from headrace.runtime.store.job_types import JobType
from headrace.runtime.store.reads import Reads
from headrace.runtime.store.state_manager import JobStateManager
from headrace.runtime.web.auth import Token
from headrace.scheduler.batch import BatchSubmitter
from headrace.scheduler.drafts import Draft
from headrace.scheduler.intake import Outcome, Stored
from headrace.scheduler.links import ANSWER_SECONDS, MongoLink
from headrace.scheduler.registry import Registry, unknown_type
from headrace.scheduler.submit import Submitter

ONCE_SCOPE = "/v1/dead-letters/replay"
"""The scope of keys that let each dead letter be replayed in bulk once, whoever asks at the same time. No token's own:
a name with a slash would have to be chosen on purpose."""

log = structlog.get_logger(__name__)


class Replays:
    """Replays one ended job, or many dead letters."""

    def __init__(
        self,
        *,
        reads: Reads,
        registry: Registry,
        states: JobStateManager,
        mongo: MongoLink,
        submitter: Submitter,
        batches: BatchSubmitter,
    ) -> None:
        self._reads = reads
        self._registry = registry
        self._states = states
        self._mongo = mongo
        self._submitter = submitter
        self._batches = batches

    async def replay(self, job_id: str, *, token: Token, key: str | None) -> Stored:
        """A new job like this one, which is over. Its unique key is taken again.

        Args:
            job_id: The job.
            token: Who asks.
            key: Asking again with the same key gives the same replay.

        Raises:
            NotFoundError, NotTerminalError: There is no such job for this token, or it is not over.
            UnknownJobTypeError, InvalidPayloadError: Its type would not take it today.
            RefusedError, StoreUnavailableError: As for any submission.
        """
        job = await self._mongo.read(lambda: self._reads.job(job_id, tenant=token.tenant))
        if not job.state.is_terminal:
            raise NotTerminalError(f"the job is {job.state}", job_id=job.id)
        job_type = await self._registry.find(job.type)
        self._check(job, job_type)
        digest = hashlib.sha256(f"replay of {job.id}".encode()).hexdigest()
        asked = None if key is None else Idempotency(scope=token.name, key=key, digest=digest)
        stored = await self._submitter.store(_draft(job, job_type, token, asked))
        if stored.created:
            await self._mark({job.id: stored.job.id})
        return stored

    async def types_of(self, jobs: Sequence[Job]) -> Mapping[str, JobType]:
        """The registered types of these jobs.

        Raises:
            StoreUnavailableError: One is not at hand, and MongoDB does not answer.
        """
        return await self._registry.find_all({job.type for job in jobs})

    def refusal(self, job: Job, types: Mapping[str, JobType]) -> ApiError | None:
        """Why a job's type would not take it today."""
        try:
            if job.type not in types:
                raise unknown_type()
            self._check(job, types[job.type])
        except ApiError as error:
            return error
        return None

    def _check(self, job: Job, job_type: JobType) -> None:
        # A payload of an older version is made new by the worker that runs it; today's schema says nothing about it.
        if job.contract_version >= job_type.contract_version:
            self._registry.check(job_type, job.payload)

    async def replay_all(self, jobs: Sequence[Job], types: Mapping[str, JobType], *, token: Token) -> list[Outcome]:
        """Replay dead letters whose types take them, each once for ever; one outcome per job, in order.

        A replay that an earlier call made and could not mark is found again and marked now.
        """
        ids = [job.id for job in jobs]
        try:
            known = await self._mongo.read(lambda: self._states.find_by_keys(ONCE_SCOPE, ids), seconds=ANSWER_SECONDS)
        except StoreUnavailableError as error:
            return [StoreUnavailableError(error.detail, retry_after_seconds=2) for _ in jobs]
        outcomes: dict[int, Outcome] = {
            at: Stored(known[job_id], created=False) for at, job_id in enumerate(ids) if job_id in known
        }
        drafts = {
            at: _draft(job, types[job.type], token, Idempotency(scope=ONCE_SCOPE, key=job.id, digest=job.id))
            for at, job in enumerate(jobs)
            if at not in outcomes
        }
        outcomes |= await self._batches.store(drafts)
        await self._mark({ids[at]: item.job.id for at, item in outcomes.items() if isinstance(item, Stored)})
        return [outcomes[at] for at in range(len(jobs))]

    async def _mark(self, made: Mapping[str, str]) -> None:
        try:
            await self._mongo.write(lambda: self._states.mark_replayed(made))
        except StoreUnavailableError as error:
            # The new jobs stand, and say themselves what they replay.
            log.warning("replay.not_marked", count=len(made), reason=error.detail)


def _draft(job: Job, job_type: JobType, token: Token, idempotency: Idempotency | None) -> Draft:
    """The same work as a new job of the same tenant: due now, without deadline, without the old idempotency key."""
    fields = JobSubmission(
        type=job.type, payload=None, priority=Priority.of_rank(job.priority), unique_key=job.unique_key, tags=job.tags
    )
    return Draft(
        id=new_job_id(),
        fields=fields,
        payload=job.payload,
        pool=job_type.pool,
        timeout_seconds=job.timeout_seconds,
        max_retries=job.max_retries,
        contract_version=job.contract_version,
        submitted_by=token.name,
        tenant=job.tenant,
        idempotency=idempotency,
        replay_of=job.id,
    )
