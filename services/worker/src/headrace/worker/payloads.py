"""From the stored text of a payload to the model that an executor is given."""

from __future__ import annotations

import json
from typing import Any

from pydantic import ValidationError

from headrace.contracts.errors import PermanentError
from headrace.contracts.executor import JobExecutor
from headrace.contracts.job import Job, JsonText


class InvalidPayload(PermanentError):  # noqa: N818  -- becomes the error type of the job
    """The payload does not fit the installed model; another attempt would find the same."""


def payload_of(executor: JobExecutor[Any], job: Job) -> Any:
    """The payload of a job, as its executor is given it.

    Raises:
        InvalidPayload: It does not fit the model; the message names each field and the rule, never a value.
        Exception: Whatever the executor's `upcast` raises.
    """
    try:
        return read_payload(executor, job.payload, job.contract_version)
    except ValidationError as error:
        problems = "; ".join(
            f"{'.'.join(map(str, problem['loc']))}: {problem['msg']}"
            for problem in error.errors(include_input=False, include_url=False, include_context=False)
        )
        raise InvalidPayload(problems) from None


def read_payload(executor: JobExecutor[Any] | type[JobExecutor[Any]], text: JsonText, version: int) -> Any:
    """Upcast a payload if it was submitted under another version, and validate it.

    It is validated as JSON either way, so a model sees the same whatever the version was.

    Args:
        executor: The executor of its type, or its class.
        text: The payload as stored.
        version: The job's `contract_version`.

    Raises:
        ValidationError: It does not fit the model.
        Exception: Whatever the executor's `upcast` raises.
    """
    if version != executor.contract_version:
        text = json.dumps(executor.upcast(json.loads(text), version), allow_nan=False)
    return executor.payload_model.model_validate_json(text)
