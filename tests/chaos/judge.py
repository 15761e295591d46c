"""`python -m tests.chaos.judge FOLDER...`: judge runs again by what they left, after a checker was changed.

The folders are those of single runs. Their `results.json` is written anew.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from .checkers.every import check
from .history_file import load
from .outcome import has_passed
from .table import Row, save_results, show_line


def judge_again(folder: Path) -> Row:
    """The row of a run, by the checkers of now; what did not fire, and why it did not end, stays as it was."""
    (old,) = json.loads((folder / "results.json").read_text(encoding="utf-8"))["runs"]
    reports = check(load(folder / "history.jsonl"))
    passed = has_passed(old["trouble"], old["not_fired"], reports)
    return {**old, "passed": passed, "reports": [report.to_json() for report in reports]}


if __name__ == "__main__":
    for name in sys.argv[1:]:
        row = judge_again(Path(name))
        save_results([row], Path(name) / "results.json")
        print(show_line(row))
