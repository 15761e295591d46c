"""Executors that sleep, fail, die and block on purpose. Workers see them only with JOB_TEST_MODE=1."""

from __future__ import annotations

import asyncio
import ctypes
import json
import os
import signal
import socket
import time
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from headrace.contracts.executor import ExecutionPolicy, JobContext, JobExecutor, PermanentError, Retry
from headrace.contracts.retry import RetryPolicy

TEST_POOL = "test"
QUICK = RetryPolicy(base_seconds=0.05, cap_seconds=0.2)


class EffectPayload(BaseModel):
    """Base: where to note what was done, so that it survives a SIGKILL."""

    model_config = ConfigDict(extra="forbid")

    effects: Path | None = None
    """A file that takes everything: job id, attempt, process, phase, and the machine's monotonic clock."""
    fenced: Path | None = None
    """A Unix socket that is told the same and may refuse an attempt older than one it has seen."""

    def note(self, context: JobContext, phase: str) -> None:
        """Append one line; appends of this size are whole even when processes race."""
        if self.effects is None:
            return
        line = _effect(context, phase)
        descriptor = os.open(self.effects, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            os.write(descriptor, line.encode())
        finally:
            os.close(descriptor)

    async def tell(self, context: JobContext, phase: str) -> None:
        """Tell the fenced sink and wait for its word, whatever it is; without a sink nothing happens."""
        if self.fenced is None:
            return
        try:
            async with asyncio.timeout(2):
                reader, writer = await asyncio.open_unix_connection(self.fenced)
                writer.write(_effect(context, phase).encode())
                await reader.readline()
                writer.close()
        except OSError:  # also a timeout: it is a witness, and the job goes on without it
            return


def _effect(context: JobContext, phase: str) -> str:
    return json.dumps([context.job_id, context.attempt, os.getpid(), phase, time.monotonic()]) + "\n"


def read_effects(path: Path) -> list[tuple[str, int, int, str]]:
    """The noted lines: job id, attempt, process, phase."""
    if not path.exists():
        return []
    return [tuple(json.loads(line)[:4]) for line in path.read_text(encoding="utf-8").splitlines()]


class SleepPayload(EffectPayload):
    """How long to sleep."""

    seconds: float = Field(default=0.1, ge=0)
    result: Any = None


class Sleep(JobExecutor[SleepPayload]):
    """Sleeps on the event loop and returns `result`."""

    job_type = "test.sleep"
    payload_model = SleepPayload
    policy = ExecutionPolicy(pool=TEST_POOL, retry=QUICK)

    async def execute(self, context: JobContext, payload: SleepPayload) -> JsonValue:
        """Sleep."""
        payload.note(context, "start")
        await payload.tell(context, "start")
        await asyncio.sleep(payload.seconds)
        await payload.tell(context, "end")
        payload.note(context, "end")
        result: JsonValue = payload.result
        return result


class FailPayload(EffectPayload):
    """How to fail."""

    until_attempt: int = 1
    how: str = "error"
    message: str = "asked to fail"
    delay_seconds: float | None = None


class Fail(JobExecutor[FailPayload]):
    """Fails up to and including attempt `until_attempt`: by `error`, `permanent` or `retry`. A plain function."""

    job_type = "test.fail"
    payload_model = FailPayload
    policy = ExecutionPolicy(pool=TEST_POOL, retry=QUICK)

    def execute(self, context: JobContext, payload: FailPayload) -> JsonValue:
        """Fail, or return the attempt."""
        payload.note(context, "start")
        if context.attempt > payload.until_attempt:
            return context.attempt
        if payload.how == "permanent":
            raise PermanentError(payload.message)
        if payload.how == "retry":
            raise Retry(payload.message, delay_seconds=payload.delay_seconds)
        raise RuntimeError(payload.message)


class StepsPayload(EffectPayload):
    """How many steps to do."""

    steps: int = Field(default=5, ge=1)
    seconds: float = Field(default=0.05, ge=0)


class Steps(JobExecutor[StepsPayload]):
    """Does steps one by one, each followed by a checkpoint, and goes on where the last attempt was."""

    job_type = "test.steps"
    payload_model = StepsPayload
    policy = ExecutionPolicy(pool=TEST_POOL, retry=QUICK)

    async def execute(self, context: JobContext, payload: StepsPayload) -> JsonValue:
        """Do what is left of the steps."""
        done = context.checkpoint if isinstance(context.checkpoint, int) else 0
        for step in range(done, payload.steps):
            payload.note(context, f"step-{step}")
            await payload.tell(context, f"step-{step}")
            await asyncio.sleep(payload.seconds)
            await context.save_checkpoint(step + 1)
            await context.report_progress((step + 1) / payload.steps, f"{step + 1} of {payload.steps} steps")
        return payload.steps


class DiePayload(EffectPayload):
    """When to die."""

    until_attempt: int = 1000
    after_seconds: float = 0.0
    how: Literal["signal", "segfault", "memory"] = "signal"
    """`memory`: it takes `megabytes` and waits to be ended for it, as long as `patience_seconds`."""
    megabytes: int = Field(default=600, ge=1, le=4096)
    patience_seconds: float = Field(default=10.0, ge=0)


class Die(JobExecutor[DiePayload]):
    """Has its own process killed, up to and including attempt `until_attempt`."""

    job_type = "test.die"
    payload_model = DiePayload
    policy = ExecutionPolicy(pool=TEST_POOL, retry=QUICK)

    async def execute(self, context: JobContext, payload: DiePayload) -> JsonValue:
        """Die, or return the attempt."""
        payload.note(context, "start")
        if context.attempt <= payload.until_attempt:
            await asyncio.sleep(payload.after_seconds)
            if payload.how == "signal":
                os.kill(os.getpid(), signal.SIGKILL)
            if payload.how == "segfault":
                ctypes.string_at(0)
            taken = b"x" * (payload.megabytes * 1_048_576)  # written, so that it counts
            await asyncio.sleep(payload.patience_seconds)
            del taken
        return context.attempt


class BlockPayload(EffectPayload):
    """How long to block, and whether to look at the cancel flag."""

    seconds: float = 1.0
    cooperative: bool = False
    slices: bool = True
    """False: one sleep inside C, which no exception can end."""
    receives: bool = False
    """Whether it waits for a peer that says nothing, however long; no exception ends that either."""
    hold_gil: bool = False
    """Whether that sleep keeps Python's lock, so that no other thread of the process turns."""


class Block(JobExecutor[BlockPayload]):
    """A plain function that blocks its thread."""

    job_type = "test.block"
    payload_model = BlockPayload
    policy = ExecutionPolicy(pool=TEST_POOL, retry=QUICK)

    def execute(self, context: JobContext, payload: BlockPayload) -> JsonValue:
        """Block."""
        payload.note(context, "start")
        if payload.hold_gil:
            ctypes.PyDLL(None).usleep(int(payload.seconds * 1e6))
            payload.note(context, "end")
            return "slept"
        if payload.receives:
            here, _peer = socket.socketpair()
            here.recv(1)
        if not payload.slices:
            time.sleep(payload.seconds)
            return "slept"
        until = time.monotonic() + payload.seconds
        while time.monotonic() < until:
            if payload.cooperative and context.cancelled:
                context.sync.report_progress(0.5)  # raises: the attempt is over
            time.sleep(0.01)
        payload.note(context, "end")
        return "slept"
