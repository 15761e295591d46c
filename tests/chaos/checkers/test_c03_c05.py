from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from tests.chaos.history import Document, History, LogEntry, LogLine, Process

from .c03_log import check_log
from .c04_fencing import check_fencing
from .c05_overlap import check_overlap
from .histories import DONE, fault, finds, job, log, more, ran, whole

GOOD = job(
    "a",
    "submitted@1",
    "claimed@2:w1",
    "orphaned@4",
    "claimed@5:w2",
    "retry@6",
    "claimed@7:w2",
    "timeout@8",
    "claimed@9:w3",
    "released@9.5",
    "claimed@10:w3",
    "completed@11",
)


def with_entry(document: Document, at: int, /, **changes: object) -> Document:
    entries = list(document.log)
    entries[at] = replace(entries[at], **changes)  # type: ignore[arg-type]
    return replace(document, log=tuple(entries))


def test_a_long_life_is_sound() -> None:
    for checker in (check_log, check_fencing, check_overlap):
        assert finds(checker, whole(GOOD)) == set()


# -- C3 ------------------------------------------------------------------------------------------------------------

BROKEN_LOGS: dict[str, tuple[Document, set[str]]] = {
    "no log": (replace(GOOD, log=()), {"empty"}),
    "a number is missing": (with_entry(GOOD, 3, seq=9), {"gap"}),
    "an entry is gone": (replace(GOOD, log=GOOD.log[:2] + GOOD.log[3:]), {"gap", "chain"}),
    "the first entry is none": (replace(GOOD, log=GOOD.log[1:]), {"gap", "chain"}),
    "from something else": (with_entry(GOOD, 2, before="queued"), {"chain", "illegal"}),
    "no such step": (
        replace(job("a", "submitted@1", "completed@2"), attempt=0),
        {"illegal"},
    ),
    "a reason of another step": (with_entry(GOOD, 10, reason="retry"), {"reason"}),
    "the attempt did not rise": (with_entry(GOOD, 3, attempt=1), {"attempt"}),
    "the attempt rose by two": (with_entry(GOOD, 3, attempt=3), {"attempt"}),
    "the attempt rose without a claim": (with_entry(GOOD, 4, attempt=3), {"attempt"}),
    "completed twice": (job("a", *DONE, "completed@4"), {"ended-twice", "chain", "illegal"}),
    "completed, then cancelled": (job("a", *DONE, "cancelled@4"), {"ended-twice", "illegal"}),
    "completed, then queued again": (job("a", *DONE, "orphaned@4"), {"after-end", "illegal"}),
    "the state is another than the log's": (replace(GOOD, state="processing"), {"state"}),
    "the attempt is another than the log's": (replace(GOOD, attempt=9), {"state"}),
}


@pytest.mark.parametrize(("document", "rules"), BROKEN_LOGS.values(), ids=BROKEN_LOGS)
def test_a_log_that_is_no_chain(document: Document, rules: set[str]) -> None:
    assert rules & finds(check_log, whole(document, job("b", *DONE)))
    if len(rules) == 1:
        assert finds(check_log, whole(document, job("b", *DONE))) == rules


def test_a_log_whose_beginning_was_dropped_is_a_chain_from_there() -> None:
    short = replace(GOOD, log=GOOD.log[3:], log_dropped=3)
    assert finds(check_log, whole(short)) == set()
    assert finds(check_log, whole(with_entry(short, 2, seq=99))) == {"gap"}


def seen(*steps: str, **fields: object) -> Document:
    return replace(job("a", *steps), read_at=50.0, **fields)  # type: ignore[arg-type]


def test_what_was_seen_earlier_is_the_beginning_of_the_final_log() -> None:
    earlier = replace(GOOD, read_at=5.5, state="processing", attempt=2, log=GOOD.log[:4])
    assert finds(check_log, whole(GOOD, observed=(earlier,))) == set()
    undone = replace(earlier, log=(*GOOD.log[:3], replace(GOOD.log[3], owner="w9")))
    assert finds(check_log, whole(GOOD, observed=(undone,))) == {"rewritten"}
    longer = replace(GOOD, log=(*GOOD.log, LogEntry(11, "completed", "queued", 5, 12.0)))
    assert finds(check_log, whole(GOOD, observed=(longer,))) == {"rewritten"}


@pytest.mark.parametrize(
    "changed",
    [{"result_digest": "other"}, {"attempt": 2}, {"crashes": 1}, {"error_type": "late"}],
    ids=["result", "attempt", "crashes", "error"],
)
def test_nothing_changes_after_the_end(changed: dict[str, object]) -> None:
    found = finds(check_log, whole(job("a", *DONE, **changed), observed=(seen(*DONE),)))
    assert "changed-after-end" in found
    assert finds(check_log, whole(job("a", *DONE), observed=(seen(*DONE),))) == set()


# -- C4 ------------------------------------------------------------------------------------------------------------

TAKEN = job("a", "submitted@1", "claimed@2:w1", "host_lost@6", "claimed@7:w2", "completed@8")


def zombie(**fields: object) -> History:
    """Worker w1 was frozen at 3, woke at 9 and finished attempt 1 at 10."""
    late = ran("a", 1, at=10, phase="end", pid=100 + sum(map(ord, "w1")))
    frozen = fault("pause", "worker", at=3, ended=9, pids=(late.pid or 0,), owners=("w1",))
    told = LogLine("worker-0", 10.1, "warning", "settle.fenced")
    return replace(more(whole(TAKEN), effects=[late], fired=[frozen], log_lines=[told]), **fields)  # type: ignore[arg-type]


def test_a_zombie_that_is_refused_and_told_so() -> None:
    assert finds(check_fencing, zombie()) == set()
    figures = check_fencing(zombie()).figures
    assert (figures["rejected writes"], figures["unfenced effects"], figures["unfenced, unexplained"]) == (1, 1, 0)


def test_an_unfenced_effect_that_no_fault_explains_is_counted() -> None:
    assert check_fencing(zombie(fired=())).figures["unfenced, unexplained"] == 1


def test_a_zombie_that_nobody_refused() -> None:
    assert finds(check_fencing, zombie(log_lines=())) == {"silent"}
    dead_again = Process("worker-0/child", "child", 100 + sum(map(ord, "w1")), 0.0, ended=10.5, exit_code=-9)
    assert finds(check_fencing, zombie(log_lines=(), processes=(dead_again,))) == set(), "it had no time to be told"


def change(at: int, /, **changes: object) -> Callable[[], Document]:
    return lambda: with_entry(TAKEN, at, **changes)


FOREIGN: dict[str, tuple[Callable[[], Document], str]] = {
    "w1 completed the attempt of w2": (change(4, by="w1"), "foreign-writer"),
    "recovery completed it": (change(4, by="recovery"), "foreign-writer"),
    "the log blames another owner": (change(4, owner="w1"), "foreign-owner"),
    "an older attempt after a newer one": (change(4, attempt=1), "older"),
}


@pytest.mark.parametrize(("make", "rule"), FOREIGN.values(), ids=FOREIGN)
def test_a_write_by_somebody_who_was_not_entitled(make: Callable[[], Document], rule: str) -> None:
    assert finds(check_fencing, whole(make())) == {rule}


def test_a_run_that_no_claim_made() -> None:
    assert finds(check_fencing, more(whole(TAKEN), effects=[ran("a", 3, at=9)])) == {"unclaimed-run"}
    assert finds(check_fencing, more(whole(replace(TAKEN, log_dropped=2)), effects=[ran("a", 0, at=9)])) == set()


def test_one_name_of_two_processes() -> None:
    effects = (ran("a", 1, at=2.1, pid=11), ran("b", 1, at=2.2, pid=12))
    assert finds(check_fencing, whole(job("a", *DONE), job("b", *DONE), effects=effects)) == {"owner-reused"}


def test_a_fenced_sink_that_went_back() -> None:
    def sink(*attempts: int, applied: bool = True) -> History:
        effects = [
            ran("a", n, at=8 + i, sink="fenced", phase="effect", applied=applied) for i, n in enumerate(attempts)
        ]
        return whole(TAKEN, effects=tuple(replace(e, pid=e.attempt) for e in effects))

    assert finds(check_fencing, sink(1, 2)) == set()
    assert finds(check_fencing, sink(2, 1)) == {"sink-backwards"}
    assert finds(check_fencing, sink(2, 1, applied=False)) == set()


# -- C5 ------------------------------------------------------------------------------------------------------------


def test_two_attempts_at_once() -> None:
    overlapping = with_entry(TAKEN, 3, at=5.0)
    assert finds(check_overlap, whole(overlapping)) == {"overlap"}


def test_a_claim_of_what_was_claimed() -> None:
    entries = log("submitted@1", "claimed@2:w1", "claimed@3:w2", "completed@4")
    assert "two-claims" in finds(check_overlap, whole(replace(TAKEN, log=entries)))


@pytest.mark.parametrize("pid", [11, 12])
def test_one_attempt_started_twice(pid: int) -> None:
    effects = (ran("a", 1, at=2.1, pid=11), ran("a", 1, at=2.2, pid=pid))
    assert finds(check_overlap, whole(job("a", *DONE), effects=effects)) == {"run-twice"}
