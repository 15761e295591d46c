from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec, module_from_spec
from pathlib import Path

import pytest
from tests.chaos.mutants import BY_HAND, MUTANTS, Mutant, Row, show

from .checkers.every import CHECKERS
from .history import History, Run
from .mutants import MUTATED
from .mutated.mutations import PATCHES
from .scenarios import SCENARIOS

ALL = (*MUTANTS, *BY_HAND)
LOOK = "from headrace.worker.budget import claim_budget as b; print(b.__module__)"


def test_there_are_fifteen_and_one_for_each_invariant_and_each_is_made() -> None:
    assert [mutant.name for mutant in MUTANTS] == [f"M{n}" for n in range(1, 16)]
    assert [mutant.name for mutant in BY_HAND] == [f"I{n}" for n in range(1, 13)]
    assert {mutant.name for mutant in ALL} == PATCHES.keys()


def test_every_scenario_serves_a_mutant_and_every_killer_is_a_checker() -> None:
    assert {mutant.scenario for mutant in ALL} == SCENARIOS.keys()
    names = {checker(History(Run())).checker for checker in CHECKERS}
    assert {mutant.killer.partition(": ")[0] for mutant in ALL} <= names


@pytest.mark.parametrize("name", PATCHES)
def test_a_mutation_still_fits_the_code(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Loaded beside the real module, so nothing else in this process changes."""
    for module_name, patch in PATCHES[name]:
        spec = find_spec(module_name)
        assert spec is not None
        assert spec.loader is not None
        module = module_from_spec(spec)
        monkeypatch.setitem(sys.modules, module_name, module)  # dataclasses look there
        spec.loader.exec_module(module)
        before = dict(vars(module))
        classes = {key: dict(vars(value)) for key, value in before.items() if isinstance(value, type)}
        patch(module)
        changed = {key for key, value in vars(module).items() if before.get(key) is not value}
        changed |= {key for key, was in classes.items() if dict(vars(before[key])) != was}
        assert len(changed) == 1, "one rule at a time"
        if module_name.endswith(".scripts"):
            texts = {script: module.load(script).source for script in module.names()}
            assert sum("ZPOPMIN" in text for text in texts.values()) <= 1


@pytest.mark.parametrize(
    ("test_mode", "mutant", "made_in"),
    [("1", "M15", "mutations"), ("1", "", "headrace.worker.budget"), ("0", "M15", "headrace.worker.budget")],
)
def test_a_process_is_changed_in_test_mode_only_and_says_so(
    test_mode: str, mutant: str, made_in: str, tmp_path: Path
) -> None:
    settings = {"JOB_TEST_MODE": test_mode, "HEADRACE_MUTANT": mutant, "HEADRACE_MUTANT_MARKS": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", LOOK],
        env={**os.environ, **settings, "PYTHONPATH": str(MUTATED)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == made_in
    marks = [mark.name for mark in tmp_path.iterdir()]
    assert marks == (["headrace.worker.budget"] if made_in == "mutations" else [])


def row(mutant: Mutant | None, *found: str, trouble: str | None = None) -> Row:
    expected = "" if mutant is None else mutant.killer
    return Row("M1", "a rule", "calm", expected, found, 1.0, trouble)


def test_a_row_is_good_when_the_named_checker_saw_it() -> None:
    mutant = MUTANTS[0]
    seen = row(mutant, mutant.killer, "C1 lost: lost")
    assert seen.ok
    assert "killed by C4 fencing: foreign-writer (also C1 lost: lost)" in show(seen)
    for bad in (row(mutant), row(mutant, "C1 lost: lost"), row(mutant, mutant.killer, trouble="did not start")):
        assert not bad.ok
    assert "SURVIVED" in show(row(mutant, "C1 lost: lost"))
    assert row(None).ok
    assert not row(None, "C1 lost: lost").ok, "an unbroken scenario passes everything"
