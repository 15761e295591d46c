"""The job that does nothing: for measuring and for trying things out."""

from __future__ import annotations

from typing import ClassVar

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from headrace.contracts.executor import ExecutionPolicy, JobContext, JobExecutor


class NoopPayload(BaseModel):
    """Nothing is needed."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    note: str = Field(default="", max_length=10_000, description="Any text; it is kept with the job and not used.")


class NoopExecutor(JobExecutor[NoopPayload]):
    """Does nothing and returns null."""

    job_type: ClassVar[str] = "noop"
    payload_model: ClassVar[type[BaseModel]] = NoopPayload
    policy: ClassVar[ExecutionPolicy] = ExecutionPolicy(pool="default", slots_per_process=10)

    def execute(self, context: JobContext, payload: NoopPayload) -> JsonValue:
        """Return at once."""
        return None
