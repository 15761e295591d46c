"""The process that lists the installed executors, begun before this one has imported itself.

Both imports take about half a second, so they are done side by side. This module imports nothing but the standard
library, and as little of that as it can.
"""

from __future__ import annotations

import os
import subprocess
import sys

_TRUE = frozenset({"1", "true", "t", "yes", "y", "on"})
_begun: dict[bool, subprocess.Popen[bytes]] = {}


def begin() -> None:
    """Start it by what the environment says of test mode. A setting that is wrong is found and told elsewhere."""
    test_mode = os.environ.get("JOB_TEST_MODE", "").lower() in _TRUE
    _begun[test_mode] = start(test_mode=test_mode)


def take(*, test_mode: bool) -> subprocess.Popen[bytes]:
    """The process that was begun, once, or a new one."""
    return _begun.pop(test_mode, None) or start(test_mode=test_mode)


def start(*, test_mode: bool) -> subprocess.Popen[bytes]:
    """`python -m headrace.worker.catalogue`; its answer comes on standard output."""
    return subprocess.Popen(  # noqa: S603 -- fixed words
        [sys.executable, "-m", "headrace.worker.catalogue", *(["--test-mode"] if test_mode else [])],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
