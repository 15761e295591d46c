"""`POST /v1/jobs/batch`."""

from __future__ import annotations

from typing import Any

import msgspec
from aiohttp import web

from headrace.contracts.errors import FieldError
from headrace.contracts.submission import MAX_BATCH_JOBS
from headrace.runtime.web.auth import TOKEN
from headrace.runtime.web.body import BATCH_LIMIT_BYTES, read_raw_body
from headrace.runtime.web.problems import problem_body, refused
from headrace.runtime.web.responses import json_text_response
from headrace.scheduler.intake import Outcome, Stored
from headrace.scheduler.services import SERVICES
from headrace.scheduler.views import job_view


async def submit_batch(request: web.Request) -> web.Response:
    """Store up to a thousand jobs; always 200 once the batch itself could be read, each item with its own status."""
    services = request.app[SERVICES]
    items = _items(await read_raw_body(request, BATCH_LIMIT_BYTES))
    # Shielded: keys stay held, and what was sent is answered for, whether or not the client still listens.
    outcomes = await services.tasks.shielded(services.batches.submit(items, token=request[TOKEN]))
    results = [_result(index, outcome) for index, outcome in enumerate(outcomes)]
    return json_text_response(msgspec.json.encode({"results": results}).decode())


def _items(raw: bytes) -> list[bytes]:
    try:
        members = msgspec.json.decode(raw, type=dict[str, msgspec.Raw])
    except msgspec.ValidationError:
        raise refused([FieldError("", "model_type", "the body must be a JSON object")]) from None
    errors = [
        FieldError(f"/{name}"[:200], "extra_forbidden", "this field is not known") for name in members if name != "jobs"
    ]
    if "jobs" not in members:
        errors.append(FieldError("/jobs", "missing", "this field is missing"))
    if errors:
        raise refused(errors[:50])
    try:
        jobs = msgspec.json.decode(bytes(members["jobs"]), type=list[msgspec.Raw])
    except msgspec.ValidationError:
        raise refused([FieldError("/jobs", "list_type", "must be a list of jobs")]) from None
    if len(jobs) > MAX_BATCH_JOBS:
        raise refused([FieldError("/jobs", "too_long", f"a batch may have {MAX_BATCH_JOBS} jobs")])
    return [bytes(job) for job in jobs]


def _result(index: int, outcome: Outcome) -> dict[str, Any]:
    if isinstance(outcome, Stored):
        return {"index": index, "status": 201 if outcome.created else 200, "job": job_view(outcome.job)}
    return {"index": index, "status": outcome.status, "problem": problem_body(outcome)}
