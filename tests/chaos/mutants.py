"""`python -m tests.chaos.mutants`: does the suite notice when a rule is broken?

Every scenario runs once unbroken and must pass; then every mutant runs its scenario, and the checker that is named
beside it must fail. `--by-hand` runs the breaks of the invariants instead, one each, unlike the fifteen.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from .outcome import Outcome, commit, save_outcome
from .replica_set import ReplicaSet
from .run import QUIET_S, run_plan
from .scenarios import SCENARIOS, Scenario
from .table import machine, row_of, show_line

OUT = Path(".run/mutants")
MUTATED = Path(__file__).parent / "mutated"


@dataclass(frozen=True)
class Mutant:
    """A break: what it is, where it must show, and who must see it."""

    name: str
    breaks: str
    scenario: str
    killer: str
    """The checker, and after a colon the rule that must be among those it finds broken."""


MUTANTS = (
    Mutant("M1", "filter without attempt and owner", "zombie", "C4 fencing: foreign-writer"),
    Mutant("M2", "writes with w:1", "rollback", "C1 lost: lost"),
    Mutant("M3", "no recovery", "worker-killed", "C1 lost: stuck"),
    Mutant("M4", "recovery updates by id only", "held-back", "C3 log: illegal"),
    Mutant("M5", "push to Redis before the insert", "before-insert", "C2 ghosts: pushed-unstored"),
    Mutant("M6", "claim script without token", "lost-answers", "C14 popped: forgotten"),
    Mutant("M7", "crashes are not counted", "pill", "C13 starts: crash-limit"),
    Mutant("M8", "cancel without state filter", "cancels", "C8 cancel: not-cancelled"),
    Mutant("M9", "rebuild deletes before it adds", "flush", "C10 rebuilt: complete-missing"),
    Mutant("M10", "lease by the client's clock", "worker-killed", "C1 lost: stuck"),
    Mutant("M11", "bound checked outside the atomic step", "burst", "C6 bound: over"),
    Mutant("M12", "a majority time-out answered 2xx", "rollback", "C1 lost: lost"),
    Mutant("M13", "leader lock without an end", "leader-killed", "C11 times: d leader lost"),
    Mutant("M14", "worker name as owner", "worker-killed", "C4 fencing: owner-reused"),
    Mutant("M15", "prefetch 100", "ahead", "C7 priority: ahead"),
)
BY_HAND = (
    Mutant("I1", "one insert in three is answered and not made", "calm", "C1 lost: lost"),
    Mutant("I2", "a settlement is written once more, unfiltered", "calm", "C3 log: ended-twice"),
    Mutant("I3", "a second claim does not raise the attempt", "calm", "C3 log: attempt"),
    Mutant("I4", "an executor is called twice for one attempt", "calm", "C5 overlap: run-twice"),
    Mutant("I5", "idempotency keys are not stored", "calm", "C2 ghosts: two-answers"),
    Mutant("I6", "ids of jobs that are over stay in Redis", "calm", "C10 redis: ghost"),
    Mutant("I7", "the bound is five higher", "burst", "C6 bound: over"),
    Mutant("I8", "the worst job is claimed first", "ahead", "C7 priority: inversion"),
    Mutant("I9", "a result counts although a cancel was accepted", "deaf", "C8 cancel: not-cancelled"),
    Mutant("I10", "failures are compared with no limit", "calm", "C13 starts: retry-limit"),
    Mutant("I11", "orphans are looked for every 15 s", "worker-killed", "C11 times: a worker killed"),
    Mutant("I12", "readiness is said whatever the checks find", "no-majority", "C9 ready: ready"),
)


@dataclass(frozen=True)
class Row:
    """What came of one run."""

    name: str
    breaks: str
    scenario: str
    expected: str
    found: tuple[str, ...]
    """Every checker and rule that was broken."""
    seconds: float
    trouble: str | None

    @property
    def ok(self) -> bool:
        """A mutant: seen by whom it must be. An unbroken scenario: nothing to see."""
        return self.trouble is None and (self.expected in self.found if self.expected else not self.found)


def rules_of(outcome: Outcome) -> tuple[str, ...]:
    """`checker: rule` of everything that was broken."""
    return tuple(f"{report.checker}: {rule}" for report in outcome.reports for rule in sorted(report.rules))


async def run_one(mutant: Mutant | None, scenario: Scenario, *, replica_set: ReplicaSet, out: Path) -> Row:
    """Run a scenario, broken or not."""
    name = "unbroken" if mutant is None else mutant.name
    folder = out / f"{scenario.name}-{name}"
    marks = out / f"marks-{scenario.name}-{name}"
    marks.mkdir(parents=True, exist_ok=True)
    for old in marks.iterdir():
        old.unlink()
    began = time.monotonic()
    outcome = await run_plan(
        scenario.plan(),
        folder=folder,
        replica_set=replica_set,
        settings={
            **scenario.settings,
            "PYTHONPATH": os.pathsep.join(filter(None, (str(MUTATED), os.environ.get("PYTHONPATH")))),
            "HEADRACE_MUTANT": "" if mutant is None else mutant.name,
            "HEADRACE_MUTANT_MARKS": str(marks.absolute()),
        },
        script=scenario.script,
        # Unbroken it comes to rest, however slow the machine is; a mutant need not, so it is not waited for.
        quiet_s=QUIET_S if mutant is None else scenario.quiet_s,
        promises=scenario.promises,
    )
    save_outcome(outcome)
    trouble = outcome.trouble
    if outcome.failures:
        trouble = "; ".join(f"{fault} did not fire: {why}" for fault, why in outcome.failures.items())
    if mutant is not None and not any(marks.iterdir()):
        trouble = "nothing was changed: the module was never imported"
    row = Row(
        name=name,
        breaks="" if mutant is None else mutant.breaks,
        scenario=scenario.name,
        expected="" if mutant is None else mutant.killer,
        found=rules_of(outcome),
        seconds=round(time.monotonic() - began, 1),
        trouble=trouble,
    )
    if not row.ok:
        print(show_line(row_of(outcome)), flush=True)
    return row


def show(row: Row) -> str:
    """One line."""
    if row.trouble is not None:
        verdict = f"TROUBLE {row.trouble}"
    elif not row.expected:
        verdict = "passes" if row.ok else "FAILS unbroken"
    else:
        others = [rule for rule in row.found if rule != row.expected]
        verdict = f"killed by {row.expected}" if row.ok else f"SURVIVED {row.expected}"
        verdict += f" (also {'; '.join(others)})" if others else ""
    return f"{row.name:<9} {row.breaks:<46} {row.scenario:<14} {verdict}  {row.seconds:.0f} s"


async def run_all(chosen: Sequence[Mutant], out: Path, *, unbroken: bool) -> list[Row]:
    """The scenarios that these need, unbroken, each followed by its mutants."""
    rows: list[Row] = []
    replica_set = ReplicaSet()
    try:
        await asyncio.to_thread(replica_set.start)
        for name in dict.fromkeys(mutant.scenario for mutant in chosen):
            of_it = [mutant for mutant in chosen if mutant.scenario == name]
            for mutant in [*([None] if unbroken else []), *of_it]:
                row = await run_one(mutant, SCENARIOS[name], replica_set=replica_set, out=out)
                rows.append(row)
                print(show(row), flush=True)
    finally:
        await asyncio.to_thread(replica_set.close)
    return rows


def main(argv: list[str]) -> int:
    """Exit code 0 when every mutant was killed and every unbroken scenario passed."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.mutants", description=__doc__)
    parser.add_argument("names", nargs="*", help="M1 … M15, I1 … I12; all fifteen by default")
    parser.add_argument("--by-hand", action="store_true", help="the breaks of the invariants, I1 to I12")
    parser.add_argument("--mutants-only", action="store_true", help="do not run the scenarios unbroken")
    parser.add_argument("--out", type=Path, default=OUT)
    arguments = parser.parse_args(argv)
    known = {mutant.name: mutant for mutant in (*MUTANTS, *BY_HAND)}
    chosen = [known[name] for name in arguments.names] or list(BY_HAND if arguments.by_hand else MUTANTS)
    began = time.monotonic()
    rows = asyncio.run(run_all(chosen, arguments.out, unbroken=not arguments.mutants_only))
    killed = sum(row.ok for row in rows if row.expected)
    passed = [row for row in rows if not row.expected]
    seconds = time.monotonic() - began
    print(
        f"{killed} of {len(chosen)} mutants killed, {sum(row.ok for row in passed)} of {len(passed)} scenarios pass"
        f" unbroken; {seconds:.0f} s"
    )
    result = {
        "machine": machine(),
        "commit": commit(),
        "seconds": round(seconds),
        "rows": [asdict(row) for row in rows],
    }
    (arguments.out / "results.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    return 0 if all(row.ok for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
