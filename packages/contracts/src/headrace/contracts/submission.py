"""What a client sends to have a job done."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from headrace.contracts.job import Priority
from headrace.contracts.values import JsonInt, Timestamp, TypeName

MAX_DELAY_SECONDS = 366 * 24 * 3600
Tag = Annotated[str, StringConstraints(max_length=200)]
TagName = Annotated[str, StringConstraints(min_length=1, max_length=100, pattern=r"^[A-Za-z0-9_.-]+$")]
IdempotencyKey = Annotated[str, StringConstraints(min_length=1, max_length=200, pattern=r"^[\x21-\x7e]+$")]


class JobSubmission(BaseModel):
    """The body of `POST /v1/jobs`. Only `type` and `payload` are required.

    `payload` is any JSON; the scheduler keeps its text as it came and checks it against the schema of its type.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    type: TypeName
    payload: Any
    priority: Priority = Field(default=Priority.MEDIUM, strict=False)
    delay_seconds: float | None = Field(default=None, ge=0, le=MAX_DELAY_SECONDS, allow_inf_nan=False)
    run_at: Timestamp | None = None
    timeout_seconds: JsonInt | None = Field(default=None, ge=1, le=604_800)
    max_retries: JsonInt | None = Field(default=None, ge=0, le=100)
    expires_in_seconds: float | None = Field(default=None, gt=0, le=MAX_DELAY_SECONDS, allow_inf_nan=False)
    unique_key: str | None = Field(default=None, min_length=1, max_length=200)
    tags: dict[TagName, Tag] = Field(default_factory=dict, max_length=20)

    @model_validator(mode="after")
    def _one_way_to_delay(self) -> JobSubmission:
        # A delay of 0 is the documented default and may stand beside run_at: it asks for nothing.
        if self.delay_seconds and self.run_at is not None:
            raise ValueError("delay_seconds and run_at exclude each other")
        return self


MAX_BATCH_JOBS = 1000


class BatchItem(JobSubmission):
    """One job of a batch: a submission with its own idempotency key."""

    idempotency_key: IdempotencyKey | None = None


class JobBatch(BaseModel):
    """The body of `POST /v1/jobs/batch`. Each item stands for itself."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    jobs: list[BatchItem] = Field(max_length=MAX_BATCH_JOBS)
