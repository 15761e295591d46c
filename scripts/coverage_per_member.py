"""Run the tests with branch coverage and hold every member to its own floor."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

FLOOR_PERCENT = 90
ROOT = Path(__file__).resolve().parent.parent


def run(*arguments: str) -> int:
    """Run a tool of the environment from the root; show what it says."""
    return subprocess.run([sys.executable, "-m", *arguments], cwd=ROOT, check=False).returncode


def main() -> int:
    """Test, combine, judge member by member."""
    for old in ROOT.glob(".coverage*"):
        old.unlink()
    os.environ["COVERAGE_FILE"] = str(ROOT / ".coverage")
    code = run(
        "pytest", "-n", "4", "--dist", "loadfile", "-m", "not containers", "--cov", "--cov-report=", *sys.argv[1:]
    )
    if code != 0:
        return code
    failed = []
    for source in sorted([*ROOT.glob("packages/*/src"), *ROOT.glob("services/*/src")]):
        member = source.parent.name
        sys.stdout.write(f"\n== {member}\n")
        sys.stdout.flush()
        if run("coverage", "report", f"--include={source}/*", f"--fail-under={FLOOR_PERCENT}") != 0:
            failed.append(member)
    if failed:
        sys.stderr.write(f"below {FLOOR_PERCENT} %: {', '.join(failed)}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
