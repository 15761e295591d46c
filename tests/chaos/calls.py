"""HTTP calls to a scheduler as operations of the history: what is certain, what is not, and never a guess between."""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Any

import aiohttp

from .history import Operation
from .recorder import Recorder

TIMEOUT = aiohttp.ClientTimeout(total=8, sock_connect=2)


@dataclass(frozen=True)
class Submission:
    """A job to be asked for, as often as needed: the same key, body and tag each time."""

    body: Mapping[str, Any]
    key: str | None
    tag: str
    pool: str = "test"

    @property
    def digest(self) -> str:
        """Of the body."""
        return sha256(json.dumps(self.body, sort_keys=True).encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Answer:
    """What came back. `status` 0: nothing did."""

    status: int
    body: Mapping[str, Any]
    retry_after: float | None = None
    error: str | None = None

    @property
    def problem(self) -> str | None:
        """The code of a problem."""
        kind = self.body.get("type") if self.status >= 300 else None
        return str(kind).rpartition("/")[2] if kind else None

    @property
    def outcome(self) -> str:
        """Of a write."""
        if 200 <= self.status < 300:
            return "ok"
        if 400 <= self.status < 500 or (self.status == 503 and self.problem == "store-unavailable"):
            return "fail"
        return "info"


class Calls:
    """Calls of many logical clients; each is recorded when it has ended, or at the latest by `close`."""

    def __init__(self, recorder: Recorder, session: aiohttp.ClientSession) -> None:
        self._recorder = recorder
        self._session = session
        self._index = itertools.count()
        self._open: dict[int, Operation] = {}

    async def submit(self, url: str, client: str, wanted: Submission) -> Operation:
        """`POST /v1/jobs`."""
        operation = self._begin(client, "submit", **_asked(wanted))
        headers = {"Idempotency-Key": wanted.key} if wanted.key else {}
        return self._end(operation, await self._send("POST", f"{url}/v1/jobs", headers=headers, body=wanted.body))

    async def submit_many(self, url: str, client: str, wanted: Sequence[Submission]) -> list[Operation]:
        """`POST /v1/jobs/batch`: one operation per item."""
        operations = [self._begin(client, "submit", batched=True, **_asked(item)) for item in wanted]
        items = [{**item.body, **({"idempotency_key": item.key} if item.key else {})} for item in wanted]
        answer = await self._send("POST", f"{url}/v1/jobs/batch", body={"jobs": items})
        if answer.status != 200:
            return [self._end(operation, answer) for operation in operations]
        return [
            self._end(operation, Answer(item["status"], item.get("job") or item.get("problem") or {}))
            for operation, item in zip(operations, answer.body["results"], strict=True)
        ]

    async def get(self, url: str, client: str, job_id: str) -> Operation:
        """`GET /v1/jobs/{id}`."""
        operation = self._begin(client, "get", job_id=job_id)
        return self._end(operation, await self._send("GET", f"{url}/v1/jobs/{job_id}"))

    async def history(self, url: str, client: str, job_id: str) -> Operation:
        """`GET /v1/jobs/{id}/history`."""
        operation = self._begin(client, "history", job_id=job_id)
        return self._end(operation, await self._send("GET", f"{url}/v1/jobs/{job_id}/history"))

    async def cancel(self, url: str, client: str, job_id: str) -> Operation:
        """`POST /v1/jobs/{id}/cancel`."""
        operation = self._begin(client, "cancel", job_id=job_id)
        return self._end(operation, await self._send("POST", f"{url}/v1/jobs/{job_id}/cancel"))

    def close(self) -> None:
        """Record the calls that have no answer yet, as what they are."""
        for operation in list(self._open.values()):
            self._recorder.add("operation", operation)
        self._open.clear()

    async def _send(
        self, method: str, url: str, *, headers: Mapping[str, str] | None = None, body: Any = None
    ) -> Answer:
        try:
            async with self._session.request(method, url, headers=headers, json=body, timeout=TIMEOUT) as response:
                found = await response.read()
                retry_after = response.headers.get("Retry-After")
                return Answer(
                    response.status, json.loads(found) if found else {}, float(retry_after) if retry_after else None
                )
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            # Even a refused connection is no proof here: a proxy stands between and cannot say what it passed on.
            return Answer(0, {}, error=f"{type(error).__name__}: {error}")

    def _begin(self, client: str, op: str, **asked: Any) -> Operation:
        operation = Operation(
            index=next(self._index), client=client, op=op, invoked=self._recorder.clock.now(), **asked
        )
        self._open[operation.index] = operation
        return operation

    def _end(self, operation: Operation, answer: Answer) -> Operation:
        if operation.index not in self._open:
            return operation
        del self._open[operation.index]
        body = answer.body
        is_read = operation.op in {"get", "history"}
        shown = body if operation.op != "history" and answer.outcome == "ok" else {}
        transitions = body.get("transitions") if operation.op == "history" else None
        ended = replace(
            operation,
            completed=self._recorder.clock.now(),
            outcome="ok" if is_read and answer.status == 404 else answer.outcome,
            status=answer.status or None,
            problem=answer.problem,
            retry_after=answer.retry_after,
            job_id=operation.job_id or body.get("id"),
            state=shown.get("state"),
            attempt=shown.get("attempt"),
            log_length=None if transitions is None else transitions_length(body),
            cancel_requested=shown["cancel_requested_at"] is not None if "cancel_requested_at" in shown else None,
            echoed_tag=(shown.get("tags") or {}).get("tag"),
            error=answer.error,
        )
        self._recorder.add("operation", ended)
        return ended


def transitions_length(body: Mapping[str, Any]) -> int:
    """How many steps the job has made, by an answered history: it may show the last ones only."""
    transitions = body["transitions"]
    return int(transitions[-1]["seq"]) + 1 if transitions else 0


def _asked(wanted: Submission) -> dict[str, Any]:
    body = wanted.body
    return {
        "pool": wanted.pool,
        "job_type": body["type"],
        "priority": {"high": 0, "medium": 1, "low": 2}[body.get("priority", "medium")],
        "key": wanted.key,
        "digest": wanted.digest,
        "tag": wanted.tag,
    }
