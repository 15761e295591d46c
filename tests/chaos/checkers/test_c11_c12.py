from __future__ import annotations

from dataclasses import replace

import pytest
from tests.chaos.history import (
    CanaryHit,
    History,
    Leader,
    LogLine,
    Probe,
    Process,
    ResourceSample,
    SlowCommand,
)

from .c11_times import check_times
from .c12_hygiene import check_hygiene
from .histories import DONE, fault, finds, index, job, more, ran, submit, whole

# -- C11: lease 4, sweep 1, probe 1, leader 4, election 4, rebuild 1000/s -------------------------------------------

KILLED = fault("kill", "worker", at=3, owners=("w1",))
HELD = job("a", "submitted@1", "claimed@2:w1", "host_lost@8", "claimed@9:w2", "completed@10")


def figures(history: History, name: str) -> tuple[float, float, float]:
    found = check_times(history).figures
    return found[f"{name}: n"], found[f"{name}: max, s"], found[f"{name}: bound, s"]


def test_a_what_a_killed_worker_held() -> None:
    history = whole(HELD, job("b", *DONE), fired=(KILLED,))
    assert finds(check_times, history) == set()
    assert figures(history, "a worker killed") == (1, 5, 6)
    late = job("a", "submitted@1", "claimed@2:w1", "host_lost@9.5", "claimed@9.6:w2", "completed@10")
    assert finds(check_times, whole(late, fired=(KILLED,))) == {"a worker killed"}
    assert finds(check_times, whole(job("a", "submitted@1", "claimed@2:w1"), fired=(KILLED,))) == {"a worker killed"}


def test_a_counts_by_the_index_where_that_was_recorded() -> None:
    pushed_late = whole(HELD, fired=(KILLED,), queue_events=index("ready:a@1=5", "claimed:a@2=5#w1.x", "ready:a@9.9=5"))
    assert finds(check_times, pushed_late) == {"a worker killed"}
    assert figures(pushed_late, "a worker killed")[1] == pytest.approx(6.9)


def test_a_what_was_only_popped() -> None:
    waits = job("a", "submitted@1", "claimed@6:w2", "completed@7")
    popped = ("ready:a@1=5", "claimed:a@2=5#w1.x")
    assert finds(check_times, whole(waits, fired=(KILLED,), queue_events=index(*popped, "ready:a@5=5"))) == set()
    assert finds(check_times, whole(waits, fired=(KILLED,), queue_events=index(*popped))) == set(), "without the index"
    late = job("a", "submitted@1", "claimed@12:w2", "completed@13")
    assert finds(check_times, whole(late, fired=(KILLED,), queue_events=index(*popped))) == {"a worker killed"}
    cancelled = job("a", "submitted@1", "cancelled@2.1")
    assert check_times(whole(cancelled, fired=(KILLED,), queue_events=index(*popped))).looked_at == 0


def test_the_clock_begins_when_the_last_other_fault_is_over() -> None:
    late = job("a", "submitted@1", "claimed@2:w1", "host_lost@12", "claimed@13:w2", "completed@14")
    away = fault("pause", "recovery", at=3.5, ended=7, id_="f2")
    assert finds(check_times, whole(late, fired=(KILLED,))) == {"a worker killed"}
    assert finds(check_times, whole(late, fired=(KILLED, away))) == set()


def test_while_a_primary_is_elected_no_other_clock_runs() -> None:
    late = job("a", "submitted@1", "claimed@2:w1", "host_lost@10", "claimed@13:w2", "completed@14")
    for target, kind, found in (
        ("mongod:primary", "stepdown", set()),
        ("mongod:secondary", "kill", {"a worker killed"}),
        ("mongod:primary", "slow", {"a worker killed"}),
    ):
        other = fault(kind, target, at=3.5, ended=3.6, id_="f2")
        accepted = submit("b", index=9, at=6)
        history = whole(late, job("b", "submitted@6", "cancelled@7"), fired=(KILLED, other), operations=(accepted,))
        assert finds(check_times, history) == found, (target, kind)


def test_b_a_claim_straight_from_mongodb_counts_as_well() -> None:
    claimed = job("a", "submitted@1", "claimed@6", "completed@6.5")
    history = whole(claimed, fired=(FLUSH,), queue_events=index("lost@5", "complete@6.5"))
    assert finds(check_times, history) == set()


FLUSH = fault("flush", "redis", at=5)
WAITING = job("a", "submitted@1", "claimed@9", "completed@9.5")


@pytest.mark.parametrize(
    ("steps", "rules"),
    [
        (("lost@5", "ready:a@6=5", "complete@6.5"), set()),
        (("lost@5", "ready:a@8.5=5", "complete@8.6"), {"b Redis lost, all", "b Redis lost, first"}),
        (("lost@5", "ready:a@6=5", "complete@9"), {"b Redis lost, all"}),
        (("lost@5", "ready:a@6=5"), {"b Redis lost, all"}),
        (("lost@5", "complete@6"), {"b Redis lost, first"}),
    ],
)
def test_b_redis_is_whole_again(steps: tuple[str, ...], rules: set[str]) -> None:
    assert finds(check_times, whole(WAITING, fired=(FLUSH,), queue_events=index("ready:a@1=5", *steps))) == rules


def test_c_the_first_accepted_submit() -> None:
    gone = fault("kill", "mongod:primary", at=5, ended=30)
    refused = submit(None, index=5, at=6, outcome="fail", status=503)
    again = submit("b", index=6, at=9)
    history = more(
        whole(WAITING, job("b", "submitted@9", "claimed@10", "completed@11"), fired=(gone,)), operations=[refused]
    )
    assert finds(check_times, more(history, operations=[again])) == set()
    assert finds(check_times, replace(history, operations=(*history.operations[:1], refused))) == {"c primary lost"}
    nobody_asked = whole(WAITING, fired=(gone,))
    assert check_times(nobody_asked).figures["c primary lost: n"] == 0


@pytest.mark.parametrize(("at", "rules"), [(9.0, set()), (10.5, {"d leader lost"}), (None, {"d leader lost"})])
def test_d_another_leader(at: float | None, rules: set[str]) -> None:
    lost = fault("kill", "recovery:leader", at=5)
    leaders = (Leader(1.0, "r1"), *(() if at is None else (Leader(7.0, None), Leader(at, "r2"))))
    assert finds(check_times, whole(WAITING, fired=(lost,), leaders=leaders)) == rules


def test_d_a_leader_that_wakes_before_its_lease_is_over_has_no_successor() -> None:
    short = fault("pause", "recovery:leader", at=5, ended=7)
    assert check_times(whole(WAITING, fired=(short,), leaders=(Leader(1.0, "r1"),))).looked_at == 0
    long = fault("pause", "recovery:leader", at=5, ended=10)
    assert finds(check_times, whole(WAITING, fired=(long,), leaders=(Leader(1.0, "r1"),))) == {"d leader lost"}


@pytest.mark.parametrize(("at", "rules"), [(10.0, set()), (12.0, {"e no progress"}), (4.0, {"e no progress"})])
def test_e_a_worker_that_does_not_progress(at: float, rules: set[str]) -> None:
    blocked = fault("block", "child", at=5)
    worker = Process("worker-0", "worker", 7, 0.0)
    probes = (Probe(4.0, "worker-0", True), Probe(at, "worker-0", False, "no progress"))
    assert finds(check_times, whole(WAITING, fired=(blocked,), processes=(worker,), probes=probes)) == rules


@pytest.mark.parametrize(("at", "rules"), [(4.0, set()), (5.5, {"f graceful stop"})])
def test_f_unstarted_claims_of_a_stopping_worker(at: float, rules: set[str]) -> None:
    stopped = fault("stop", "worker", at=3, owners=("w1",))
    released = job("a", "submitted@1", "claimed@2:w1", f"released@{at}", "claimed@6:w2", "completed@7")
    started = job("b", "submitted@1", "claimed@2:w1", "completed@9")
    history = whole(released, started, fired=(stopped,))
    effects = tuple(effect for effect in history.effects if (effect.job_id, effect.attempt) != ("a", 1))
    assert finds(check_times, replace(history, effects=effects)) == rules


@pytest.mark.parametrize("held", [True, False])
def test_e_a_job_that_holds_the_lock_of_python_counts_when_it_does_so_for_long(held: bool) -> None:
    block = fault("hold-gil", "child", at=5, ended=12.0 if held else 7.0)
    worker = Process("worker-0", "worker", 7, 0.0)
    history = whole(WAITING, fired=(block,), processes=(worker,), probes=(Probe(4.0, "worker-0", True),))
    assert set(check_times(history).rules) == ({"e no progress"} if held else set())


def test_f_a_stop_in_the_middle_of_a_claim_counts() -> None:
    stopped = fault("stop", "worker:claiming", at=3, owners=("w1",))
    released = job("a", "submitted@1", "claimed@2:w1", "released@5.5", "claimed@6:w2", "completed@7")
    history = whole(released, fired=(stopped,))
    effects = tuple(effect for effect in history.effects if effect.attempt != 1)
    assert finds(check_times, replace(history, effects=effects)) == {"f graceful stop"}


def test_without_faults_there_is_nothing_to_measure() -> None:
    assert check_times(whole(WAITING)).looked_at == 0


# -- C12 -----------------------------------------------------------------------------------------------------------

STOPPED = Process("worker-0", "worker", 7, 0.0, ended=99.0, exit_code=0, ended_by="stop")
SHOT = Process("worker-1", "worker", 8, 0.0, ended=9.0, exit_code=-9, ended_by="f1")


def hygiene(**fields: object) -> History:
    return replace(whole(job("a", *DONE)), **{"processes": (STOPPED, SHOT), **fields})  # type: ignore[arg-type]


def grown(rss_mib: int, sockets: int) -> tuple[ResourceSample, ...]:
    return (
        ResourceSample("worker-0", 1.0, 100 << 20, 10),
        ResourceSample("worker-0", 50.0, 900 << 20, 90),
        ResourceSample("worker-0", 99.0, rss_mib << 20, sockets),
    )


def test_a_clean_run() -> None:
    expected = LogLine("worker-0", 5.0, "error", "renew.failed", exception="StoreUnavailableError")
    quick = SlowCommand(5.0, 9_000, "EVALSHA abc 8")
    own = SlowCommand(5.0, 900_000, "DEBUG SLEEP 1")
    clean = hygiene(log_lines=(expected,), resources=grown(140, 12), slow_commands=(quick, own))
    assert finds(check_hygiene, clean) == set()


def test_a_command_that_was_frozen_with_redis_was_not_slow() -> None:
    slow = SlowCommand(5.2, 1_500_000, "EVALSHA abc 8")
    frozen = fault("pause", "redis", at=4.6, ended=6.1)
    assert finds(check_hygiene, hygiene(slow_commands=(slow,), fired=(frozen,))) == set()
    earlier = fault("pause", "redis", at=1.0, ended=3.6)
    assert finds(check_hygiene, hygiene(slow_commands=(slow,), fired=(earlier,))) == {"slow"}


DIRT: dict[str, tuple[dict[str, object], str]] = {
    "left running": ({"processes": (replace(STOPPED, ended=None, alive_after=True),)}, "left-running"),
    "died by itself": ({"processes": (replace(SHOT, ended_by=None),)}, "died"),
    "an unexpected traceback": ({"log_lines": (LogLine("w", 5.0, "error", "x", exception="KeyError"),)}, "traceback"),
    "a secret in a log": ({"canary_hits": (CanaryHit("log:worker-0", "token-1"),)}, "secret"),
    "a secret on a command line": ({"canary_hits": (CanaryHit("argv:worker-0", "token-1"),)}, "secret"),
    "memory that stays": ({"resources": grown(200, 10)}, "memory"),
    "sockets that stay": ({"resources": grown(100, 30)}, "sockets"),
    "a slow command": ({"slow_commands": (SlowCommand(5.0, 11_000, "EVALSHA abc 8"),)}, "slow"),
    "KEYS, however fast": ({"slow_commands": (SlowCommand(5.0, 10, "keys *"),)}, "keys"),
}


@pytest.mark.parametrize(("fields", "rule"), DIRT.values(), ids=DIRT)
def test_a_run_that_is_not_clean(fields: dict[str, object], rule: str) -> None:
    assert finds(check_hygiene, hygiene(**fields)) == {rule}


def test_a_child_that_a_job_was_made_to_kill_did_not_die_by_itself() -> None:
    child = Process("worker-0/child", "child", 11, 0.0, ended=9.0, exit_code=-9)
    pill = whole(job("a", *DONE, job_type="test.die"), processes=(child,), effects=(ran("a", at=2.1, pid=11),))
    assert finds(check_hygiene, pill) == set()
    assert finds(check_hygiene, replace(pill, documents=(job("a", *DONE),))) == {"died"}


def test_a_child_that_others_had_declared_dead_was_ended_for_that() -> None:
    child = Process("worker-0/child", "child", 11, 0.0, ended=9.0, exit_code=None)
    told = LogLine("worker-0", 8.8, "warning", "child.declared_dead", owner="w1")
    away = fault("black-hole", "link:worker>mongod", at=3.0, ended=6.0)
    assert finds(check_hygiene, hygiene(processes=(child,), log_lines=(told,), fired=(away,))) == set()
    assert finds(check_hygiene, hygiene(processes=(child,), log_lines=(told,))) == {"falsely-dead"}
    elsewhere = replace(told, process="worker-1")
    assert finds(check_hygiene, hygiene(processes=(child,), log_lines=(elsewhere,), fired=(away,))) == {"died"}
