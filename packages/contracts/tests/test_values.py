"""Small shared values: times, heartbeats and events survive JSON."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from headrace.contracts.events import EVENT_OF_TERMINAL, EventName, JobEvent
from headrace.contracts.heartbeat import ChildBeat, Heartbeat, Incarnation, RunningJob
from headrace.contracts.states import TERMINAL, JobState
from headrace.contracts.values import JsonInt, Timestamp, to_rfc3339

NOW = datetime(2025, 3, 4, 5, 6, 7, 891_000, tzinfo=UTC)


@given(st.datetimes(datetime(1970, 1, 2), datetime(9000, 1, 1), timezones=st.just(UTC)), st.integers(-14, 14))
def test_a_time_is_written_in_utc_and_read_back_to_the_millisecond(moment: datetime, hours: int) -> None:
    adapter: TypeAdapter[datetime] = TypeAdapter(Timestamp)
    elsewhere = moment.astimezone(timezone(timedelta(hours=hours)))
    text = to_rfc3339(elsewhere)
    assert len(text) == len("2025-03-04T05:06:07.891Z")
    assert adapter.validate_python(text) == adapter.validate_python(elsewhere) <= moment
    assert adapter.dump_json(adapter.validate_python(moment)) == f'"{text}"'.encode()
    assert moment - adapter.validate_python(text) < timedelta(milliseconds=1)


def test_the_schema_of_a_time_and_of_an_integer_is_that_of_json_schema() -> None:
    assert TypeAdapter(Timestamp).json_schema() == {"type": "string", "format": "date-time"}
    assert TypeAdapter(JsonInt).json_schema() == {"type": "integer"}


def test_a_heartbeat_survives_json() -> None:
    child = ChildBeat(
        incarnation="w-1", pid=2, pool="p", slots=1, busy=1, rss_bytes=3, cpu_seconds=0.5,
        running=(RunningJob(id="j", attempt=1, seconds=0.1),),
    )  # fmt: skip
    beat = Heartbeat(service="s", host="h", pid=1, version="0", at=NOW, slots=1, busy=1, children=(child,))
    assert Heartbeat.model_validate_json(beat.model_dump_json()) == beat


def test_an_incarnation_of_which_nobody_knows_what_it_ran_says_so() -> None:
    incarnation = Incarnation(id="w", service="s", host="h", pool="p", started_at=NOW, lease_until=NOW)
    assert incarnation.running is None
    assert incarnation.dead_at is None


def test_an_event_survives_json_and_every_end_has_its_own() -> None:
    event = JobEvent(event=EventName.STARTED, id="j", type="t", pool="p", state=JobState.PROCESSING, attempt=1, at=NOW)
    assert JobEvent.model_validate_json(event.model_dump_json()) == event
    assert set(EVENT_OF_TERMINAL) == TERMINAL
    assert {event.value for event in EVENT_OF_TERMINAL.values()} == {"job.completed", "job.failed", "job.cancelled"}


def test_a_year_of_long_ago_is_written_with_four_digits() -> None:
    assert to_rfc3339(datetime(323, 3, 16, 18, 6, 52, 300_999, tzinfo=UTC)) == "0323-03-16T18:06:52.300Z"
