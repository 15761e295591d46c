from __future__ import annotations

from dataclasses import replace

import pytest
from tests.chaos.history import Document, FiredFault, History, PendingSample

from headrace.contracts.job import SCORE_STEP

from .c06_bound import check_bound
from .c07_priority import check_priority
from .c08_cancel import check_cancel
from .histories import DONE, RUN, SETTINGS, cancel, fault, finds, index, job, more, ran, submit, whole

# -- C6: the bound of pool `test` is 2 -----------------------------------------------------------------------------


def samples(*pending: int, incomplete: int = 0) -> tuple[PendingSample, ...]:
    return tuple(
        PendingSample(float(at), "test", number, complete=at >= incomplete) for at, number in enumerate(pending)
    )


def test_at_the_bound_is_within_it() -> None:
    assert finds(check_bound, whole(job("a", *DONE), job("b", *DONE), pending=samples(0, 2, 1))) == set()


def test_one_snapshot_over_the_bound() -> None:
    assert finds(check_bound, whole(job("a", *DONE), pending=samples(0, 3, 1))) == {"over"}


def test_over_the_bound_between_two_snapshots() -> None:
    three = [job(name, *DONE) for name in "abc"]
    assert finds(check_bound, whole(*three, pending=samples(0, 2, 1))) == {"log-over"}
    assert check_bound(whole(*three, pending=samples(0))).figures["max by logs of test"] == 3


def test_a_place_that_one_job_leaves_another_takes_at_the_same_moment() -> None:
    jobs = [job("a", *DONE), job("b", *DONE), job("c", "submitted@3", "claimed@4", "completed@5")]
    assert finds(check_bound, whole(*jobs, pending=samples(2))) == set()


def test_running_and_retrying_jobs_count() -> None:
    running = [job("a", "submitted@1", "claimed@2", "retry@3"), job("b", "submitted@1", "claimed@2"), job("c", *DONE)]
    assert finds(check_bound, whole(*running, pending=samples(2))) == {"log-over"}


def test_while_redis_is_not_complete_the_overshoot_is_bounded_and_drains() -> None:
    run = replace(RUN, settings={**SETTINGS, "overshoot": 1})
    three = [job(name, *DONE) for name in "abc"]
    assert finds(check_bound, whole(*three, run=run, pending=samples(2, 3, 3, 2, incomplete=2))) == set()
    assert finds(check_bound, whole(*three, run=run, pending=samples(2, 4, 3, 2, incomplete=2))) == {"over"}
    drained = samples(2, 3, 2, 3, incomplete=1)
    assert finds(check_bound, whole(*three, run=run, pending=drained)) == {"over"}, "after it had drained"


@pytest.mark.parametrize(
    ("disturbing", "rules"),
    [
        (fault("black-hole", "link:scheduler>redis", at=0.5, ended=1.0), set()),
        (fault("kill", "scheduler", at=0.5, ended=1.0), set()),
        (fault("latency", "link:scheduler>redis", at=0.5, ended=1.0), {"over"}),
        (fault("kill", "worker", at=0.5, ended=1.0), {"over"}),
        (fault("flush", "redis", at=80.0), {"over"}),
    ],
    ids=["index cut off", "died between", "only slow", "elsewhere", "later"],
)
def test_a_job_that_redis_was_not_told_of_may_be_missed_until_the_next_reconcile(
    disturbing: FiredFault, rules: set[str]
) -> None:
    run = replace(RUN, settings={**SETTINGS, "overshoot": 1})
    three = [job("a", *DONE), job("b", *DONE), job("c", "submitted@4", "claimed@5", "completed@6")]
    assert finds(check_bound, whole(*three, run=run, pending=samples(2, 2, 3, 2), fired=(disturbing,))) == rules
    late = tuple(replace(sample, at=sample.at + 60) for sample in samples(2, 2, 3, 2))
    assert finds(check_bound, whole(*three, run=run, pending=late, fired=(disturbing,))) == {"over"}


@pytest.mark.parametrize(
    ("retry_after", "rules"), [(2.0, set()), (None, {"no-retry-after"}), (0.0, {"no-retry-after"})]
)
def test_a_refusal_says_when_to_come_back(retry_after: float | None, rules: set[str]) -> None:
    refused = submit("c", outcome="fail", status=429, problem="queue-full", retry_after=retry_after, job_id=None)
    assert finds(check_bound, more(whole(job("a", *DONE), pending=samples(1)), operations=[refused])) == rules


# -- C7 ------------------------------------------------------------------------------------------------------------

LOW, MEDIUM, HIGH = f"{2 * SCORE_STEP + 5}", f"{SCORE_STEP + 5}", "5"


def index_of(*steps: str) -> History:
    return History(RUN, queue_events=index(*steps))


def test_the_best_first() -> None:
    good = index_of(f"ready:l@1={LOW}", f"ready:h@2={HIGH}", "claimed:h@3#1", "claimed:l@4#2")
    assert finds(check_priority, good) == set()


@pytest.mark.parametrize("better", [MEDIUM, HIGH])
def test_a_lower_priority_before_a_higher_one(better: str) -> None:
    bad = index_of(f"ready:l@1={LOW}", f"ready:x@2={better}", "claimed:l@3#1", "claimed:x@4#2")
    assert finds(check_priority, bad) == {"inversion"}


def test_one_claim_of_several_is_one_moment() -> None:
    ready = (f"ready:l@1={LOW}", f"ready:m@1={MEDIUM}", f"ready:h@1={HIGH}")
    assert finds(check_priority, index_of(*ready, "claimed:m@2#1", "claimed:h@2#1", "claimed:l@3#2")) == set()
    assert finds(check_priority, index_of(*ready, "claimed:h@2#1", "claimed:l@2#1", "claimed:m@3#2")) == {"inversion"}


def test_the_older_first_within_a_priority_and_a_retried_job_at_its_old_place() -> None:
    assert finds(check_priority, index_of("ready:b@1=7", "ready:a@2=6", "claimed:b@3#1")) == {"order"}
    retried = index_of("ready:a@1=6", "claimed:a@2#1", "ready:b@3=7", "ready:a@4=6", "claimed:a@5#2", "claimed:b@6#3")
    assert finds(check_priority, retried) == set()


def test_what_left_or_moved_is_not_in_the_way() -> None:
    assert finds(check_priority, index_of("ready:h@1=5", "ready:l@1=9", "left:h@2", "claimed:l@3#1")) == set()
    moved = index_of("ready:h@1=5", "ready:l@1=9", "ready:h@2=10", "claimed:l@3#1")
    assert finds(check_priority, moved) == set()


def test_after_a_loss_the_order_counts_again_from_the_rebuild_on() -> None:
    lost = ("ready:h@1=5", "ready:l@1=9", "lost@2", "ready:l@3=9", "ready:h@3=5")
    assert finds(check_priority, index_of(*lost, "claimed:l@4#1", "complete@5")) == set()
    assert finds(check_priority, index_of(*lost, "complete@4", "claimed:l@5#1")) == {"order"}


def test_with_nothing_to_claim_ahead_nobody_holds_more_unstarted_jobs_than_its_threads() -> None:
    """Two threads."""
    three = [job(name, "submitted@1", "claimed@2:w1", "completed@3") for name in "abc"]
    assert finds(check_priority, whole(*three)) == {"ahead"}
    assert finds(check_priority, whole(*three[:2])) == set()
    one_after_the_other = [job(n, "submitted@1", f"claimed@{2 + i}:w1", "completed@9") for i, n in enumerate("abc")]
    assert finds(check_priority, whole(*one_after_the_other)) == set(), "settled later, started before"
    ahead_allowed = replace(RUN, settings={**SETTINGS, "horizon": 0.02})
    assert finds(check_priority, whole(*three, run=ahead_allowed)) == set()


def place(rank: int, seconds: float = 1.0) -> str:
    return f"{rank * SCORE_STEP + (RUN.wall_at_zero + seconds) * 1000:.0f}"


@pytest.mark.parametrize(
    ("where", "rules"),
    [(place(1), set()), (place(0), {"misplaced"}), (place(2), {"misplaced"}), (place(1, 1.5), {"misplaced"})],
)
def test_a_place_is_priority_and_age(where: str, rules: set[str]) -> None:
    history = whole(job("a", *DONE), queue_events=index(f"ready:a@1={where}", "claimed:a@2#w1.1"))
    assert finds(check_priority, history) == rules
    assert finds(check_priority, more(history, fired=[fault("lie", "redis", at=1)])) == set()


def test_a_boosted_job_stands_at_either_place() -> None:
    steps = index(f"ready:a@1={place(1)}", f"ready:a@1.5={place(0)}", "claimed:a@2#w1.1")
    assert finds(check_priority, whole(job("a", *DONE, boosted=True), queue_events=steps)) == set()


def test_a_job_claimed_long_before_its_start() -> None:
    early = whole(job("a", *DONE), effects=(ran("a", at=5.0),))
    assert finds(check_priority, early) == {"waited"}
    paused = fault("pause", "child", at=2.1, ended=4.9)
    assert finds(check_priority, more(early, fired=[paused])) == set(), "a fault explains it"


# -- C8 ------------------------------------------------------------------------------------------------------------

WAITING = job("a", "submitted@1", "cancelled@2")
RUNNING = job("a", "submitted@1", "claimed@2", "cancelled@4", cancel_requested_at=3.0)


@pytest.mark.parametrize(
    ("document", "at", "status"),
    [(WAITING, 1.95, 200), (WAITING, 5, 200), (RUNNING, 2.9, 202), (RUNNING, 6, 200), (job("a", *DONE), 3.1, 409)],
)
def test_an_answer_that_names_the_winner(document: Document, at: float, status: int) -> None:
    asked = cancel("a", at=1.9, status=0, outcome="info")
    assert finds(check_cancel, more(whole(document), operations=[asked, cancel("a", at=at, status=status)])) == set()


CONFLICTS = {
    "cancelled, then completed": (job("a", *DONE), cancel("a", at=1.5, status=200), {"not-cancelled", "claimed-after"}),
    "promised, then completed": (job("a", *DONE), cancel("a", at=2.5, status=202), {"not-cancelled"}),
    "promised, then failed": (
        job("a", "submitted@1", "claimed@2", "failed@3"),
        cancel("a", at=2.5, status=202),
        {"not-cancelled"},
    ),
    "promised, then run again": (
        job("a", "submitted@1", "claimed@2", "retry@4", "claimed@4.5", "cancelled@5"),
        cancel("a", at=2.5, status=202),
        {"claimed-after"},
    ),
    "said to be cancelled while it runs on": (RUNNING, cancel("a", at=2.5, status=200), {"early"}),
    "200 with another state": (WAITING, cancel("a", at=2, status=200, state="processing"), {"answer"}),
    "refused, and cancelled": (WAITING, cancel("a", at=1.95, status=409), {"wrong-refusal", "unasked"}),
    "refused before it was over": (job("a", *DONE), cancel("a", at=2, status=409), {"wrong-refusal"}),
    "not ended in time": (
        job("a", "submitted@1", "claimed@2", "cancelled@9", cancel_requested_at=3.0),
        cancel("a", at=2.9, status=202),
        {"slow"},
    ),
}


@pytest.mark.parametrize(("document", "answer", "rules"), CONFLICTS.values(), ids=CONFLICTS)
def test_an_answer_that_does_not(document: Document, answer: object, rules: set[str]) -> None:
    assert finds(check_cancel, more(whole(document), operations=[answer])) == rules


def test_a_slow_end_that_a_fault_explains() -> None:
    slow = job("a", "submitted@1", "claimed@2", "cancelled@9", cancel_requested_at=3.0)
    history = more(whole(slow), operations=[cancel("a", at=2.9, status=202)], fired=[fault("kill", "worker", at=4)])
    assert finds(check_cancel, history) == set()


def test_a_noted_request_was_overruled() -> None:
    completed = job("a", *DONE, cancel_requested_at=2.5)
    asked = cancel("a", at=2.4, status=503, outcome="info")
    assert finds(check_cancel, more(whole(completed), operations=[asked])) == {"overruled"}


def test_cancelled_and_nobody_asked() -> None:
    other = cancel("b", at=5, status=409)
    assert finds(check_cancel, more(whole(WAITING, job("b", *DONE)), operations=[other])) == {"unasked"}
