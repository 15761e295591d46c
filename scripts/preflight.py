"""Say what this machine lacks before anything is installed, with the command that brings it."""

from __future__ import annotations

import ctypes.util
import importlib.util
import sys


def missing() -> list[str]:
    """The Debian packages that are needed and not there."""
    packages = []
    if importlib.util.find_spec("ensurepip") is None or importlib.util.find_spec("venv") is None:
        packages.append("python3-venv")
    if ctypes.util.find_library("curl") is None:
        packages.append("libcurl4")
    if ctypes.util.find_library("ssl") is None:
        packages.append("libssl3")
    return packages


def main() -> int:
    """Check, and explain."""
    if sys.version_info < (3, 11):  # noqa: UP036 -- this file is run by whatever Python a new machine has
        print(f"Headrace needs Python 3.11 or newer; this is {sys.version.split()[0]}.", file=sys.stderr)
        return 2
    packages = missing()
    if packages:
        print("This machine lacks something. Install it with:", file=sys.stderr)
        print(f"  apt-get update && apt-get install -y {' '.join(packages)}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
