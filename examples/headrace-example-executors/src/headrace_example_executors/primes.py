"""`example.primes`: counts primes piece by piece. After a crash it goes on behind the last piece it has saved."""

from __future__ import annotations

import asyncio
import math

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from headrace.contracts.executor import ExecutionPolicy, JobContext, JobExecutor


class PrimesPayload(BaseModel):
    """How far to count, and how many numbers make a piece."""

    model_config = ConfigDict(extra="forbid")

    up_to: int = Field(ge=0, le=10**9)
    piece: int = Field(default=100_000, ge=1, le=10**7)


class State(BaseModel):
    """The checkpoint: everything below `next` is counted."""

    next: int = 2
    count: int = 0
    largest: int | None = None


class Primes(JobExecutor[PrimesPayload]):
    """A sieve in pieces. A checkpoint holds the counts and where to go on; pieces are never counted twice."""

    job_type = "example.primes"
    payload_model = PrimesPayload
    policy = ExecutionPolicy(pool="example-cpu", timeout_seconds=3600)
    contract_version = 2

    @classmethod
    def upcast(cls, payload: JsonValue, version: int) -> JsonValue:
        """Version 1 called `up_to` `limit`."""
        if version == 1 and isinstance(payload, dict) and "limit" in payload:
            return {"up_to": payload["limit"]}
        return super().upcast(payload, version)

    async def execute(self, context: JobContext, payload: PrimesPayload) -> JsonValue:
        """Return `{"count": number, "largest": number or null}`."""
        state = State() if context.checkpoint is None else State.model_validate(context.checkpoint)
        end = payload.up_to + 1
        while state.next < end:
            upper = min(state.next + payload.piece, end)
            primes = await asyncio.to_thread(primes_between, state.next, upper)
            state = State(next=upper, count=state.count + len(primes), largest=primes[-1] if primes else state.largest)
            await context.save_checkpoint(state.model_dump())
            await context.report_progress(upper / end, f"{state.count} primes below {upper}")
        return {"count": state.count, "largest": state.largest}


def primes_between(lower: int, upper: int) -> list[int]:
    """The primes from `lower` (2 or more) up to and without `upper`."""
    is_prime = bytearray(b"\1") * (upper - lower)
    for factor in range(2, math.isqrt(max(0, upper - 1)) + 1):
        first = max(factor * factor, -(-lower // factor) * factor)
        is_prime[first - lower :: factor] = bytes(len(range(first, upper, factor)))
    return [lower + at for at, yes in enumerate(is_prime) if yes]
