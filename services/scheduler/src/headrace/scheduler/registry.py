"""The job types that workers have registered, kept at hand for every submission."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Set

import structlog

from headrace.contracts.errors import InvalidPayloadError, UnknownJobTypeError
from headrace.runtime.store.job_types import JobType, JobTypes
from headrace.scheduler.links import ANSWER_SECONDS, MongoLink
from headrace.scheduler.payloads import PayloadChecker

REFRESH_SECONDS = 1.0

log = structlog.get_logger(__name__)


class Registry:
    """A copy of the job types, at most about a second old; a type that is missed is looked for at once.

    While MongoDB is down the last copy goes on serving: a submission fails at its insert then, not here.

    Args:
        types: The collection.
        mongo: How to reach it.
    """

    def __init__(self, types: JobTypes, mongo: MongoLink) -> None:
        self._types = types
        self._mongo = mongo
        self._known: dict[str, JobType] = {}
        self._checkers: dict[str, PayloadChecker | None] = {}
        self._loading = asyncio.Lock()
        self._loads = 0

    async def refresh(self) -> None:
        """Read all types again. Run every `REFRESH_SECONDS`, which also shows soon that MongoDB is down.

        Raises:
            StoreUnavailableError: MongoDB does not answer; the copy stays as it was.
        """
        async with self._loading:
            await self._load()

    async def find(self, name: str) -> JobType:
        """The job type `name`.

        Raises:
            UnknownJobTypeError: No worker has registered it.
            StoreUnavailableError: It is not in the copy, and MongoDB does not answer.
        """
        if name not in self._known:
            await self._look_again()
        found = self._known.get(name)
        if found is None:
            raise unknown_type()
        return found

    async def find_all(self, names: Set[str]) -> Mapping[str, JobType]:
        """Those of `names` that are registered; one look at the store for all that are missed.

        Raises:
            StoreUnavailableError: Some are not in the copy, and MongoDB does not answer.
        """
        if not names <= self._known.keys():
            await self._look_again()
        return {name: self._known[name] for name in names if name in self._known}

    def check(self, job_type: JobType, payload: str) -> None:
        """Check a payload, which is JSON text, against the schema of its type.

        Raises:
            InvalidPayloadError: It does not fit, or the registered schema is none.
        """
        checker = self._checkers.get(job_type.type)
        if checker is None:
            raise InvalidPayloadError("the schema that the workers registered for this job type cannot be used")
        checker.check(payload)

    async def _look_again(self) -> None:
        # A load under way may have read before the type was registered: only one that begins now can tell.
        seen = self._loads
        async with self._loading:
            if self._loads <= seen:
                await self._load()

    async def _load(self) -> None:
        self._loads += 1
        found = {item.type: item for item in await self._mongo.read(self._types.all, seconds=ANSWER_SECONDS)}
        self._checkers = {name: self._checker_of(item) for name, item in found.items()}
        self._known = found

    def _checker_of(self, job_type: JobType) -> PayloadChecker | None:
        before = self._known.get(job_type.type)
        if before is not None and before.payload_schema == job_type.payload_schema:
            return self._checkers[job_type.type]
        try:
            return PayloadChecker(job_type.payload_schema)
        except ValueError as error:
            log.warning("registry.schema_not_usable", job_type=job_type.type, error=type(error).__name__)
            return None


def unknown_type() -> UnknownJobTypeError:
    """The refusal for a job type that no worker has registered."""
    return UnknownJobTypeError("no worker has registered this job type; GET /v1/job-types lists those known")
