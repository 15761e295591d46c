"""A load run that went wrong is not reported as one that went well."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from load_figures import BEGIN, END, Figures, figures_of, write_page

from headrace.contracts.api import JobSummary

NOW = datetime(2030, 1, 1, tzinfo=UTC)


def job(job_id: str = "a", state: str = "completed", **changes: Any) -> JobSummary:
    fields: dict[str, Any] = dict.fromkeys(JobSummary.model_fields) | {
        "id": job_id, "type": "noop", "pool": "default", "priority": "medium", "state": state, "indexed": True,
        "attempt": 1, "failures": 0, "crashes": 0, "max_retries": 3, "timeout_seconds": 60, "tags": {},
        "created_at": NOW, "run_at": NOW + timedelta(seconds=2), "started_at": NOW + timedelta(seconds=2.1),
        "finished_at": NOW + timedelta(seconds=2.3),
    }  # fmt: skip
    return JobSummary.model_validate(fields | changes)


def figures(
    *jobs: JobSummary, code: int = 0, drained: float | None = 1.0, failures: int = 0, **changes: Any
) -> Figures:
    row = {
        "name": "POST /v1/jobs",
        "count": 2000,
        "failures": failures,
        "median_ms": 7,
        "p95_ms": 8,
        "p99_ms": 9,
        "worst_ms": 10,
        "reasons": ["2 times 409: conflict", "1 times gone"],
    }
    facts: dict[str, Any] = {"accepted": ["a"], "statuses": {"201": 2}, "counted": {}, "rows": [row], "broken": []}
    return figures_of(facts | {"seconds": 10} | changes, jobs, code=code, users=3, drained_seconds=drained)


@pytest.mark.parametrize(
    ("found", "fault"),
    [
        (figures(job("b")), "1 accepted jobs are not there, such as a"),
        (figures(job(), statuses={"201": 2, "503": 1}), "1 answers with 503"),
        (figures(job(state="processing")), "1 jobs have not ended"),
        (figures(job(), drained=None), "have not ended"),
        (figures(), "nothing was measured"),
        (figures(job(), rows=[]), "nothing was measured"),
        (figures(job(), counted={"repeats that gave another job": 1}), "gave another job"),
        (figures(job(), broken=["boom"]), "boom"),
        (figures(job(), failures=3), "POST /v1/jobs: 3 of 2000 failed: 2 times 409: conflict; 1 times gone"),
        (figures(job(), code=1), "locust ended with 1"),
    ],
)
def test_what_no_run_may_show_is_a_fault(found: Figures, fault: str) -> None:
    assert any(fault in told for told in found.faults), found.faults


def test_the_page_gets_the_figures_between_its_marks(tmp_path: Path) -> None:
    found = figures(job(), job("b"), job("c", "failed"), job("d", attempt=2), job("e", attempt=2))
    assert found.faults == []
    page = tmp_path / "performance.md"
    page.write_text(f"before\n{BEGIN}old\n{END}after\n")
    write_page(page, found)
    text = page.read_text()
    assert text.startswith(f"before\n{BEGIN}")
    assert text.endswith(f"{END}after\n")
    assert "| `POST /v1/jobs` | 2,000 | 7 | 8 | 9 | 10 |" in text
    assert "3 users for 10 s, 2,000 requests (200 per second)" in text
    assert "| due until started, medium | 100 | 100 | 100 | 100 |" in text
    assert "| submitted until completed, at a later attempt | 2300 |" in text
    page.write_text("no marks")
    with pytest.raises(ValueError, match="marks"):
        write_page(page, found)


def test_a_site_and_types_that_are_not_set_are_none() -> None:
    """A compose file gives the empty text for them; a crawl of "" is refused."""
    read = "import locustfile; print(locustfile.SITE, locustfile.TYPES)"
    environment = os.environ | {"HEADRACE_LOAD_SITE": "", "HEADRACE_LOAD_TYPES": ""}
    folder = Path(__file__).parent
    shown = subprocess.run([sys.executable, "-c", read], cwd=folder, env=environment, capture_output=True, check=True)
    assert shown.stdout.split() == [b"None", b"None"]
