from __future__ import annotations

import ast
import os
import struct
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from . import run  # noqa: F401 -- the acts register themselves
from .draws import DRAWS
from .failpoint_table import PLACES
from .lanes import share_out
from .nemesis import act_of
from .plan import Plan, failpoint_plan, fault_of, hardship_plan, make_plan
from .stack import SKEWED

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("mode", ["safety", "liveness"])
def test_a_seed_makes_the_same_plan_every_time(mode: str) -> None:
    assert make_plan(7, seconds=20, mode=mode) == make_plan(7, seconds=20, mode=mode)
    assert make_plan(7, seconds=20, mode=mode) != make_plan(11, seconds=20, mode=mode)


@pytest.mark.parametrize("seed", range(8))
def test_a_plan_comes_back_from_its_file(seed: int, tmp_path: Path) -> None:
    plan = make_plan(seed, seconds=15, mode="liveness")
    plan.save(tmp_path / "plan.json")
    assert Plan.from_json((tmp_path / "plan.json").read_text()) == plan


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"seed": 1, "faults": [{"what": 1}], "load": {}}'])
def test_what_is_no_plan_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"plan|Expecting"):
        Plan.from_json(text)


def test_everything_that_can_be_planned_can_be_done() -> None:
    planned = [fault_of(draw.kind, target, 0) for draw in DRAWS for target in draw.targets]
    planned += [fault for seed in range(8) for fault in make_plan(seed, seconds=60, mode="liveness").faults]
    planned += failpoint_plan().faults
    for fault in planned:
        assert act_of(fault) is not None


def test_sixty_seeds_draw_every_kind_of_fault() -> None:
    drawn = {fault.kind for seed in range(1, 61) for fault in make_plan(seed, seconds=60).faults}
    assert {draw.kind for draw in DRAWS} <= drawn


def test_every_failpoint_of_the_code_is_in_the_table_and_each_of_the_table_in_the_code() -> None:
    files = [*ROOT.glob("services/*/src/**/*.py"), *ROOT.glob("packages/*/src/**/*.py")]
    found = [
        str(node.args[0].value)
        for file in files
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id in {"fp", "afp"}
        and isinstance(node.args[0], ast.Constant)
    ]
    assert sorted(found) == sorted(place.name for place in PLACES), "each name stands at one place"


def test_a_failpoint_without_a_place_in_the_suite_has_a_test_that_names_it() -> None:
    for place in PLACES:
        if place.tested_by is not None:
            assert place.name in (ROOT / place.tested_by).read_text(encoding="utf-8")


def test_the_matrix_has_every_failpoint_with_every_action() -> None:
    faults = failpoint_plan().faults
    placed = [place for place in PLACES if place.tested_by is None]
    assert len(faults) == 3 * len(placed)
    assert {fault.kind.split(":")[2] for fault in faults} == {"exit137", "stop", "error"}


def test_hardships_are_one_after_the_other_and_each_can_be_done() -> None:
    plan = hardship_plan()
    assert plan.in_turn
    assert {fault.kind for fault in plan.faults} == {"burst", "clock", "stop", "hold-gil", "pill"}
    for fault in plan.faults:
        assert act_of(fault) is not None


@pytest.mark.parametrize("at_once", [1, 2, 3, 99])
def test_lanes_share_out_every_plan_once_and_about_evenly(at_once: int) -> None:
    plans = [failpoint_plan(), hardship_plan(), *(make_plan(seed, seconds=10) for seed in range(8))]
    lanes = share_out(plans, at_once)
    assert len(lanes) == min(at_once, len(plans))
    assert sorted(number for lane in lanes for number, _ in lane) == list(range(len(plans)))
    assert all(plan is plans[number] for lane in lanes for number, plan in lane)


def test_a_clock_of_a_service_jumps_when_its_file_says_so(tmp_path: Path) -> None:
    file = tmp_path / "clock"
    file.write_bytes(struct.pack("<d", 0.0))
    look = (
        "import struct, sys, time\n"
        "from datetime import UTC, datetime\n"
        "before = time.time(), time.time_ns(), datetime.now(UTC), datetime.utcnow(), time.monotonic()\n"
        "open(sys.argv[1], 'r+b').write(struct.pack('<d', -3600.0))\n"
        "after = time.time(), time.time_ns(), datetime.now(UTC), datetime.utcnow(), time.monotonic()\n"
        "from bson import decode, encode\n"
        "assert isinstance(decode(encode({'at': after[2]}))['at'], datetime)\n"
        "jumps = [after[0] - before[0], (after[1] - before[1]) / 1e9]\n"
        "jumps += [(after[n] - before[n]).total_seconds() for n in (2, 3)]\n"
        "print(all(abs(jump + 3600) < 60 for jump in jumps), after[4] >= before[4])"
    )
    for mode, says in (("1", "True True"), ("0", "False True")):
        environment = {**os.environ, "JOB_TEST_MODE": mode, "HEADRACE_CLOCK": str(file), "PYTHONPATH": str(SKEWED)}
        command = [sys.executable, "-W", "ignore", "-c", look, str(file)]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        assert done.stdout.strip() == says
        file.write_bytes(struct.pack("<d", 0.0))


def test_a_lane_ends_with_whoever_started_it() -> None:
    lane = "import time; from tests.chaos.lanes import end_with; end_with({}); print(1, flush=True); time.sleep(99)"
    starts = (
        "import os, subprocess, sys, time\n"
        "command = [sys.executable, '-c', sys.argv[1].format(os.getpid())]\n"
        "child = subprocess.Popen(command, stdout=subprocess.PIPE)\n"
        "child.stdout.readline()\n"
        "print(child.pid, flush=True)\n"
        "time.sleep(99)"
    )
    command = [sys.executable, "-c", starts, lane]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as parent:
        assert parent.stdout is not None
        process = psutil.Process(int(parent.stdout.readline()))
        parent.kill()
    _, alive = psutil.wait_procs([process], timeout=30)
    assert not alive
