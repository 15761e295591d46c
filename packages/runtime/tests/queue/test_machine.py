"""Hazards 22 and 23: any sequence of verbs, repeats, stale calls and SCRIPT FLUSHes against a model that is a dict."""

from __future__ import annotations

import asyncio
import uuid
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test
from redis_harness import POOL, complete

from headrace.local.stores import RedisServer
from headrace.runtime.queue import Entry, InFlight, RedisJobQueue, Verdict, redis_client
from headrace.runtime.queue.keys import Keys

IDS = [f"job-{n}" for n in range(8)]
TOKENS = ["t0", "t1", "t2"]
LIMIT = 5
FAR_MS = 2**50
some_id = st.sampled_from(IDS)
some_ids = st.lists(some_id, max_size=5)
some_token = st.sampled_from(TOKENS)
some_due = st.sampled_from([0, FAR_MS])


@dataclass
class Where:
    """Where the model thinks an id is. `due` for delayed ones; none of them becomes due during a run."""

    place: str
    token: str = ""


class QueueMachine(RuleBasedStateMachine):
    """An id's score is its number, so lower ids go first."""

    url = ""

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.redis = redis_client(self.url, kind="command", name="machine")
        namespace = f"machine-{uuid.uuid4().hex}"
        self.keys = Keys(namespace).pool(POOL)
        self.queue = RedisJobQueue(self.redis, namespace=namespace)
        self.model: dict[str, Where] = {}
        self.answers: dict[str, tuple[str, ...]] = {}
        self.run(complete(self.queue))

    def run(self, call: Any) -> Any:
        return self.runner.run(call)

    def teardown(self) -> None:
        self.run(self.queue.close())
        self.runner.close()

    def at(self, job: str) -> str | None:
        return self.model[job].place if job in self.model else None

    def entry(self, job: str, due: int, token: str = "") -> Entry:
        return Entry(job, IDS.index(job), due, token)

    @rule(ids=some_ids)
    def reserve(self, ids: list[str]) -> None:
        granted = 0
        for job in ids:
            if job not in self.model:
                if len(self.model) >= LIMIT:
                    break
                self.model[job] = Where("reserved")
            granted += 1
        answer = self.run(self.queue.reserve(POOL, ids, limit=LIMIT))
        assert (answer.granted, answer.pending) == (granted, len(self.model))

    @rule(ids=some_ids, due=some_due, drop=some_ids)
    def enqueue(self, ids: list[str], due: int, drop: list[str]) -> None:
        for job in drop:
            if self.at(job) == "reserved":
                del self.model[job]
        new = {job for job in ids if self.at(job) in {None, "reserved"}}
        self.model |= {job: Where("delayed" if due else "ready") for job in new}
        assert self.run(self.queue.enqueue(POOL, [self.entry(job, due) for job in ids], drop=drop)) == len(new)

    @rule(token=some_token, count=st.integers(0, 4))
    def claim(self, token: str, count: int) -> None:
        expected = self.answers.get(token)
        if not expected:
            expected = tuple(sorted(job for job in self.model if self.at(job) == "ready")[:count])
            self.answers[token] = expected
            self.model |= {job: Where("inflight", token) for job in expected}
        assert self.run(self.queue.claim(POOL, token=token, count=count)).ids == expected

    @rule(token=some_token)
    def forget_an_answer(self, token: str) -> None:
        """What the minute's end does."""
        self.answers.pop(token, None)
        self.run(self.redis.delete(self.keys.claim(token)))

    @rule(ids=some_ids)
    def settle(self, ids: list[str]) -> None:
        gone = {job for job in ids if self.model.pop(job, None)}
        assert self.run(self.queue.settle(POOL, ids)) == len(gone)

    @rule(ids=some_ids, due=some_due, token=some_token)
    def requeue(self, ids: list[str], due: int, token: str) -> None:
        """Often stale: whatever the model says, the caller believes that its token holds."""
        mine = {
            job
            for job in ids
            if self.at(job) in {None, "reserved"}
            or (self.at(job) == "inflight" and self.model[job].token in {"", token})
        }
        self.model |= {job: Where("delayed" if due else "ready") for job in mine}
        assert self.run(self.queue.requeue(POOL, [self.entry(job, due, token) for job in ids])) == len(mine)

    def carry_out(self, ids: set[str], place: str, *, unhold: bool) -> None:
        for job in ids:
            if place == "drop":
                del self.model[job]
            elif place == "delayed":
                self.model[job] = Where("delayed")
            elif unhold:
                self.model[job].token = ""

    @rule(ids=some_ids, token=some_token, place=st.sampled_from(["drop", "delayed", "leave"]))
    def putback(self, ids: list[str], token: str, place: Any) -> None:
        mine = {job for job in ids if self.at(job) == "inflight" and self.model[job].token == token}
        self.carry_out(mine, place, unhold=True)
        verdicts = [Verdict(job, place, FAR_MS, IDS.index(job)) for job in ids]
        assert self.run(self.queue.putback(POOL, token=token, verdicts=verdicts)) == len(mine)

    @rule(ids=some_ids, place=st.sampled_from(["drop", "delayed", "leave"]), stale=st.booleans())
    def sweep(self, ids: list[str], place: Any, stale: bool) -> None:
        seen = self.run(self.queue.in_flight(POOL, older_than_ms=0, limit=10))
        assert {entry.id for entry in seen} == {job for job in self.model if self.at(job) == "inflight"}
        if stale:
            seen = [InFlight(entry.id, entry.claimed_ms, "another") for entry in seen]
        same = set() if stale else {job for job in ids if self.at(job) == "inflight"}
        self.carry_out(same, place, unhold=False)
        verdicts = [Verdict(job, place, FAR_MS, IDS.index(job)) for job in ids]
        assert self.run(self.queue.sweep(POOL, seen=seen, verdicts=verdicts, min_age_ms=0)) == len(same)

    @rule(ids=some_ids)
    def make_due(self, ids: list[str]) -> None:
        """Time passes for some: they are ready after the next promotion."""
        due = {job: 1 for job in ids if self.at(job) == "delayed"}
        if due:
            self.run(self.redis.zadd(self.keys.delayed, due))
            assert self.run(self.queue.promote(POOL)) == len(due)
            self.model |= {job: Where("ready") for job in due}

    @rule()
    def flush_scripts(self) -> None:
        self.run(self.redis.script_flush("SYNC"))

    @rule()
    def lose_everything(self) -> None:
        self.run(self.redis.delete(*[key for key in vars_of(self.keys) if isinstance(key, str)]))
        self.run(self.redis.delete(*[self.keys.claim(token) for token in TOKENS]))
        self.model, self.answers = {}, {}
        assert not self.run(self.queue.is_complete(POOL))
        self.run(complete(self.queue))

    @invariant()
    def every_id_is_in_one_set_and_leaves_no_trace_elsewhere(self) -> None:
        found: dict[str, list[str]] = {}
        for place in ("ready", "delayed", "inflight", "reserved"):
            for job, _ in self.run(self.queue.members(POOL, place, cursor=0, count=100))[1]:  # type: ignore[arg-type]
                found.setdefault(job, []).append(place)
        assert found == {job: [where.place] for job, where in self.model.items()}
        holders = {job: where.token for job, where in self.model.items() if where.token}
        assert self.run(self.redis.hgetall(self.keys.holder)) == holders
        scores = {job: str(IDS.index(job)) for job, where in self.model.items() if where.place == "delayed"}
        assert self.run(self.redis.hgetall(self.keys.score)) == scores


def vars_of(keys: Any) -> list[Any]:
    return [getattr(keys, name) for name, value in vars(type(keys)).items() if isinstance(value, property)]


@pytest.mark.parametrize("examples", [8, pytest.param(60, marks=pytest.mark.slow)])
def test_any_sequence_of_verbs_keeps_every_id_in_one_place(server: RedisServer, examples: int) -> None:
    """On both servers; the examples are the same in each run."""

    class Machine(QueueMachine):
        url = server.url

    run_state_machine_as_test(
        Machine,
        settings=settings(
            max_examples=examples,
            stateful_step_count=30,
            deadline=None,
            derandomize=True,
            database=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
