"""What a plug-in implements, written as the page shows it."""

from __future__ import annotations

import inspect
import typing

import pytest
from pydantic import BaseModel, JsonValue, ValidationError

from headrace.contracts import errors, executor
from headrace.contracts.executor import ExecutionPolicy, JobContext, JobExecutor, SyncJobContext
from headrace.contracts.values import PoolName


class ResizePayload(BaseModel):
    width: int


class Resize(JobExecutor[ResizePayload]):
    job_type = "resize"
    payload_model = ResizePayload
    policy = ExecutionPolicy(pool="cpu", timeout_seconds=60, max_retries=2)

    async def execute(self, context: JobContext, payload: ResizePayload) -> JsonValue:
        return {"width": payload.width}


class PlainResize(Resize):
    def execute(self, context: JobContext, payload: ResizePayload) -> JsonValue:  # type: ignore[override]
        return payload.width


def test_a_coroutine_function_and_a_plain_one_are_told_apart() -> None:
    assert Resize.is_async()
    assert not PlainResize.is_async()


def test_an_executor_without_execute_cannot_be_made() -> None:
    class Nothing(JobExecutor[ResizePayload]):
        job_type = "nothing"
        payload_model = ResizePayload

    with pytest.raises(TypeError, match="execute"):
        Nothing()  # type: ignore[abstract]


def test_limits_left_out_are_those_of_the_service() -> None:
    policy = ExecutionPolicy()
    assert (policy.pool, policy.timeout_seconds, policy.max_retries) == ("default", None, None)
    assert Resize.contract_version == 1


@pytest.mark.parametrize(
    "wrong",
    [
        {"timeout_seconds": 0.5},
        {"timeout_seconds": 604_801},
        {"max_retries": -1},
        {"max_retries": 101},
        {"slots_per_process": 0},
        {"slots_per_process": 1001},
        {"pool": ""},
        {"pool": "Upper"},
        {"pool": "a{b}"},
        {"pool": "x" * 61},
        {"retries": 3},
    ],
)
def test_a_policy_outside_its_limits_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        ExecutionPolicy.model_validate(wrong)


def test_a_policy_survives_its_way_through_the_registry() -> None:
    policy = ExecutionPolicy(pool="cpu", timeout_seconds=1.5, max_retries=0)
    assert ExecutionPolicy.model_validate(policy.model_dump(mode="json")) == policy


def test_a_context_offers_what_the_page_says() -> None:
    assert {name for name in vars(JobContext) if not name.startswith("_")} == {
        "job_id", "attempt", "checkpoint", "scratch_dir", "log", "cancelled", "sync", "report_progress",
        "save_checkpoint", "dependency",
    }  # fmt: skip
    for name in ("report_progress", "save_checkpoint"):
        waiting, plain = getattr(JobContext, name), getattr(SyncJobContext, name)
        assert inspect.iscoroutinefunction(waiting)
        assert not inspect.iscoroutinefunction(plain)
        assert list(inspect.signature(waiting).parameters) == list(inspect.signature(plain).parameters)


def test_an_author_needs_one_import_line() -> None:
    for name in ("Retry", "PermanentError", "DependencyDown", "LeaseLost", "JobCancelled"):
        assert getattr(executor, name) is getattr(errors, name)
    assert set(executor.__all__) <= set(vars(executor))
    assert executor.ENTRY_POINT_GROUP == "headrace.executors"
    assert typing.get_origin(PoolName) is typing.Annotated


def test_unless_an_executor_says_otherwise_older_payloads_are_taken_as_they_are_and_newer_ones_refused() -> None:
    class Third(Resize):
        contract_version = 3

    payload: JsonValue = {"width": 1}
    assert Third.upcast(payload, 1) is payload
    assert Third.upcast(payload, 3) is payload
    with pytest.raises(ValueError, match="version 4; 3 is the newest"):
        Third.upcast(payload, 4)
