"""`ExecutorKit`: run a plug-in's executor in this process, without a worker and without stores.

::

    kit = ExecutorKit(Resize)
    ended = await kit.run({"width": 10})
    assert ended.result == {"width": 10}
    await kit.run_with_kills({"width": 10})
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import json
import threading
from collections.abc import Callable, Mapping
from typing import Any

from pydantic import BaseModel, JsonValue, ValidationError

from headrace.contracts.errors import JobCancelled, LeaseLost, PermanentError
from headrace.contracts.executor import JobExecutor
from headrace.testing.boundary import Boundary
from headrace.testing.builders import make_job_id
from headrace.testing.ended import Ended, KillReport, Status
from headrace.testing.memory_context import LIMIT_BYTES, Killed, MemoryContext, to_json

Payload = BaseModel | Mapping[str, Any]
"""A payload: the model, or the JSON that a client would submit."""

MakeExecutor = Callable[[], JobExecutor[Any]]


class ExecutorKit:
    """Runs one executor. Each attempt gets an executor of its own, as after the start of a worker child.

    A coroutine runs on an event loop of its own in a thread, a plain function in a thread, so what the test serves on
    its own loop (an HTTP site, say) answers meanwhile.

    Args:
        executor: The class, or what makes an executor.
        limit_bytes: How large checkpoints and results may be as JSON.
        timeout_seconds: An attempt that takes longer fails the test.
    """

    def __init__(
        self, executor: MakeExecutor, *, limit_bytes: int = LIMIT_BYTES, timeout_seconds: float = 30.0
    ) -> None:
        self.make = executor
        self._limit_bytes = limit_bytes
        self._timeout_seconds = timeout_seconds

    async def run(
        self,
        payload: Payload,
        *,
        version: int | None = None,
        job_id: str | None = None,
        attempt: int = 1,
        checkpoint: str | None = None,
        kill: Boundary | None = None,
        cancel: Boundary | None = None,
        lose: Boundary | None = None,
    ) -> Ended:
        """Run one attempt.

        Args:
            payload: Validated with the executor's model either way.
            version: The `contract_version` it was submitted under; the executor's own by default.
            job_id: A new one by default.
            attempt: Its number.
            checkpoint: What an earlier attempt saved, as JSON text.
            kill: Where its process dies. `finally` blocks do run here, which a SIGKILL would not let them.
            cancel: Where somebody cancels the job: coroutines get `CancelledError` at their next await, and every call
                of the context raises `JobCancelled` from then on.
            lose: Where the attempt is taken away: the same with `LeaseLost`.

        Raises:
            AssertionError: It did not end in time.
        """
        reached: list[Boundary] = []
        running = _Running(self.make(), job_id or make_job_id(), attempt, checkpoint, self._limit_bytes)

        def at(boundary: Boundary) -> None:
            reached.append(boundary)
            if boundary == cancel:
                running.stop(JobCancelled)
            if boundary == lose:
                running.stop(LeaseLost)
            if boundary == kill:
                running.context.die()

        running.context = MemoryContext(
            running.job_id, attempt=attempt, checkpoint=checkpoint, limit_bytes=self._limit_bytes, at=at
        )
        text = payload.model_dump_json(by_alias=True) if isinstance(payload, BaseModel) else json.dumps(dict(payload))
        try:
            await _in_thread(lambda: running.run(text, version, at), seconds=self._timeout_seconds)
        finally:
            running.context.close()
        return running.ended(reached)

    async def run_with_kills(
        self,
        payload: Payload | Callable[[], Payload],
        *,
        at_progress: bool = False,
        expected: Status = Status.COMPLETED,
        observe: Callable[[], Any] | None = None,
        at_most: int = 200,
    ) -> KillReport:
        """Kill it at every checkpoint boundary, let the next attempt go on, and compare with an uninterrupted run.

        See `headrace.testing.kills.run_with_kills`.
        """
        from headrace.testing.kills import run_kills

        return await run_kills(
            self, payload, at_progress=at_progress, expected=expected, observe=observe, at_most=at_most
        )


class _Running:
    """One attempt under way; written by its thread."""

    context: MemoryContext

    def __init__(
        self, executor: JobExecutor[Any], job_id: str, attempt: int, checkpoint: str | None, limit_bytes: int
    ) -> None:
        self.job_id = job_id
        self._executor = executor
        self._limit_bytes = limit_bytes
        self._task: asyncio.Task[Any] | None = None
        self._why: type[JobCancelled | LeaseLost] | None = None
        self._is_killed = False
        self._has_returned = False
        self._is_final = False  # whatever goes wrong now, another attempt would find the same
        self._result: JsonValue = None
        self._error: BaseException | None = None

    def stop(self, why: type[JobCancelled | LeaseLost]) -> None:
        """What a worker does when its job should stop."""
        self._why = self._why or why
        self.context.stop(why)
        if self._task is not None:
            self._task.get_loop().call_soon_threadsafe(self._task.cancel)

    def run(self, text: str, version: int | None, at: Callable[[Boundary], None]) -> None:
        """Run it to its end; what it raises is kept."""
        executor = self._executor
        try:
            at(Boundary.start())
            self.context.check()
            if version is not None and version != executor.contract_version:
                text = json.dumps(executor.upcast(json.loads(text), version), allow_nan=False)
            payload = self._payload(text)
            if executor.is_async():
                value = asyncio.run(self._await(payload))
            else:
                value = executor.execute(self.context, payload)
            self._has_returned = self._is_final = True
            at(Boundary.end())
            result = to_json(value, what="result", limit_bytes=self._limit_bytes)
        except Killed:
            self._is_killed = True
        except BaseException as error:  # noqa: BLE001 -- somebody else's code
            self._error = error
        else:
            self._result = json.loads(result)

    def _payload(self, text: str) -> Any:
        try:
            return self._executor.payload_model.model_validate_json(text)
        except ValidationError:
            self._is_final = True
            raise

    async def _await(self, payload: Any) -> Any:
        self._task = asyncio.current_task()
        try:
            return await self._executor.execute(self.context, payload)  # type: ignore[misc]  # it is a coroutine
        finally:
            self._task = None

    def ended(self, reached: list[Boundary]) -> Ended:
        """The attempt as a worker would settle it: what it was told beats what it did."""
        context = self.context
        status = self._status()
        is_own = status in {Status.COMPLETED, Status.FAILED, Status.RETRY}
        return Ended(
            status=status,
            result=self._result if status is Status.COMPLETED else None,
            error=self._error if is_own else None,
            has_returned=self._has_returned,
            checkpoint=context.saved,
            checkpoints=tuple(context.checkpoints),
            progress=tuple(context.progress),
            logs=tuple(context.log.entries),
            reached=tuple(reached),
        )

    def _status(self) -> Status:
        if self._is_killed or self.context.is_dead:
            return Status.KILLED
        if self._why is not None:
            return Status.CANCELLED if self._why is JobCancelled else Status.LOST
        if self._error is None:
            return Status.COMPLETED
        return Status.FAILED if self._is_final or isinstance(self._error, PermanentError) else Status.RETRY


async def _in_thread(work: Callable[[], None], *, seconds: float) -> None:
    # A thread of our own: one of a pool that hangs would keep the test run from its end.
    done: concurrent.futures.Future[None] = concurrent.futures.Future()

    def run() -> None:
        done.set_running_or_notify_cancel()  # from now on nobody can cancel it, so there is a place for the answer
        work()
        done.set_result(None)

    threading.Thread(target=run, name="headrace-kit", daemon=True).start()
    try:
        await asyncio.wait_for(asyncio.wrap_future(done), seconds)
    except TimeoutError:
        raise AssertionError(f"the attempt did not end within {seconds:g} s") from None
