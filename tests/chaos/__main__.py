"""`python -m tests.chaos`: run seeds or a plan, and say what came of it."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from .lanes import run_lanes
from .plan import Plan, failpoint_plan, hardship_plan, make_plan
from .table import as_markdown, save_results, show_totals

OUT = Path(".run/chaos")


def parse(argv: list[str]) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--seed", type=int, action="append", default=[], help="run this seed (may be repeated)")
    parser.add_argument("--seeds", default="", help="run these seeds: 1-8")
    parser.add_argument("--liveness", default="", help="run these seeds with one of each kind lost for good: 53-60")
    parser.add_argument("--plan", type=Path, action="append", default=[], help="run the plan in this file")
    parser.add_argument("--failpoints", action="store_true", help="run every failpoint with every action")
    parser.add_argument("--failpoint", action="append", default=[], help="only these failpoints (may be repeated)")
    parser.add_argument("--hardships", action="store_true", help="run the faults that jobs and wrong clocks bring")
    parser.add_argument("--at-once", type=int, default=1, help="so many runs beside each other, each with its stores")
    parser.add_argument("--seconds", type=float, default=20.0, help="how long clients and faults go on")
    parser.add_argument("--mode", choices=("safety", "liveness"), default="safety")
    parser.add_argument("--times", type=int, default=1, help="run each plan so many times")
    parser.add_argument("--out", type=Path, default=OUT, help="where plans, histories, logs and results go")
    parser.add_argument("--only-plan", action="store_true", help="print the plans and run nothing")
    return parser.parse_args(argv)


def plans_of(arguments: argparse.Namespace) -> list[Plan]:
    """What is to be run."""
    seeds = [*arguments.seed, *_range(arguments.seeds)]
    plans = [make_plan(seed, seconds=arguments.seconds, mode=arguments.mode) for seed in seeds]
    plans += [make_plan(seed, seconds=arguments.seconds, mode="liveness") for seed in _range(arguments.liveness)]
    plans += [Plan.from_json(path.read_text(encoding="utf-8")) for path in arguments.plan]
    if arguments.hardships:
        plans.insert(0, hardship_plan())
    if arguments.failpoints or arguments.failpoint:
        plans.insert(0, failpoint_plan(arguments.failpoint))
    return [plan for plan in plans for _ in range(arguments.times)]


def _range(text: str) -> range:
    """`3-5` or `3`."""
    first, _, last = text.partition("-")
    return range(int(first), int(last or first) + 1) if text else range(0)


def main(argv: list[str]) -> int:
    """Exit code 0 when every run passed."""
    arguments = parse(argv)
    plans = plans_of(arguments)
    if arguments.only_plan:
        for plan in plans:
            print(plan.to_json())
        return 0
    rows = run_lanes(plans, arguments.out, at_once=arguments.at_once)
    save_results(rows, arguments.out / "results.json")
    print(f"{as_markdown(rows)}\n\n{show_totals(rows)}")
    return 0 if rows and all(row["passed"] for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
