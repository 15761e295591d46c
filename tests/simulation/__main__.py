"""`python -m tests.simulation`: run schedules, or one of them again with everything that happened."""

from __future__ import annotations

import argparse
import os
import sys
import time
from concurrent.futures import ProcessPoolExecutor

if os.environ.get("PYTHONHASHSEED") != "0":
    # Sets of texts are walked in an order that Python makes up anew for each process.
    os.execve(
        sys.executable, [sys.executable, "-m", "tests.simulation", *sys.argv[1:]], os.environ | {"PYTHONHASHSEED": "0"}
    )

from .run import Outcome, run_many, run_seed

PART = 50


def run_part(part: tuple[range, str]) -> list[Outcome]:
    """Some schedules of many, in a process of their own."""
    return run_many(part[0], mutant=part[1])


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description="Run simulated schedules.")
    parser.add_argument("--seed", type=int, help="run this one alone")
    parser.add_argument("--first", type=int, default=0, help="the first seed of many")
    parser.add_argument("--schedules", type=int, default=1000, help="how many")
    parser.add_argument("--processes", type=int, default=os.cpu_count(), help="at once")
    parser.add_argument("--mutant", default="", help="with this mistake in the code")
    parser.add_argument("-v", "--verbose", action="store_true", help="show every call and log line")
    options = parser.parse_args()
    began = time.perf_counter()
    if options.seed is not None:
        outcome = run_seed(options.seed, is_verbose=options.verbose, mutant=options.mutant)
        print(*outcome.plan.lines(), *outcome.trace, sep="\n")
        print(f"{outcome.calls} calls, {outcome.seconds:.1f} s of virtual time, {outcome.digest}")
        outcomes = [outcome]
    else:
        seeds = range(options.first, options.first + options.schedules)
        parts = [(seeds[at : at + PART], options.mutant) for at in range(0, len(seeds), PART)]
        with ProcessPoolExecutor(options.processes) as pool:
            outcomes = [outcome for part in pool.map(run_part, parts) for outcome in part]
    bad = [outcome for outcome in outcomes if outcome.violations]
    for outcome in bad:
        print(f"seed {outcome.plan.seed}:", *outcome.violations, sep="\n  ")
    calls = sum(outcome.calls for outcome in outcomes)
    seconds = time.perf_counter() - began
    print(f"{len(outcomes)} schedules, {calls} calls, {len(bad)} violated something, {seconds:.1f} s")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
