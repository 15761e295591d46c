"""`headrace-monitor`: shows the health of the whole. Configured by the environment alone."""

from __future__ import annotations

import sys

from headrace.monitor.app import build_app
from headrace.runtime.process.service import run_service

DEFAULT_PORT = 8081


def main() -> int:
    """Run the monitor until it is told to stop; returns the exit code."""
    return run_service(build_app, name="monitor", default_port=DEFAULT_PORT)


if __name__ == "__main__":
    sys.exit(main())
