from __future__ import annotations

from dataclasses import replace

import pytest
from tests.chaos.history import Document

from .c13_starts import check_starts
from .c14_popped import check_popped
from .histories import DONE, fault, finds, index, job, more, ran, whole

# -- C13: three crashes end a job ----------------------------------------------------------------------------------


def dies(times: int, last: str, *, word: str = "orphaned") -> Document:
    steps = ["submitted@1"]
    for number in range(times):
        steps += [f"claimed@{2 + 2 * number}:w{number}", f"{word}@{3 + 2 * number}"]
    return job("a", *steps, f"claimed@{2 + 2 * times}:w{times}", f"{last}@{3 + 2 * times}")


def test_a_pill_that_was_stopped_in_time() -> None:
    assert finds(check_starts, whole(replace(dies(2, "crash_loop"), crashes=3))) == set()
    assert finds(check_starts, whole(dies(2, "completed"))) == set()


@pytest.mark.parametrize("word", ["orphaned", "host_lost"])
def test_a_pill_that_goes_on(word: str) -> None:
    assert finds(check_starts, whole(dies(3, "completed", word=word))) == {"crash-limit"}


def test_deaths_that_do_not_count() -> None:
    unstarted = whole(dies(5, "completed"))
    last_only = tuple(effect for effect in unstarted.effects if effect.attempt == 6)
    assert finds(check_starts, replace(unstarted, effects=last_only)) == set(), "it had not started"
    headway = more(unstarted, effects=[ran("a", 1, at=2.5, phase="step-1")])
    assert finds(check_starts, headway) == set(), "it got further each time"
    culprits = [
        job(f"x{n}", "submitted@1", f"claimed@{2 + 2 * n}:w{n}", f"timeout@{2.5 + 2 * n}", "claimed@40", "completed@41")
        for n in range(5)
    ]
    assert finds(check_starts, whole(dies(5, "completed"), *culprits)) == set(), "others were to blame"


def test_more_retries_than_allowed() -> None:
    steps = ("submitted@1", "claimed@2", "retry@3", "claimed@4", "timeout@5", "claimed@6", "failed@7")
    assert finds(check_starts, whole(job("a", *steps, max_retries=2))) == set()
    assert finds(check_starts, whole(job("a", *steps, max_retries=1))) == {"retry-limit"}


def test_given_up_before_the_retries_were_used() -> None:
    steps = ("submitted@1", "claimed@2", "retry@3", "claimed@4", "failed@5")
    assert finds(check_starts, whole(job("a", *steps, max_retries=1))) == set()
    assert finds(check_starts, whole(job("a", *steps, max_retries=2))) == {"gave-up-early"}
    assert finds(check_starts, whole(job("a", *steps, max_retries=2, error_type="PermanentError"))) == set()


def test_a_crash_count_that_its_log_does_not_explain() -> None:
    assert finds(check_starts, whole(replace(dies(1, "crash_loop"), crashes=3))) == {"crash-count"}


def test_completed_without_a_start() -> None:
    history = whole(job("a", *DONE), job("b", *DONE))
    assert finds(check_starts, replace(history, effects=history.effects[:1])) == {"never-started"}
    silent = whole(job("a", *DONE), job("b", *DONE, job_type="noop"))
    assert finds(check_starts, replace(silent, effects=silent.effects[:1])) == set(), "that type leaves no effects"


def test_expired_before_its_time() -> None:
    late = job("a", "submitted@1", "expired@9", expires_at=8.5)
    assert finds(check_starts, whole(late, job("b", *DONE))) == set()
    assert finds(check_starts, whole(replace(late, expires_at=20.0), job("b", *DONE))) == {"expired-early"}


def test_begun_before_it_was_due() -> None:
    due = job("a", "submitted@1", "claimed@9", "completed@10", run_at=9.5)
    assert finds(check_starts, whole(due)) == set(), "clocks differ a little"
    assert finds(check_starts, whole(replace(due, run_at=11.0))) == {"early"}


def test_a_pill_that_completes() -> None:
    assert finds(check_starts, whole(replace(dies(2, "crash_loop"), crashes=3, job_type="test.die"))) == set()
    assert finds(check_starts, whole(replace(dies(2, "completed"), job_type="test.die"))) == {"survived"}


# -- C14 -----------------------------------------------------------------------------------------------------------

WAITS = job("a", "submitted@1", "claimed@20:w2", "completed@21")
POPPED = ("ready:a@1=5", "claimed:a@2=5#w1.1")


def test_an_id_that_a_living_worker_took_and_forgot() -> None:
    assert finds(check_popped, whole(WAITS, queue_events=index(*POPPED))) == {"forgotten"}
    assert finds(check_popped, whole(job("a", "submitted@1"), queue_events=index(*POPPED))) == {"forgotten"}


def test_an_id_that_was_claimed_put_back_or_finished() -> None:
    assert finds(check_popped, whole(job("a", *DONE), queue_events=index(*POPPED))) == set()
    assert finds(check_popped, whole(WAITS, queue_events=index(*POPPED, "ready:a@7=5"))) == set()
    assert finds(check_popped, whole(WAITS, queue_events=index(*POPPED, "ready:a@8.5=5"))) == {"forgotten"}


def test_an_id_whose_worker_or_index_or_store_is_gone() -> None:
    taken = whole(WAITS, queue_events=index(*POPPED, "ready:a@10=5"))
    assert finds(check_popped, taken) == {"forgotten"}
    assert finds(check_popped, more(taken, fired=[fault("kill", "worker", at=2.1, owners=("w1",))])) == set()
    assert finds(check_popped, more(taken, fired=[fault("pause", "mongod:majority", at=2.1, ended=6)])) == set()
    assert finds(check_popped, whole(WAITS, queue_events=index(*POPPED, "lost@3"))) == set()


@pytest.mark.parametrize(
    ("target", "swept", "found"),
    [
        ("mongod:primary", 13, set()),
        ("link:worker>mongod", 13, set()),
        ("mongod:primary", 17, {"forgotten"}),
        ("link:worker>redis", 13, {"forgotten"}),
    ],
)
def test_an_id_that_mongodb_could_not_judge_is_left_to_the_sweep(target: str, swept: int, found: set[str]) -> None:
    disturbed = fault("cut", target, at=2.5, ended=2.6)
    history = whole(WAITS, fired=(disturbed,), queue_events=index(*POPPED, f"ready:a@{swept}=5"))
    assert finds(check_popped, history) == found


def test_an_id_that_was_over_or_forged_when_it_was_taken_is_dropped() -> None:
    cancelled = job("a", "submitted@1", "cancelled@1.9")
    assert finds(check_popped, whole(cancelled, queue_events=index(*POPPED))) == set()
    late = job("a", "submitted@1", "cancelled@20")
    assert finds(check_popped, whole(late, queue_events=index(*POPPED))) == {"forgotten"}
    forged = ("ready:forged-1@1=5", "claimed:forged-1@2=5#w1.1")
    assert finds(check_popped, whole(cancelled, queue_events=index(*forged))) == set()
