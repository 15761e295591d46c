"""The body of a submission, rule by rule, as JSON text, because that is how it arrives."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from pydantic import ValidationError

from headrace.contracts.job import Priority
from headrace.contracts.submission import JobSubmission

EXAMPLE = {
    "type": "crawl",
    "payload": {"start_urls": ["http://127.0.0.1:8600/"], "max_pages": 500},
    "priority": "high",
    "delay_seconds": 0,
    "run_at": None,
    "timeout_seconds": 3600,
    "max_retries": 3,
    "expires_in_seconds": None,
    "unique_key": None,
    "tags": {"team": "search"},
}
YEAR = 366 * 24 * 3600


def parse(**fields: Any) -> JobSubmission:
    return JobSubmission.model_validate_json(json.dumps({"type": "t", "payload": {}} | fields))


def refused_at(**fields: Any) -> tuple[Any, ...]:
    with pytest.raises(ValidationError) as caught:
        parse(**fields)
    (error,) = caught.value.errors()
    return error["loc"]


def test_the_example_of_the_page_is_taken() -> None:
    submission = parse(**EXAMPLE)
    assert submission.priority is Priority.HIGH
    assert submission.payload == EXAMPLE["payload"]
    assert submission.tags == {"team": "search"}


def test_only_type_and_payload_are_required() -> None:
    submission = parse()
    assert submission.priority is Priority.MEDIUM
    assert submission.model_dump(exclude={"type", "payload", "priority", "tags"}) == {
        "delay_seconds": None,
        "run_at": None,
        "timeout_seconds": None,
        "max_retries": None,
        "expires_in_seconds": None,
        "unique_key": None,
    }
    for missing in ("type", "payload"):
        body = {"type": "t", "payload": {}}
        del body[missing]
        with pytest.raises(ValidationError, match=missing):
            JobSubmission.model_validate_json(json.dumps(body))


@pytest.mark.parametrize("payload", [None, 0, "x", [1, [2]], {"$where": 1, "a.b": {"$ne": None}}, True, 10**40])
def test_a_payload_is_any_json(payload: Any) -> None:
    assert parse(payload=payload).payload == payload


@pytest.mark.parametrize("name", ["a", "crawl", "A.b-c_9", "x" * 100])
def test_a_type_is_a_plain_name(name: str) -> None:
    assert parse(type=name).type == name


@pytest.mark.parametrize("name", ["", "x" * 101, ".a", "-a", "a b", "a/b", "ä", "a\n", "$where", None, 7, ["a"]])
def test_other_types_are_refused(name: Any) -> None:
    assert refused_at(type=name) == ("type",)


@pytest.mark.parametrize("value", ["urgent", "HIGH", 0, True, None, ["high"]])
def test_other_priorities_are_refused(value: Any) -> None:
    assert refused_at(priority=value) == ("priority",)


@pytest.mark.parametrize("value", [1, 9, 9.0, 604_800])
def test_a_timeout_is_a_whole_number_of_seconds_also_when_written_with_a_point(value: float) -> None:
    timeout = parse(timeout_seconds=value).timeout_seconds
    assert timeout == value
    assert type(timeout) is int


@pytest.mark.parametrize("value", [0, -1, 604_801, 9.5, "9", True, [], 1e300])
def test_other_timeouts_are_refused(value: Any) -> None:
    assert refused_at(timeout_seconds=value) == ("timeout_seconds",)


@pytest.mark.parametrize("value", [0, 3, 3.0, 100])
def test_retries_are_taken_from_none_to_a_hundred(value: float) -> None:
    assert parse(max_retries=value).max_retries == value


@pytest.mark.parametrize("value", [-1, 101, 0.5, "3", False])
def test_other_retries_are_refused(value: Any) -> None:
    assert refused_at(max_retries=value) == ("max_retries",)


@pytest.mark.parametrize("value", [0, 0.25, 60, YEAR])
def test_a_delay_may_have_fractions(value: float) -> None:
    assert parse(delay_seconds=value).delay_seconds == value


@pytest.mark.parametrize("value", [-0.1, YEAR + 1, "60", True, 10**30])
def test_other_delays_are_refused(value: Any) -> None:
    assert refused_at(delay_seconds=value) == ("delay_seconds",)


@pytest.mark.parametrize("field", ["delay_seconds", "expires_in_seconds"])
@pytest.mark.parametrize("word", ["NaN", "Infinity", "-Infinity"])
def test_numbers_that_json_does_not_have_are_refused(field: str, word: str) -> None:
    with pytest.raises(ValidationError):
        JobSubmission.model_validate_json(f'{{"type": "t", "payload": 1, "{field}": {word}}}')


@pytest.mark.parametrize("value", [0, -1, YEAR + 1, "1", True])
def test_an_expiry_lies_ahead(value: Any) -> None:
    assert refused_at(expires_in_seconds=value) == ("expires_in_seconds",)
    assert parse(expires_in_seconds=0.5).expires_in_seconds == 0.5


@pytest.mark.parametrize(
    "text", ["2030-01-02T03:04:05.678Z", "2030-01-02T05:04:05.678999+02:00", "2030-01-02T03:04:05.678+00:00"]
)
def test_a_time_is_kept_in_utc_with_milliseconds(text: str) -> None:
    assert parse(run_at=text).run_at == datetime(2030, 1, 2, 3, 4, 5, 678_000, tzinfo=UTC)


@pytest.mark.parametrize("value", [0, 1_700_000_000, "2030-01-02T03:04:05", "2030-01-02", "soon", "", True])
def test_other_times_are_refused(value: Any) -> None:
    assert refused_at(run_at=value) == ("run_at",)


def test_there_is_one_way_to_delay() -> None:
    with pytest.raises(ValidationError, match="exclude each other"):
        parse(delay_seconds=1, run_at="2030-01-02T03:04:05Z")
    assert parse(delay_seconds=0, run_at="2030-01-02T03:04:05Z").delay_seconds == 0
    assert parse(delay_seconds=1, run_at=None).run_at is None


@pytest.mark.parametrize("value", ["", "x" * 201, 7, ["k"]])
def test_a_unique_key_is_a_text_of_bounded_length(value: Any) -> None:
    assert refused_at(unique_key=value) == ("unique_key",)
    assert parse(unique_key="$x" * 100).unique_key == "$x" * 100


def test_tags_are_bounded_in_number_and_length() -> None:
    assert len(parse(tags={f"t{i}": "x" * 200 for i in range(20)}).tags) == 20
    assert refused_at(tags={f"t{i}": "" for i in range(21)}) == ("tags",)
    assert refused_at(tags={"t": "x" * 201})[0] == "tags"
    for name in ("", "x" * 101, "a:b", "a b", "$a"):
        assert refused_at(tags={name: "v"})[0] == "tags"
    for value in (1, None, ["x"]):
        assert refused_at(tags={"t": value})[0] == "tags"


@pytest.mark.parametrize("field", ["state", "attempt", "owner", "log", "tenant", "pool", "id", "Type"])
def test_a_client_sets_nothing_else(field: str) -> None:
    assert refused_at(**{field: "x"}) == (field,)


@pytest.mark.parametrize("body", ["[]", "1", '"x"', "null", "{", "", '{"type": "t"} x'])
def test_a_body_that_is_no_object_is_refused(body: str) -> None:
    with pytest.raises(ValidationError):
        JobSubmission.model_validate_json(body)
