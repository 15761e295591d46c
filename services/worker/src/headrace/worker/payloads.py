"""From the stored text of a payload to the model that an executor is given."""

from __future__ import annotations

import json
from typing import Any

from headrace.contracts.executor import JobExecutor
from headrace.contracts.job import JsonText


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
