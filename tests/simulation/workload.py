"""Jobs that do what their payload says, and note that they did."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict, JsonValue

from headrace.contracts.executor import ExecutionPolicy, JobContext, JobExecutor, PermanentError
from headrace.contracts.retry import RetryPolicy

from .loop import ACTOR
from .patches import simulation
from .worker import POOL


@dataclass(frozen=True)
class Effect:
    """Something that a job did outside."""

    phase: str
    job_id: str
    attempt: int
    actor: str


class Steps(BaseModel):
    """What to do.

    `sleep:S`, `save` (a checkpoint), `progress`, `fail:N` and `die:N` (up to attempt N), `permanent`, `hang`.
    """

    model_config = ConfigDict(extra="forbid")

    steps: list[str]


class Scripted(JobExecutor[Steps]):
    """Does its steps one after the other."""

    job_type = "sim"
    payload_model = Steps
    policy = ExecutionPolicy(pool=POOL, retry=RetryPolicy(base_seconds=0.2, cap_seconds=1.0), timeout_seconds=20)

    async def execute(self, context: JobContext, payload: Steps) -> JsonValue:
        """Do them."""
        sim = simulation()
        actor = ACTOR.get()
        sim.effects.append(Effect("start", context.job_id, context.attempt, actor))
        for step in payload.steps:
            name, _, number = step.partition(":")
            match name:
                case "sleep":
                    await asyncio.sleep(float(number))
                case "save":
                    await context.save_checkpoint(context.attempt)
                case "progress":
                    await context.report_progress(0.5, "half")
                case "fail" if context.attempt <= int(number):
                    raise RuntimeError("asked to fail")
                case "permanent":
                    raise PermanentError("asked to fail")
                case "die" if context.attempt <= int(number):
                    sim.exit(actor, -9)
                    await asyncio.sleep(3600)
                case "hang":
                    await asyncio.sleep(3600)
        sim.effects.append(Effect("end", context.job_id, context.attempt, actor))
        return context.attempt
