"""Jobs as answers. Payload and result are spliced in as they are stored, digit for digit."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from functools import lru_cache
from typing import Any

import msgspec
from aiohttp import web

from headrace.contracts.api import ErrorView, ProgressView
from headrace.contracts.job import Job, Priority
from headrace.contracts.states import JobState
from headrace.contracts.values import to_rfc3339
from headrace.runtime.web.responses import json_text_response

_NULL = msgspec.Raw(b"null")
_PRIORITIES = {priority.rank: priority.value for priority in Priority}


def job_response(job: Job, status: int = 200, headers: Mapping[str, str] | None = None) -> web.Response:
    """The job view as an answer."""
    return json_text_response(msgspec.json.encode(job_view(job)).decode(), status, headers)


def job_view(job: Job) -> dict[str, Any]:
    """The job view, with payload and result as raw JSON for msgspec.

    Spelled out field by field, since batches show a thousand jobs at once; a test compares it with the model.
    """
    return {
        "id": job.id,
        "type": job.type,
        "pool": job.pool,
        "priority": _PRIORITIES[job.priority],
        "state": job.state.value,
        "indexed": job.indexed or job.state is not JobState.QUEUED,
        "attempt": job.attempt,
        "failures": job.failures,
        "crashes": job.crashes,
        "max_retries": job.max_retries,
        "timeout_seconds": float(job.timeout_seconds),
        "created_at": _text(job.created_at),
        "run_at": _text(job.run_at),
        "claimed_at": _text(job.claimed_at),
        "started_at": _text(job.started_at),
        "finished_at": _text(job.finished_at),
        "progress": ProgressView(**job.progress.model_dump()).model_dump(mode="json") if job.progress else None,
        "checkpoint_at": _text(job.checkpoint_at),
        "cancel_requested_at": _text(job.cancel_requested_at),
        "error": ErrorView.of(job.error).model_dump(mode="json") if job.error else None,
        "tags": job.tags,
        "owner": job.owner,
        "unique_key": job.unique_key,
        "replay_of": job.replay_of,
        "discarded_at": _text(job.discarded_at),
        "payload": msgspec.Raw(job.payload),
        "result": _NULL if job.result is None else msgspec.Raw(job.result),
    }


@lru_cache(maxsize=256)
def _text(moment: datetime | None) -> str | None:
    return None if moment is None else to_rfc3339(moment)
