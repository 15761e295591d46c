from __future__ import annotations

import ast
from pathlib import Path

import pytest

from . import run  # noqa: F401 -- the acts register themselves
from .failpoint_table import PLACES
from .nemesis import act_of
from .plan import DRAWS, Plan, failpoint_plan, fault_of, make_plan

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
        node.args[0].value
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
