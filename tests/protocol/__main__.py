"""`python -m tests.protocol [-v] [--limit N] [GROUP or RUN …]`: explore, one line per run.

Without names: every group but `wide`. The exit status is 0 when each run found what it must find.
"""

from __future__ import annotations

import argparse
import sys

from .explore import explore
from .runs import GROUPS, QUICK, RUNS, Run


def chosen(names: list[str]) -> dict[str, Run]:
    """The runs that are meant."""
    found: dict[str, Run] = {}
    for name in names:
        if name in GROUPS:
            found |= GROUPS[name]
        elif name == "quick":
            found |= QUICK
        else:
            found[name] = RUNS[name]
    return found


def report(name: str, run: Run, *, verbose: bool, limit: int) -> bool:
    """Explore and print; whether it found what it must find."""
    r = explore(run.model, run.cfg, limit=limit)
    good = (r.violation or "").startswith(run.finds) if run.finds else r.violation is None and r.complete
    verdict = r.violation or ("no violation" if r.complete else "no violation so far (state limit)")
    word = "ok  " if good else "FAIL"
    print(f"{word} {name:42} {r.states:>9,} states {r.edges:>10,} edges {r.seconds:6.1f} s  {verdict}", flush=True)
    if r.violation and (verbose or not good):
        for number, line in enumerate(r.trace, 1):
            print(f"       {number:2} {line}", flush=True)
    return good


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m tests.protocol", description="Explore the protocols.")
    parser.add_argument("names", nargs="*", default=["design", "holes", "mutants", "bound"], metavar="GROUP or RUN")
    parser.add_argument("-v", "--verbose", action="store_true", help="print the shortest trace of every violation")
    parser.add_argument("--limit", type=int, default=4_000_000, help="give a run up after so many states")
    options = parser.parse_args()
    unknown = [name for name in options.names if name not in {*GROUPS, *RUNS, "quick"}]
    if unknown:
        parser.error(f"no such run: {', '.join(unknown)}; there are {', '.join([*GROUPS, 'quick', *RUNS])}")
    results = [
        report(name, run, verbose=options.verbose, limit=options.limit) for name, run in chosen(options.names).items()
    ]
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main())
