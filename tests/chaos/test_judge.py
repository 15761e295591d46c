from __future__ import annotations

import json
from pathlib import Path

from .checkers.histories import DONE, job, whole
from .history_file import save
from .judge import judge_again
from .table import as_markdown, read_results, save_results, sentence


def kept(folder: Path, *, seed: int, lost: bool, not_fired: dict[str, str]) -> None:
    """What a run leaves, judged wrongly."""
    folder.mkdir()
    accepted = whole(job("a", *DONE), job("b", *DONE))
    history = whole(job("a", *DONE), operations=accepted.operations) if lost else accepted
    save(history, folder / "history.jsonl")
    row = {"seed": seed, "mode": "safety", "commit": "abc", "seconds": 9.0, "passed": lost, "planned": 1, "fired": 1}
    save_results([{**row, "trouble": None, "not_fired": not_fired, "reports": []}], folder / "results.json")


def test_a_run_is_judged_again_by_what_it_left(tmp_path: Path) -> None:
    kept(tmp_path / "good", seed=1, lost=False, not_fired={})
    kept(tmp_path / "bad", seed=2, lost=True, not_fired={})
    kept(tmp_path / "idle", seed=3, lost=False, not_fired={"f1": "nobody came"})
    rows = [judge_again(tmp_path / name) for name in ("good", "bad", "idle")]
    reports = [{report["checker"]: report for report in row["reports"]} for row in rows]
    assert [report["C1 lost"]["figures"]["lost"] for report in reports] == [0, 1, 0]
    assert not rows[1]["passed"]
    assert not rows[2]["passed"], "what did not fire did not fire"
    assert json.dumps(rows[0])


def test_the_rows_of_several_invocations_are_one_table(tmp_path: Path) -> None:
    for seed in (12, 3):
        kept(tmp_path / str(seed), seed=seed, lost=False, not_fired={})
    rows = read_results([tmp_path / "12" / "results.json", tmp_path / "3" / "results.json"])
    assert [row["seed"] for row in rows] == [3, 12]
    lines = as_markdown(rows).splitlines()
    assert len({line.count("|") for line in lines}) == 1, "each line has as many columns as the head"
    assert lines[-1].startswith("| all |")
    assert "2 of 2 planned faults fired" in sentence(rows)
