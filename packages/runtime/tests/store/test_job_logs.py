"""Lines of jobs: appended once however often they are sent, bounded, read in stretches over all attempts."""

from __future__ import annotations

import pytest

from headrace.runtime.store.database import Database
from headrace.runtime.store.job_logs import PER_ATTEMPT, JobLogs, LogBatch


@pytest.fixture
def logs(config):
    database = Database(config, appname="test")
    yield JobLogs(database)
    database.close()


def batch(attempt, first, texts, *, keep=100, job="j1"):
    lines = [(number, 1000.0 + number, "stdout", text) for number, text in enumerate(texts, start=first)]
    return LogBatch(job, attempt, first, lines, keep)


async def texts(logs, after=0, limit=100, job="j1"):
    return [line.text for line in await logs.read(job, after=after, limit=limit)]


async def test_lines_are_read_in_order_the_newest_attempt_last_and_of_one_job_alone(logs):
    await logs.append([batch(10, 1, ["d"]), batch(2, 1, ["b", "c"]), batch(1, 1, ["a"]), batch(1, 1, ["x"], job="j10")])
    assert await texts(logs) == ["a", "b", "c", "d"]
    found = await logs.read("j1", after=0, limit=2)
    assert [(line.seq, line.attempt, line.level) for line in found] == [
        (PER_ATTEMPT + 1, 1, "stdout"),
        (2 * PER_ATTEMPT + 1, 2, "stdout"),
    ]
    assert found[0].at.timestamp() == 1001.0
    assert await texts(logs, after=found[-1].seq) == ["c", "d"]
    assert await texts(logs, job="nobody") == []


async def test_what_is_sent_again_is_stored_once_and_a_longer_repeat_adds_its_rest(logs):
    await logs.append([batch(1, 1, ["a", "b"])])
    await logs.append([batch(1, 1, ["a", "b", "c"])])
    await logs.append([batch(1, 4, ["d"]), batch(1, 4, ["d"])])
    assert await texts(logs) == ["a", "b", "c", "d"]


async def test_only_the_last_lines_are_left_and_text_is_never_read_as_an_expression(logs):
    await logs.append([batch(1, 1, ["a", "b", "$job"], keep=2)])
    await logs.append([batch(1, 4, ["{$x: 1}"], keep=2)])
    assert await texts(logs) == ["$job", "{$x: 1}"]


async def test_nothing_to_append_is_no_call(logs):
    await logs.append([])
    assert await texts(logs) == []
