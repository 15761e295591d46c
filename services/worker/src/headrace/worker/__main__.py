"""`headrace-worker`: the service, and `check-payloads` for operators."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the worker service, which is configured by the environment alone, or a command.

    Args:
        arguments: Those of the process by default.
    """
    asked = _parser().parse_args(arguments)
    if asked.command == "check-payloads":
        from headrace.worker.check_payloads import check_payloads

        return check_payloads(only=asked.type, as_json=asked.json)
    from headrace.worker import early

    early.begin()  # beside our own imports
    from headrace.runtime.process.service import run_service
    from headrace.worker.app import DEFAULT_PORT, build_app

    return run_service(build_app, name="worker", default_port=DEFAULT_PORT)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="headrace-worker", description="Without a command: run the worker service until SIGTERM or SIGINT."
    )
    commands = parser.add_subparsers(dest="command", metavar="command")
    check = commands.add_parser(
        "check-payloads",
        help="check the payloads waiting in MongoDB against the installed executors",
        description="Exit status: 0 every payload fits, 1 some do not, 2 bad usage, 4 MongoDB does not answer.",
    )
    check.add_argument("--type", action="append", default=[], metavar="TYPE", help="only this job type; repeatable")
    check.add_argument("--json", action="store_true", help="print one JSON object")
    return parser


if __name__ == "__main__":
    sys.exit(main())
