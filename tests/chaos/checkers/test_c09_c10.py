from __future__ import annotations

from dataclasses import replace

import pytest
from tests.chaos.history import CanaryHit, Document, History, Operation, PoolIndex, Probe, Process, RedisKey

from .c09_reads import check_reads
from .c09_ready import check_ready
from .c10_rebuilt import check_rebuilt
from .c10_redis import check_redis
from .histories import DONE, RUN, fault, finds, index, job, more, read, submit, whole

TWO_TRIES = job("a", "submitted@1", "claimed@2", "retry@3", "claimed@4", "completed@5")


def reads(*operations: Operation) -> History:
    return more(whole(TWO_TRIES), operations=operations)


def history_read(at: float, length: int, **fields: object) -> Operation:
    return replace(read("a", at=at), op="history", log_length=length, **fields)  # type: ignore[arg-type]


# -- C9 ------------------------------------------------------------------------------------------------------------


def test_reads_that_go_forward() -> None:
    good = reads(
        read("a", at=1.5, state="queued", attempt=0),
        read("a", at=2.5, state="processing", attempt=1),
        history_read(3.5, 3),
        read("a", at=4.5, state="processing", attempt=2),
        read("a", at=6, state="completed", attempt=2),
        history_read(7, 5),
    )
    assert finds(check_reads, good) == set()


BAD_READS = {
    "404 after 2xx": ((read("a", at=1.5, status=404),), {"denied"}),
    "404 after 2xx, another client": ((read("a", at=1.5, status=404, client="c2"),), {"denied"}),
    "an older attempt": (
        (read("a", at=4.5, attempt=2, state="processing"), read("a", at=4.8, attempt=1, state="queued")),
        {"went-back"},
    ),
    "a shorter log": ((history_read(4.5, 4), history_read(4.8, 3)), {"went-back"}),
    "over, and running again": (
        (read("a", at=6, state="completed", attempt=2), read("a", at=7, state="processing", attempt=2)),
        {"rose-again"},
    ),
    "over in two ways": (
        (read("a", at=6, state="completed", attempt=2), read("a", at=7, state="failed", attempt=2)),
        {"rose-again", "rolled-back"},
    ),
    "a state that was undone": ((read("a", at=4.5, state="cancelled", attempt=2),), {"rolled-back"}),
    "an attempt that was undone": ((read("a", at=4.5, state="processing", attempt=3),), {"rolled-back"}),
    "transitions that were undone": ((history_read(4.5, 9),), {"rolled-back"}),
    "a job that is gone": ((read("gone", at=4.5, state="queued", attempt=0),), {"rolled-back"}),
}


@pytest.mark.parametrize(("operations", "rules"), BAD_READS.values(), ids=BAD_READS)
def test_reads_that_do_not(operations: tuple[Operation, ...], rules: set[str]) -> None:
    assert finds(check_reads, reads(*operations)) == rules


def test_reads_at_the_same_time_may_come_in_either_order() -> None:
    newer = read("a", at=4.5, attempt=2, state="processing")
    older = read("a", at=4.4, attempt=1, state="queued", completed=4.9)
    assert finds(check_reads, reads(newer, older)) == set()
    other_client = read("a", at=4.8, attempt=1, state="queued", client="c2")
    assert finds(check_reads, reads(newer, other_client)) == set(), "promised to each client for itself"


def test_404_before_the_answer_is_none() -> None:
    assert finds(check_reads, reads(read("a", at=0.95, status=404))) == set()


def test_a_reply_to_somebody_else() -> None:
    mixed = submit("a", index=3, tag="t1", echoed_tag="t2")
    history = reads(read("a", at=1.5, state="queued", attempt=0), mixed)
    assert finds(check_reads, history) == {"foreign-reply"}
    first = submit("a", index=4, tag="t2", echoed_tag="t2", key="k")
    repeat = submit("a", index=5, tag="t1", echoed_tag="t2", key="k")
    assert finds(check_reads, reads(read("a", at=1.5, state="queued", attempt=0), first, repeat)) == set()


# -- C9: readiness -------------------------------------------------------------------------------------------------


def probes(ready: bool, at: float) -> History:
    outage = fault("pause", "mongod:majority", at=10, ended=30)
    process = Process("scheduler-0", "scheduler", 7, 0.0)
    return History(RUN, fired=(outage,), processes=(process,), probes=(Probe(at, "scheduler-0", ready),))


def test_ready_without_a_majority() -> None:
    assert finds(check_ready, probes(False, 20)) == set()
    assert finds(check_ready, probes(True, 20)) == {"ready"}


@pytest.mark.parametrize("at", [5.0, 12.0, 31.0])
def test_ready_before_it_can_know_or_after_it_is_over(at: float) -> None:
    assert check_ready(probes(True, at)).looked_at == 0


# -- C10 -----------------------------------------------------------------------------------------------------------

WAITS, RUNS, LATER = job("q", "submitted@1"), job("p", "submitted@1", "claimed@2"), job("d", "submitted@1")
INDEX = PoolIndex(
    "test",
    at=100.0,
    ready=(("q", 5.0),),
    inflight=(("p", 6.0),),
    delayed=(("d", 7.0),),
    holders={"p": "w1.1"},
    scores={"d": 7.0},
)


def held(index: PoolIndex = INDEX, **fields: object) -> History:
    return whole(WAITS, RUNS, LATER, job("a", *DONE), pools=(index,), **fields)


def test_redis_holds_what_is_not_over() -> None:
    assert finds(check_redis, held()) == set()


WRONG_INDEXES = {
    "a job is missing": ({"ready": ()}, {"missing"}),
    "a job that is over": ({"ready": (("q", 5.0), ("a", 5.0))}, {"ghost"}),
    "a job that never was": ({"ready": (("q", 5.0), ("forged", 5.0))}, {"ghost"}),
    "one job in two sets": ({"delayed": (("d", 7.0), ("q", 5.0))}, {"twice"}),
    "a holder of nothing": ({"holders": {"p": "w1.1", "q": "w1.2"}}, {"leftover"}),
    "a place of nothing": ({"scores": {"d": 7.0, "q": 5.0}}, {"leftover"}),
    "a reservation that nobody freed": ({"reserved": (("r", (RUN.wall_at_zero + 50) * 1000),)}, {"leaked-place"}),
    "never declared complete": ({"complete": False}, {"incomplete"}),
    "a pool that Redis does not know": ({"pool": "other"}, {"missing", "ghost"}),
}


@pytest.mark.parametrize(("changes", "rules"), WRONG_INDEXES.values(), ids=WRONG_INDEXES)
def test_redis_holds_something_else(changes: dict[str, object], rules: set[str]) -> None:
    found = finds(check_redis, held(replace(INDEX, **changes)))  # type: ignore[arg-type]
    assert found >= rules
    assert found - rules <= {"leftover"}


def test_a_reservation_may_be_young() -> None:
    assert finds(check_redis, held(replace(INDEX, reserved=(("r", (RUN.wall_at_zero + 130) * 1000),)))) == set()


GOOD_KEYS = (
    RedisKey("chaos:{test}:ready", "zset"),
    RedisKey("chaos:{test}:claims", "string"),
    RedisKey("chaos:{test}:claim:w1.abc", "list", ttl_ms=40_000),
    RedisKey("chaos:{_beats}:last", "hash"),
    RedisKey("chaos:{_events}:log", "stream"),
    RedisKey("chaos:rate:tenant-x", "string", ttl_ms=900),
)
WRONG_KEYS = {
    "nobody owns it": (RedisKey("dramatiq:default", "list"), "unowned-key"),
    "no part of a pool": (RedisKey("chaos:{test}:extra", "hash"), "unowned-key"),
    "of another type": (RedisKey("chaos:{test}:ready", "list"), "wrong-type"),
    "an event log of another type": (RedisKey("chaos:{_events}:log", "list"), "wrong-type"),
    "an answer for ever": (RedisKey("chaos:{test}:claim:w1.abc", "list"), "no-end"),
}


def test_every_documented_key_has_an_owner() -> None:
    assert finds(check_redis, held(redis_keys=GOOD_KEYS)) == set()


@pytest.mark.parametrize(("key", "rule"), WRONG_KEYS.values(), ids=WRONG_KEYS)
def test_a_key_that_should_not_be(key: RedisKey, rule: str) -> None:
    assert finds(check_redis, held(redis_keys=(key,))) == {rule}


def test_a_payload_in_redis() -> None:
    assert finds(check_redis, held(canary_hits=(CanaryHit("redis:chaos:{_events}:log", "payload:x"),))) == {"payload"}
    assert finds(check_redis, held(canary_hits=(CanaryHit("log:worker-0", "payload:x"),))) == set(), "C12's"


# -- C10: a rebuild's end ------------------------------------------------------------------------------------------

WAITED = job("a", "submitted@1", "claimed@9", "completed@10")


@pytest.mark.parametrize(
    ("steps", "rules"),
    [
        (("lost@4", "ready:a@5=5", "complete@6"), set()),
        (("lost@4", "complete@6"), {"complete-missing"}),
        (("lost@4", "ready:a@5=5", "left:a@5.5", "complete@6"), {"complete-missing"}),
        (("ready:a@3=5", "lost@4", "complete@6", "ready:a@6.1=5"), {"complete-missing"}),
        (("lost@4", "ready:a@5=5", "claimed:a@5.8#w1.1", "complete@6"), set()),
        (("lost@2", "ready:a@2.1=5", "claimed:a@2.5#w1.1", "complete@6"), set()),
        (("ready:a@2.1=5", "claimed:a@2.5#w1.1", "lost@4", "complete@6"), {"complete-missing"}),
    ],
)
def test_complete_means_complete(steps: tuple[str, ...], rules: set[str]) -> None:
    assert finds(check_rebuilt, whole(WAITED, queue_events=index(*steps))) == rules


@pytest.mark.parametrize(
    "other",
    [
        job("a", "submitted@5.5", "claimed@9", "completed@10"),
        job("a", "submitted@1", "claimed@5.5", "completed@10"),
        job("a", "submitted@1", "claimed@6.2", "completed@10"),
        job("a", "submitted@1", "claimed@9", "completed@10", run_at=8.0),
        job("a", "submitted@1", "claimed@9", "completed@10", run_at=2.0),
        job("a", "submitted@1", "claimed@2", "retry@3", "claimed@9", "completed@10"),
        job("a", "submitted@1", "claimed@9", "completed@10", pool="other"),
    ],
    ids=[
        "just come",
        "just gone",
        "about to go",
        "not due",
        "due, and among the delayed",
        "perhaps backing off",
        "of another pool",
    ],
)
def test_a_job_that_need_not_be_there(other: Document) -> None:
    assert finds(check_rebuilt, whole(other, queue_events=index("lost@4", "complete@6"))) == set()


def test_a_job_whose_insert_was_under_way_until_after_the_rebuild_need_not_be_there() -> None:
    history = whole(WAITED, queue_events=index("lost@4", "complete@6"))
    slow = replace(history, operations=(submit("a", at=0.9, completed=8.0),))
    assert finds(check_rebuilt, slow) == set()
    observed = replace(slow, observed=(replace(WAITED, read_at=3.0),))
    assert finds(check_rebuilt, observed) == {"complete-missing"}, "somebody saw it before"


def test_what_came_with_an_old_copy_was_never_seen_to_come() -> None:
    copy = fault("old-copy", "redis", at=3.8, ended=4.2)
    rebuilt = whole(WAITED, queue_events=index("lost@4", "complete@6"))
    assert finds(check_rebuilt, more(rebuilt, fired=[copy])) == set()
    emptied = whole(WAITED, queue_events=index("lost@4", "lost@5.5", "complete@7"), fired=(copy,))
    assert finds(check_rebuilt, emptied) == {"complete-missing"}, "a later loss has nothing to do with the copy"


def test_ids_that_the_suite_itself_took_away_meanwhile() -> None:
    emptied = whole(WAITED, queue_events=index("lost@4", "ready:a@4.5=5", "left:a@5", "complete@6"))
    assert finds(check_rebuilt, emptied) == {"complete-missing"}
    for at, rules in ((5.2, set()), (8.0, set()), (3.0, {"complete-missing"}), (20.0, {"complete-missing"})):
        lie = fault("lie", "redis", at=at, ended=at)
        assert finds(check_rebuilt, more(emptied, fired=[lie])) == rules
