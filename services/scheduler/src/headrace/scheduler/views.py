"""Jobs as answers. Payload and result are spliced in as they are stored, digit for digit."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
from aiohttp import web

from headrace.contracts.api import JobSummary
from headrace.contracts.job import Job
from headrace.runtime.web.responses import json_text_response

_NULL = msgspec.Raw(b"null")


def job_response(job: Job, status: int = 200, headers: Mapping[str, str] | None = None) -> web.Response:
    """The job view as an answer."""
    view = JobSummary.of(job).model_dump(mode="json")
    view["payload"] = msgspec.Raw(job.payload)
    view["result"] = _NULL if job.result is None else msgspec.Raw(job.result)
    return json_text_response(msgspec.json.encode(view).decode(), status, headers)
