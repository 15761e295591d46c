"""The protocols, explored state by state: the rules as the code has them, each rule taken away, each mistake made.

The long runs are a command: see `docs/protocol-rules.md`.
"""

from __future__ import annotations

import pytest

from .explore import explore
from .runs import BOUND, GROUPS, QUICK, RUNS, Run
from .values import Cfg


@pytest.mark.parametrize("run", [pytest.param(run, id=name) for name, run in QUICK.items()])
def test_a_run_finds_exactly_what_it_must(run: Run) -> None:
    """The rules hold over the whole graph; a hole or a mutant is found, by the promise that it breaks."""
    found = explore(run.model, run.cfg)
    trace = "\n".join(found.trace)
    if run.finds is None:
        assert found.violation is None, f"{found.violation}\n{trace}"
        assert found.complete
    else:
        assert found.violation is not None, f"not found in {found.states} states"
        assert found.violation.startswith(run.finds), f"{found.violation}\n{trace}"
        assert found.trace, "it says how it got there"


def test_every_rule_and_every_mutant_of_the_model_has_a_run() -> None:
    """A switch that no run flips would be evidence of nothing."""
    defaults = Cfg()
    flipped = {
        name
        for run in RUNS.values()
        if isinstance(run.cfg, Cfg)
        for name in Cfg.__dataclass_fields__
        if getattr(run.cfg, name) != getattr(defaults, name)
    }
    assert set(Cfg.__dataclass_fields__) - flipped == {"max_crashes"}


def test_runs_have_names_of_their_own() -> None:
    """One name, one run."""
    assert len(RUNS) == sum(len(group) for group in GROUPS.values())
    assert any(run.finds for run in BOUND.values())
