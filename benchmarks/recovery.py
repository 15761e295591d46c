"""`python -m benchmarks.recovery`: how long what recovery promises takes.

Without `--flush`: jobs are submitted evenly over `--restart-interval` seconds, and meanwhile every part is killed and
restarted once. With it: Redis is emptied with `--jobs` jobs waiting, while others are submitted and run.
"""

from __future__ import annotations

import argparse
import asyncio

from benchmarks import recovery_flush, recovery_restarts
from benchmarks.stores import report


def main() -> None:
    """Parse, run, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=1000)
    parser.add_argument("--restart-interval", type=float, default=60.0, help="seconds in which each part is restarted")
    parser.add_argument("--flush", action="store_true", help="empty Redis with --jobs waiting instead")
    parser.add_argument("--rate", type=float, default=100.0, help="with --flush: jobs submitted a second meanwhile")
    parser.add_argument("--singles", type=float, default=100.0, help="with --flush: and so many one by one")
    parser.add_argument("--rounds", type=int, default=3, help="with --flush: how often Redis is emptied")
    parser.add_argument("--json", action="store_true", help="print JSON instead of the table")
    options = parser.parse_args()
    if options.flush:
        result = asyncio.run(
            recovery_flush.run(jobs=options.jobs, rate=options.rate, rounds=options.rounds, singles=options.singles)
        )
        report(result, recovery_flush.rows(result), ("", "worst", "bound", "every round"), as_json=options.json)
        return
    result = asyncio.run(recovery_restarts.run(jobs=options.jobs, interval=options.restart_interval))
    report(result, recovery_restarts.rows(result), ("", "took", "bound", "what it is"), as_json=options.json)


if __name__ == "__main__":
    main()
