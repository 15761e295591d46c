"""Runs plans: one after the other on one replica set, or several such lanes beside each other."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import multiprocessing
import os
import signal
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from .outcome import commit, save_outcome
from .plan import Plan, described
from .replica_set import ReplicaSet
from .run import run_plan
from .table import Row, row_of, save_results, show_line

OVERHEAD_S = 14.0
"""What a run takes besides its plan's seconds: start, quiet, stop."""

_PR_SET_PDEATHSIG = 1
Numbered = tuple[int, Plan]


def run_lanes(plans: Sequence[Plan], out: Path, *, at_once: int) -> list[Row]:
    """Carry out all plans. Returns a row for each, in their order.

    Args:
        plans: What to run.
        out: Each run has a folder here, named by its number.
        at_once: How many lanes; each has its own stores and ports.
    """
    lanes = share_out(plans, at_once)
    if len(lanes) == 1:
        return [row for _, row in run_lane(lanes[0], out)]
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(len(lanes), mp_context=context, initializer=end_with, initargs=(os.getpid(),)) as pool:
        done = [pair for lane in pool.map(run_lane, lanes, [out] * len(lanes)) for pair in lane]
    return [row for _, row in sorted(done, key=lambda pair: pair[0])]


def end_with(parent: int) -> None:
    """End when the process that started this one ends, however that ends; what this one started does the same."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
    if os.getppid() != parent:  # it has ended already
        os._exit(1)


def share_out(plans: Sequence[Plan], at_once: int) -> list[list[Numbered]]:
    """The longest first, each to the lane that has least to do."""
    lanes: list[list[Numbered]] = [[] for _ in range(max(1, min(at_once, len(plans))))]
    load = [0.0] * len(lanes)
    for number, plan in sorted(enumerate(plans), key=lambda pair: -_seconds(pair[1])):
        least = load.index(min(load))
        lanes[least].append((number, plan))
        load[least] += _seconds(plan)
    return lanes


def _seconds(plan: Plan) -> float:
    return OVERHEAD_S + max(plan.seconds, 1.25 * len(plan.faults) if plan.in_turn else 0.0)


def run_lane(plans: Sequence[Numbered], out: Path) -> list[tuple[int, Row]]:
    """Carry out the plans of one lane."""
    return asyncio.run(_run_lane(plans, out))


async def _run_lane(plans: Sequence[Numbered], out: Path) -> list[tuple[int, Row]]:
    rows: list[tuple[int, Row]] = []
    replica_set = ReplicaSet()
    async with contextlib.AsyncExitStack() as stack:
        stack.push_async_callback(asyncio.to_thread, replica_set.close)
        await asyncio.to_thread(replica_set.start)
        for number, plan in plans:
            command = f"chaos --seed {plan.seed} --mode {plan.mode} --seconds {plan.seconds:g} --commit {commit()}"
            print("\n".join([command, *(f"  {line}" for line in described(plan))]), flush=True)
            outcome = await run_plan(plan, folder=out / f"{number:03}-{plan.mode}-{plan.seed}", replica_set=replica_set)
            save_outcome(outcome)
            row = row_of(outcome)
            rows.append((number, row))
            save_results([row], outcome.folder / "results.json")
            print(show_line(row), flush=True)
    return rows
