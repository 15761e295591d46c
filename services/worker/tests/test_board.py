"""The memory that outlives a child."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from itertools import pairwise

import pytest

from headrace.testing.builders import make_job_id
from headrace.worker.board import Board

CHILD = """
import os, signal, sys
from headrace.worker.board import Board
board = Board(int(sys.argv[1]), 3)
board.set_ready()
board.start(0, "job-that-ended", 1, 5.0)
board.end(0)
board.start(2, sys.argv[2], 7, 12.5)
board.beat_loop()
board.count(completed=4, fenced=1)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_new_board_is_empty_and_not_ready() -> None:
    board = Board.create(2)
    assert not board.ready
    assert (board.running(), board.counters()) == ([], (0, 0, 0))
    assert (board.beats().loop, board.beats().claim) == (0.0, 0.0)
    board.close()


def test_the_other_side_sees_what_is_written() -> None:
    mine = Board.create(3)
    theirs = Board(os.dup(mine.descriptor), 3)
    job_id = make_job_id()
    before = time.monotonic()
    theirs.set_ready()
    theirs.start(1, job_id, 4, 60.0)
    theirs.beat_loop()
    theirs.beat_claim()
    theirs.count(completed=2)
    theirs.count(completed=1, failed=3, fenced=5)
    (started,) = mine.running()
    assert (started.job_id, started.attempt, started.limit_seconds) == (job_id, 4, 60.0)
    assert before <= started.since <= mine.beats().loop <= mine.beats().claim <= time.monotonic()
    assert mine.ready
    assert mine.counters() == (3, 3, 5)
    theirs.end(1)
    assert mine.running() == []
    theirs.close()
    mine.close()


def test_who_has_just_begun_to_claim_has_turned() -> None:
    """Between the word that it claims and its loops' first turns a child looked as if it stood still since ever."""
    mine = Board.create(1)
    began = time.monotonic()
    mine.set_ready()
    assert min(mine.beats().loop, mine.beats().claim) >= began
    mine.close()


def test_every_slot_has_a_record_of_its_own() -> None:
    board = Board.create(50)
    ids = [make_job_id() for _ in range(50)]
    for slot, job_id in enumerate(ids):
        board.start(slot, job_id, slot, 1.0)
    assert [job.job_id for job in board.running()] == ids
    for slot in range(0, 50, 2):
        board.end(slot)
    assert [job.job_id for job in board.running()] == ids[1::2]
    assert [job.attempt for job in board.running()] == list(range(1, 50, 2))
    board.close()


def test_it_tells_how_far_jobs_are_and_what_has_run_in_all() -> None:
    board = Board.create(2)
    first, second = make_job_id(), make_job_id()
    board.start(0, first, 1, 9.0)
    board.start(1, second, 1, 9.0)
    board.progress(second, 0.25)
    board.progress("not-here", 0.5)
    assert [job.progress for job in board.running()] == [None, 0.25]
    board.end(1)
    board.start(1, first, 2, 9.0)
    assert [job.progress for job in board.running()] == [None, None], "the last job's progress is not this one's"
    time.sleep(0.02)
    board.end(0)
    board.end(1)
    jobs, seconds = board.ended()
    assert jobs == 3
    assert 0.04 <= seconds < 30
    board.close()


def test_slots_that_are_allowed_and_slots_that_are_held_are_two_words() -> None:
    board = Board.create(4)
    assert (board.allowed, board.held, board.spent) == (4, 4, False)
    order = board.allow(1)
    assert (board.allowed, board.held, board.followed) == (1, 4, 0)
    board.hold(2, True)
    board.follow(order)
    assert (board.allowed, board.held, board.spent, board.followed) == (1, 2, True, order)
    board.close()


def test_every_order_is_another_word_also_after_very_many() -> None:
    board = Board.create(1)
    orders = [board.allow(1) for _ in range(70_000)]
    assert board.allowed == 1
    assert all(one != other for one, other in pairwise(orders))
    board.close()


def test_a_slot_used_again_names_the_new_job_only() -> None:
    board = Board.create(1)
    board.start(0, "a-rather-long-job-id", 1, 1.0)
    board.end(0)
    board.start(0, "short", 2, 1.0)
    assert [job.job_id for job in board.running()] == ["short"]
    board.close()


def test_what_a_child_killed_in_mid_job_wrote_stays_readable() -> None:
    board = Board.create(3)
    job_id = make_job_id()
    process = subprocess.run(
        [sys.executable, "-c", CHILD, str(board.descriptor), job_id], pass_fds=(board.descriptor,), timeout=60
    )
    assert process.returncode == -signal.SIGKILL
    assert board.ready
    (started,) = board.running()
    assert (started.job_id, started.attempt, started.limit_seconds) == (job_id, 7, 12.5)
    assert started.since <= time.monotonic()
    assert 0 < board.beats().claim <= board.beats().loop
    assert board.counters() == (4, 0, 1)
    board.close()


def test_a_closed_board_gives_its_descriptor_back() -> None:
    board = Board.create(1)
    descriptor = board.descriptor
    board.close()
    with pytest.raises(OSError, match="Bad file"):
        os.fstat(descriptor)
