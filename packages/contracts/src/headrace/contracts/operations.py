"""What operators send: which dead letters to replay or discard, pauses, sizes of pools."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from headrace.contracts.values import JsonInt, PoolName, TypeName

MAX_IDS = 1000
MAX_ACTION = 10_000
SomeId = Annotated[str, StringConstraints(min_length=1, max_length=100)]
Fingerprint = Annotated[str, StringConstraints(min_length=1, max_length=200)]


class _Request(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class DeadLetterFilter(_Request):
    """Which dead letters. Everything given must hold; nothing given means all."""

    type: TypeName | None = None
    pool: PoolName | None = None
    fingerprint: Fingerprint | None = None
    ids: list[SomeId] | None = Field(default=None, max_length=MAX_IDS)


class DeadLetterAction(_Request):
    """The body of `POST /v1/dead-letters/replay` and `/discard`: at most `limit` of them, the oldest first."""

    filter: DeadLetterFilter = DeadLetterFilter()
    limit: JsonInt = Field(default=1000, ge=1, le=MAX_ACTION)
    dry_run: bool = False


class PoolPause(_Request):
    """The body of `POST /v1/pools/{name}/pause`."""

    reason: str = Field(default="", max_length=500)


class PoolPatch(_Request):
    """The body of `PATCH /v1/pools/{name}`. What is absent stays; null goes back to the default."""

    model_config = ConfigDict(json_schema_extra={"minProperties": 1})

    size_limit: JsonInt | None = Field(default=None, ge=1, le=1_000_000_000)
    min_slots: JsonInt | None = Field(default=None, ge=0, le=10_000)
    max_slots: JsonInt | None = Field(default=None, ge=0, le=10_000)

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if not self.model_fields_set:
            raise ValueError("name at least one of size_limit, min_slots and max_slots")
        if self.min_slots is not None and self.max_slots is not None and self.min_slots > self.max_slots:
            raise ValueError("min_slots may not be more than max_slots")
        return self
