"""What an executor is given: the stored payload, brought to its own version and validated."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest
from pydantic import BaseModel, ConfigDict, JsonValue, ValidationError

from headrace.contracts.executor import JobContext, JobExecutor
from headrace.worker.payloads import read_payload


class Payload(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    up_to: int
    day: date = date(2020, 1, 1)


class Third(JobExecutor[Payload]):
    job_type = "third"
    payload_model = Payload
    contract_version = 3

    @classmethod
    def upcast(cls, payload: JsonValue, version: int) -> JsonValue:
        if version == 1:
            assert isinstance(payload, dict)
            payload["up_to"] = payload.pop("limit")
            return payload
        return super().upcast(payload, version)

    def execute(self, context: JobContext, payload: Payload) -> JsonValue:
        return None


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ('{"up_to": 9, "day": "2030-01-31"}', 3),
        ('{"up_to": 9, "day": "2030-01-31"}', 2),
        ('{"limit": 9, "day": "2030-01-31"}', 1),
    ],
)
@pytest.mark.parametrize("executor", [Third, Third()])
def test_every_version_gives_the_same_model(executor: Any, text: str, version: int) -> None:
    """A strict model takes a date as text from JSON alone, so this also says how it is validated."""
    assert read_payload(executor, text, version) == Payload(up_to=9, day=date(2030, 1, 31))


def test_what_does_not_fit_is_refused_whatever_its_version() -> None:
    for text, version in (('{"limit": 9}', 3), ('{"limit": 9}', 2), ('{"limit": "x"}', 1)):
        with pytest.raises(ValidationError):
            read_payload(Third, text, version)
    with pytest.raises(KeyError):
        read_payload(Third, "{}", 1)
    with pytest.raises(ValueError, match="version 4"):
        read_payload(Third, "{}", 4)
