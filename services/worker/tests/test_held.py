"""The hand-over of a held job between the event loop and the thread that runs it."""

from __future__ import annotations

import random
import threading

import pytest

from headrace.testing.builders import make_job
from headrace.worker.held import Held, HeldJobs, Phase, Stop


def held_job() -> Held:
    return Held(make_job(attempt=1), "t1")


def test_a_job_that_was_told_to_stop_before_it_began_does_not_begin() -> None:
    held = held_job()
    assert not held.ask_to_stop(Stop.CANCEL), "nobody runs it, so its holder settles it"
    assert not held.begin(lambda _: pytest.fail("never to be interrupted"))
    assert held.phase is Phase.WAITING
    assert held.started_ms_ago() is None


def test_a_running_job_is_interrupted_once_and_the_first_word_counts() -> None:
    words: list[Stop] = []
    held = held_job()
    assert held.begin(words.append)
    assert held.ask_to_stop(Stop.RELEASE)
    assert not held.ask_to_stop(Stop.CANCEL)
    assert not held.ask_to_stop(Stop.LOST)
    assert (words, held.stop) == ([Stop.RELEASE], Stop.RELEASE)


def test_nothing_interrupts_a_job_that_has_ended() -> None:
    words: list[Stop] = []
    held = held_job()
    assert held.begin(words.append)
    held.end()
    assert not held.ask_to_stop(Stop.CANCEL)
    assert (words, held.stop, held.phase) == ([], None, Phase.ENDED)


def test_times_are_counted_from_the_start_and_from_the_word_to_stop() -> None:
    held = held_job()
    assert held.stopped_for(held.claimed_at + 5) == 0.0
    held.begin(lambda _: None)
    assert held.started_at is not None
    assert held.started_at >= held.claimed_at
    ago = held.started_ms_ago()
    assert ago is not None
    assert ago >= 0
    held.ask_to_stop(Stop.CANCEL)
    assert held.stop_at is not None
    assert held.stopped_for(held.stop_at + 2.5) == 2.5


def test_under_real_threads_an_interrupt_hits_only_while_the_job_runs_and_at_most_once() -> None:
    dice = random.Random(11)
    seen = {"ran": 0, "refused": 0, "interrupted": 0, "late": 0}
    for _ in range(300):
        held = held_job()
        hits: list[tuple[Stop, Phase]] = []
        spin = [dice.randrange(60) for _ in range(4)]
        gate = threading.Barrier(4)
        answers: list[bool] = []

        def interrupt(word: Stop, held: Held = held, hits: list[tuple[Stop, Phase]] = hits) -> None:
            hits.append((word, held.phase))

        def run(held: Held = held, gate: threading.Barrier = gate, spin: list[int] = spin) -> None:
            gate.wait()
            for _ in range(spin[0]):
                pass
            if held.begin(interrupt):
                seen["ran"] += 1
                for _ in range(spin[1] * 20):
                    pass
            else:
                seen["refused"] += 1
            held.end()

        def ask(
            reason: Stop, wait: int, held: Held = held, gate: threading.Barrier = gate, answers: list[bool] = answers
        ) -> None:
            gate.wait()
            for _ in range(wait * 10):
                pass
            answers.append(held.ask_to_stop(reason))

        threads = [threading.Thread(target=run)]
        threads += [
            threading.Thread(target=ask, args=(reason, spin[number]))
            for number, reason in enumerate((Stop.CANCEL, Stop.LOST, Stop.RELEASE), start=1)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(hits) <= 1
        assert answers.count(True) == len(hits), "'it runs' is said exactly to the one who interrupted it"
        if hits:
            assert hits[0] == (held.stop, Phase.RUNNING)
            seen["interrupted"] += 1
        elif held.stop is None:
            seen["late"] += 1
        assert held.phase is Phase.ENDED
    assert seen["ran"] + seen["refused"] == 300


async def test_the_table_is_idle_when_nothing_is_held() -> None:
    table = HeldJobs()
    one, other = held_job(), held_job()
    assert table.idle.is_set()
    table.add([])
    assert table.idle.is_set()
    table.add([one, other])
    assert not table.idle.is_set()
    assert (len(table), table.all(), table.get(one.job.id)) == (2, [one, other], one)
    table.drop(one)
    assert not table.idle.is_set()
    table.drop(other)
    assert table.idle.is_set()
    assert table.get(one.job.id) is None


async def test_dropping_an_earlier_claim_of_a_job_keeps_the_later_one() -> None:
    table = HeldJobs()
    earlier = held_job()
    later = Held(earlier.job.evolve(attempt=2), "t2")
    table.add([earlier])
    table.add([later])
    table.drop(earlier)
    assert table.get(earlier.job.id) is later
    table.drop(later)
    assert len(table) == 0
