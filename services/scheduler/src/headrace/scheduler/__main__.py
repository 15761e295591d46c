"""`headrace-scheduler`: takes jobs over HTTP."""

from __future__ import annotations

import gc
import sys

from headrace.runtime.process.service import run_service
from headrace.scheduler.app import build_app

DEFAULT_PORT = 8080


def main() -> int:
    """Run the scheduler until it is told to stop; returns the exit code of the process."""
    # A batch makes thousands of values that all die by themselves: looking for cycles among them as often as Python
    # does by default takes a fifth of the time.
    gc.set_threshold(50_000, 20, 50)
    return run_service(build_app, name="scheduler", default_port=DEFAULT_PORT)


if __name__ == "__main__":
    sys.exit(main())
