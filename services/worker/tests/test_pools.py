"""How large the installed pools may be."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from headrace.contracts.errors import ConfigError
from headrace.contracts.executor import ExecutionPolicy
from headrace.runtime.store.job_types import JobType
from headrace.runtime.store.pools import PoolSettings
from headrace.worker.pools import PoolSpec, size_pools
from headrace.worker.pools_file import Autoscale, PoolsFile


def kind(name: str, pool: str, per_process: int = 10) -> JobType:
    return JobType(name, ExecutionPolicy(pool=pool, slots_per_process=per_process), {})


def file(**pools: dict[str, object]) -> PoolsFile:
    return PoolsFile.model_validate({"pools": pools})


def spec(low: int, high: int) -> PoolSpec:
    return PoolSpec("p", ("a",), low, high, 4)


def test_without_a_file_a_pool_may_have_everything_and_keeps_one_slot() -> None:
    specs = size_pools([kind("b", "p", 9), kind("a", "p", 2), kind("c", "q")], PoolsFile(), max_workers=5)
    assert specs == {"p": PoolSpec("p", ("a", "b"), 1, 5, 2), "q": PoolSpec("q", ("c",), 1, 5, 5)}
    plan = specs["p"].plan()
    assert (plan.pool, plan.types, plan.slots, plan.max_jobs, plan.cpu_seconds) == ("p", ("a", "b"), 2, None, None)


def test_with_fewer_slots_than_pools_none_is_kept() -> None:
    specs = size_pools([kind("a", "p"), kind("b", "q")], PoolsFile(), max_workers=1)
    assert [(item.min_slots, item.max_slots, item.slots_per_process) for item in specs.values()] == [(0, 1, 1)] * 2


def test_what_the_file_keeps_for_one_pool_may_leave_nothing_to_keep_for_others() -> None:
    specs = size_pools([kind("a", "p"), kind("b", "q")], file(p={"min_slots": 2}), max_workers=2)
    assert {name: item.min_slots for name, item in specs.items()} == {"p": 2, "q": 0}


def test_the_file_sizes_a_pool() -> None:
    said = {
        "min_slots": 3,
        "max_slots": 40,
        "slots_per_process": 7,
        "memory_limit_mb": 900,
        "memory_recycle_mb": 500,
        "cpu_seconds": 30,
        "max_jobs_per_process": 100,
        "autoscale": {"target_seconds": 9.0},
    }
    (one,) = size_pools([kind("a", "p")], file(p=said), max_workers=20).values()
    assert one == PoolSpec(
        "p",
        ("a",),
        3,
        20,
        7,
        Autoscale(target_seconds=9.0),
        memory_limit_mb=900,
        memory_recycle_mb=500,
        max_jobs=100,
        cpu_seconds=30,
    )
    assert (one.plan().max_jobs, one.plan().cpu_seconds) == (100, 30)


def test_a_pool_may_be_closed() -> None:
    (one,) = size_pools([kind("a", "p")], file(p={"max_slots": 0}), max_workers=20).values()
    assert (one.min_slots, one.max_slots) == (0, 0)


def test_a_table_for_a_pool_that_is_not_installed_is_said_and_ignored() -> None:
    with capture_logs() as lines:
        specs = size_pools([kind("a", "p")], file(other={"min_slots": 30}), max_workers=2)
    assert set(specs) == {"p"}
    assert [line["pools"] for line in lines if line["event"] == "pools.not_installed"] == [["other"]]


def test_minimums_that_do_not_fit_are_refused_with_names_and_numbers() -> None:
    with pytest.raises(ConfigError) as caught:
        size_pools([kind("a", "p"), kind("b", "q")], file(p={"min_slots": 3}, q={"min_slots": 2}), max_workers=4)
    assert str(caught.value) == (
        "JOB_POOLS_FILE: min_slots add up to 5 ([pools.p] 3, [pools.q] 2), and JOB_MAX_WORKERS is 4"
    )


@pytest.mark.parametrize(
    ("low", "high", "sizes"),
    [
        (None, None, (2, 4)),
        (3, None, (3, 4)),
        (6, None, (6, 6)),
        (None, 1, (1, 1)),
        (None, 8, (2, 8)),
        (None, 80, (2, 10)),
        (50, 60, (10, 10)),
        (0, 0, (0, 0)),
    ],
)
def test_sizes_set_at_run_time_win(low: int | None, high: int | None, sizes: tuple[int, int]) -> None:
    resized = spec(2, 4).resized(PoolSettings("p", min_slots=low, max_slots=high), max_workers=10)
    assert (resized.min_slots, resized.max_slots) == sizes
    assert spec(2, 4).resized(None, max_workers=10) == spec(2, 4)


sizes = st.none() | st.integers(0, 100)


@given(st.integers(0, 20), st.integers(0, 20), sizes, sizes)
def test_whatever_is_set_the_sizes_are_in_order_and_fit(
    low: int, more: int, new: int | None, newer: int | None
) -> None:
    resized = spec(min(low, 20), min(low + more, 20)).resized(
        PoolSettings("p", min_slots=new, max_slots=newer), max_workers=20
    )
    assert 0 <= resized.min_slots <= resized.max_slots <= 20
