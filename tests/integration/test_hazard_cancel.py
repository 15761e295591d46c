"""Hazard 28: a thousand cancels around starts and ends; each job has one winner, and the answer names it."""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass

import pytest
from whole import Whole, assert_sound_log

from headrace.contracts.errors import AlreadyTerminalError

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.slow]

JOBS = 1000
AT_ONCE = 24
RUN_SECONDS = 0.03


@dataclass(frozen=True)
class Told:
    """What the answer to a cancel said: `cancelled`, `cancelling`, or the state in which the job had ended."""

    job_id: str
    answer: str


async def test_hazard_28_of_a_cancel_and_an_end_exactly_one_wins_and_the_answer_names_it(whole: Whole) -> None:
    seed = random.SystemRandom().randrange(10**9)
    print(f"seed {seed}")
    chance = random.Random(seed)
    offsets = iter([chance.uniform(0, 0.15) for _ in range(JOBS)])
    told: list[Told] = []

    async def one_after_another() -> None:
        for offset in offsets:
            job = await whole.client.submit("test.sleep", {"seconds": RUN_SECONDS})
            await asyncio.sleep(offset)
            try:
                answer = await whole.client.cancel(job.id)
            except AlreadyTerminalError:
                told.append(Told(job.id, await whole.state(job.id)))
            else:
                told.append(Told(job.id, "cancelled" if answer.state == "cancelled" else "cancelling"))

    await asyncio.gather(*(one_after_another() for _ in range(AT_ONCE)))
    by_answer = {answer: [item.job_id for item in told if item.answer == answer] for answer in {t.answer for t in told}}
    assert set(by_answer) == {"cancelled", "cancelling", "completed"}, "the offsets met every moment"
    for item in told:
        await whole.until_state(item.job_id, "completed" if item.answer == "completed" else "cancelled", within=10)
    lengths = {}
    for item in told:
        document = await whole.document(item.job_id)
        assert_sound_log(document)
        assert document["attempt"] <= 1, "no attempt after a cancel"
        lengths[item.job_id] = len(document["log"])
    await whole.until_redis_agrees("test")
    for item in told:
        assert len((await whole.document(item.job_id))["log"]) == lengths[item.job_id], "nothing follows an end"
