"""How the slots of a service are shared among pools and cut into processes."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.contracts.executor import ExecutionPolicy
from headrace.runtime.store.job_types import JobType
from headrace.worker.pools import ChildPlan, plan_children


def kind(name: str, pool: str, per_process: int = 10) -> JobType:
    return JobType(name, ExecutionPolicy(pool=pool, slots_per_process=per_process), {})


@pytest.mark.parametrize(
    ("types", "max_workers", "plans"),
    [
        ([], 10, []),
        ([kind("a", "p")], 10, [ChildPlan("p", ("a",), 10)]),
        ([kind("a", "p", 4)], 10, [ChildPlan("p", ("a",), 4), ChildPlan("p", ("a",), 4), ChildPlan("p", ("a",), 2)]),
        ([kind("b", "p", 9), kind("a", "p", 2)], 3, [ChildPlan("p", ("a", "b"), 2), ChildPlan("p", ("a", "b"), 1)]),
        ([kind("a", "q"), kind("b", "p")], 5, [ChildPlan("p", ("b",), 3), ChildPlan("q", ("a",), 2)]),
        ([kind("a", "q"), kind("b", "p")], 1, [ChildPlan("p", ("b",), 1), ChildPlan("q", ("a",), 1)]),
    ],
)
def test_a_plan(types: list[JobType], max_workers: int, plans: list[ChildPlan]) -> None:
    assert plan_children(types, max_workers=max_workers) == plans


pools = st.sampled_from(["a", "b", "c", "d"])


@given(
    st.lists(st.tuples(pools, st.integers(1, 50)), min_size=1, max_size=12),
    st.integers(1, 300),
    st.randoms(use_true_random=False),
)
def test_every_slot_is_given_out_once_whatever_order_the_types_come_in(
    found: list[tuple[str, int]], max_workers: int, dice: Any
) -> None:
    types = [kind(f"t{number:02}", pool, per) for number, (pool, per) in enumerate(found)]
    plans = plan_children(types, max_workers=max_workers)
    names = {item.pool for item in types}
    shares = {name: sum(plan.slots for plan in plans if plan.pool == name) for name in names}
    assert sum(shares.values()) == max(max_workers, len(names))
    assert max(shares.values()) - min(shares.values()) <= 1
    for plan in plans:
        members = [item for item in types if item.pool == plan.pool]
        assert 1 <= plan.slots <= min(item.policy.slots_per_process for item in members)
        assert set(plan.types) == {item.type for item in members}
    dice.shuffle(types)
    assert plan_children(types, max_workers=max_workers) == plans
