"""Many jobs from a file: one payload per line, as many at a time as the pool takes."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any, cast

from rich.progress import Progress

from headrace.client.aio import Client
from headrace.client.cli.output import Output
from headrace.client.cli.problems import ExitCode, UsageError
from headrace.client.cli.progress import make_bar
from headrace.client.cli.words import clean
from headrace.client.submission import Submission, SubmitOptions
from headrace.contracts.api import JobView
from headrace.contracts.errors import ApiError, QueueFullError, RateLimitedError, StoreUnavailableError
from headrace.contracts.states import JobState

_AT_ONCE = 200
_WAITED_AT_ONCE = 50
_ROOM_SECONDS = 1.0
"""How soon a full pool is tried again."""
_FOR_NOW = (QueueFullError, RateLimitedError, StoreUnavailableError)


async def submit_lines(
    client: Client, output: Output, type: str, text: str, options: SubmitOptions, *, key: str | None, follow: bool
) -> ExitCode | None:
    """Submit a job for each line that is not empty; wait while the pool is full.

    With a key, each job's idempotency key is made of it and its line number, so that the same call again makes nothing
    twice.

    Raises:
        UsageError: A line is not JSON; nothing was submitted.
    """
    payloads = _parse(text)
    prefix = key or uuid.uuid4().hex
    jobs = [
        cast("Submission", {**options, "type": type, "payload": payload, "idempotency_key": f"{prefix}-{number}"})
        for number, payload in payloads
    ]
    with _bar(output) as bar:
        outcomes = await _submit_all(client, jobs, bar)
        ids = [outcome.id for outcome in outcomes if isinstance(outcome, JobView)]
        ended = await _wait_all(client, ids, bar) if follow else []
    refused = [
        {"line": number, "code": outcome.code, "detail": outcome.detail}
        for (number, _), outcome in zip(payloads, outcomes, strict=True)
        if isinstance(outcome, ApiError)
    ]
    states = {str(state): count for state in JobState if (count := sum(1 for job in ended if job.state is state))}
    if output.as_json:
        output.document(
            {"submitted": len(ids), "refused": refused, "ids": ids} | ({"states": states} if follow else {})
        )
    else:
        output.say(f"{len(ids)} submitted, {len(refused)} refused" + "".join(f", {states[s]} {s}" for s in states))
        for refusal in refused[:20]:
            output.warn(f"line {refusal['line']}: {refusal['code']}: {clean(str(refusal['detail']))}")
    if refused:
        return ExitCode.REFUSED
    return ExitCode.JOB_FAILED if any(job.state is not JobState.COMPLETED for job in ended) else None


def _parse(text: str) -> list[tuple[int, Any]]:
    payloads = []
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            payloads.append((number, json.loads(line)))
        except ValueError as error:
            raise UsageError(f"line {number} must be a JSON value: {error}") from None
    return payloads


async def _submit_all(client: Client, jobs: Sequence[Submission], bar: Progress | None) -> list[JobView | ApiError]:
    task = None if bar is None else bar.add_task("submitting", total=len(jobs))
    outcomes: dict[int, JobView | ApiError] = {}
    left = list(range(len(jobs)))
    while left:
        now, left = left[:_AT_ONCE], left[_AT_ONCE:]
        found = dict(zip(now, await client.submit_many([jobs[index] for index in now]), strict=True))
        full = [index for index, outcome in found.items() if isinstance(outcome, _FOR_NOW)]
        outcomes |= {index: outcome for index, outcome in found.items() if index not in set(full)}
        left = full + left
        if bar is not None and task is not None:
            words = "the pool is full, waiting for room" if full else "submitting"
            bar.update(task, completed=len(outcomes), description=words)
        if full:
            await asyncio.sleep(_ROOM_SECONDS)
    return [outcomes[index] for index in range(len(jobs))]


async def _wait_all(client: Client, ids: Sequence[str], bar: Progress | None) -> list[JobView]:
    task = None if bar is None else bar.add_task("waiting for their ends", total=len(ids))
    ended: list[JobView] = []
    for first in range(0, len(ids), _WAITED_AT_ONCE):
        ended += await client.wait_all(ids[first : first + _WAITED_AT_ONCE])
        if bar is not None and task is not None:
            bar.update(task, completed=len(ended))
    return ended


def _bar(output: Output) -> Any:
    return make_bar(output.console, unit="jobs") if output.is_live else nullcontext()
