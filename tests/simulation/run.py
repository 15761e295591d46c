"""Run schedules by their seeds."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from hashlib import blake2b

from .mutants import MUTANTS
from .patches import installed, running
from .plan import Plan, make_plan
from .simulation import BEGIN_SECONDS, Simulation
from .worker import REPLACED


@dataclass(frozen=True)
class Outcome:
    """How one schedule went."""

    plan: Plan
    violations: list[str]
    trace: list[str]
    calls: int
    seconds: float
    digest: str
    """Of everything that the jobs went through: equal for equal runs."""


def run_seed(seed: int, *, is_verbose: bool = False, mutant: str = "") -> Outcome:
    """Run the schedule of one seed."""
    (outcome,) = run_many([seed], is_verbose=is_verbose, mutant=mutant)
    return outcome


def run_many(
    seeds: Iterable[int], *, is_verbose: bool = False, mutant: str = "", stop_at_first: bool = False
) -> list[Outcome]:
    """Run schedules one after the other."""
    outcomes = []
    with ExitStack() as stack:
        stack.enter_context(installed(REPLACED))
        if mutant:
            stack.enter_context(MUTANTS[mutant].made())
        for seed in seeds:
            outcome = _run(make_plan(seed), is_verbose=is_verbose)
            outcomes.append(outcome)
            if stop_at_first and outcome.violations:
                break
    return outcomes


def _run(plan: Plan, *, is_verbose: bool) -> Outcome:
    sim = Simulation(plan, is_verbose=is_verbose)
    with running(sim):
        violations = sim.run()
    jobs = sorted(sim.mongo.collection("jobs").all.items())
    said = repr(
        [(name, job["state"], [(e["to"], e["reason"], e["at"], e["by"]) for e in job["log"]]) for name, job in jobs]
    )
    return Outcome(
        plan=plan,
        violations=list(violations),
        trace=sim.trace,
        calls=sim.network.calls,
        seconds=sim.loop.time() - BEGIN_SECONDS,
        digest=blake2b(f"{said}{sim.network.calls}".encode(), digest_size=8).hexdigest(),
    )
