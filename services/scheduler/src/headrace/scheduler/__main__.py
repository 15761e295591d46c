"""`headrace-scheduler`: takes jobs over HTTP."""

from __future__ import annotations

import sys

from headrace.runtime.process.service import run_service
from headrace.scheduler.app import build_app

DEFAULT_PORT = 8080


def main() -> int:
    """Run the scheduler until it is told to stop; returns the exit code of the process."""
    return run_service(build_app, name="scheduler", default_port=DEFAULT_PORT)


if __name__ == "__main__":
    sys.exit(main())
