"""`headrace-recovery`: brings the stores back together, as a service or once."""

from __future__ import annotations

import sys

from headrace.recovery import once
from headrace.recovery.app import build_app
from headrace.recovery.parts import NAME
from headrace.runtime.process.service import run_service

DEFAULT_PORT = 8083


def main() -> int:
    """Run the service until it is told to stop, or one pass with `--once`; returns the exit code of the process."""
    if len(sys.argv) > 1:
        return once.main(sys.argv[1:])
    return run_service(build_app, name=NAME, default_port=DEFAULT_PORT)


if __name__ == "__main__":
    sys.exit(main())
