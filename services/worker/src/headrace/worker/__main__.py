"""`headrace-worker`."""

from __future__ import annotations

import sys

from headrace.runtime.process.service import run_service
from headrace.worker.app import DEFAULT_PORT, build_app


def main() -> int:
    """Run the worker service; configured by the environment alone."""
    return run_service(build_app, name="worker", default_port=DEFAULT_PORT)


if __name__ == "__main__":
    sys.exit(main())
