"""What requests may ask for in their queries and headers."""

from __future__ import annotations

import base64
import binascii
import re
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints

from headrace.contracts.job import Priority
from headrace.contracts.operations import Fingerprint
from headrace.contracts.states import JobState
from headrace.contracts.submission import IdempotencyKey
from headrace.contracts.values import PoolName, Timestamp, TypeName
from headrace.runtime.store.reads import ID_PATTERN, JobQuery

POOL_PATTERN = re.compile(r"[a-z0-9][a-z0-9._-]{0,59}")
"""What a pool's name looks like."""
MAX_LIMIT = 200
DEFAULT_LIMIT = 50
MAX_CURSOR_CHARACTERS = 200


def to_cursor(job_id: str) -> str:
    """The cursor of the page after this job."""
    return base64.urlsafe_b64encode(job_id.encode()).decode()


def _from_cursor(cursor: str) -> str:
    try:
        job_id = base64.b64decode(cursor, altchars=b"-_", validate=True).decode("ascii")
    except (binascii.Error, ValueError):
        job_id = ""
    if not ID_PATTERN.fullmatch(job_id):
        raise ValueError("must be a next_cursor of an earlier answer")
    return job_id


Cursor = Annotated[str, StringConstraints(max_length=MAX_CURSOR_CHARACTERS), AfterValidator(_from_cursor)]
TagFilter = Annotated[str, StringConstraints(max_length=301, pattern=r"^[A-Za-z0-9_.-]{1,100}:")]


class ListQuery(BaseModel):
    """The query of `GET /v1/jobs`. Everything given must hold."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    state: JobState | None = None
    type: TypeName | None = None
    pool: PoolName | None = None
    priority: Priority | None = None
    tag: TagFilter | None = None
    """`name:value`; the first colon ends the name."""
    created_after: Timestamp | None = None
    created_before: Timestamp | None = None
    cursor: Cursor | None = None
    limit: int = Field(default=DEFAULT_LIMIT, ge=1, le=MAX_LIMIT)

    def to_job_query(self, *, tenant: str | None) -> JobQuery:
        """The question to the store: one job more than asked for, to see whether there is a next page."""
        name, _, value = (self.tag or "").partition(":")
        return JobQuery(
            states=() if self.state is None else (self.state,),
            type=self.type,
            pool=self.pool,
            priority=None if self.priority is None else self.priority.rank,
            tag=None if self.tag is None else (name, value),
            tenant=tenant,
            created_after=self.created_after,
            created_before=self.created_before,
            before_id=self.cursor,
            limit=self.limit + 1,
        )


class DeadLetterQuery(BaseModel):
    """The query of `GET /v1/dead-letters`. Groups come all at once, the largest of them."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    type: TypeName | None = None
    pool: PoolName | None = None
    fingerprint: Fingerprint | None = None
    group_by: Literal["fingerprint"] | None = None
    cursor: Cursor | None = None
    limit: int = Field(default=DEFAULT_LIMIT, ge=1, le=MAX_LIMIT)


class AuditQuery(BaseModel):
    """The query of `GET /v1/audit`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    cursor: Cursor | None = None
    limit: int = Field(default=DEFAULT_LIMIT, ge=1, le=MAX_LIMIT)


class PagesQuery(BaseModel):
    """The query of `GET /v1/jobs/{id}/pages`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    cursor: Annotated[str, StringConstraints(max_length=MAX_CURSOR_CHARACTERS)] | None = None
    limit: int = Field(default=DEFAULT_LIMIT, ge=1, le=MAX_LIMIT)


class LogsQuery(BaseModel):
    """The query of `GET /v1/jobs/{id}/logs`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    after: int = Field(default=0, ge=0, le=2**53 - 1)
    """The `next_after` of the answer before."""
    limit: int = Field(default=500, ge=1, le=1000)


class SubmitHeaders(BaseModel):
    """The headers of `POST /v1/jobs`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    idempotency_key: IdempotencyKey | None = Field(default=None, alias="Idempotency-Key")
