"""Problem documents, read back."""

from __future__ import annotations

from headrace.contracts.errors import DuplicateJobError, FieldError
from headrace.contracts.heartbeat import ExitRecord
from headrace.contracts.problems import error_of_problem


def test_a_known_code_gives_its_own_class_with_everything_the_document_says():
    told = {"type": "/problems/duplicate-job", "detail": "there is one", "id": "other", "errors": [{"in": "query"}, 3]}
    error = error_of_problem(409, told, retry_after_seconds=2, allow=["GET"])
    assert type(error) is DuplicateJobError
    assert (error.detail, error.job_id, error.retry_after_seconds, error.allow) == (
        "there is one",
        "other",
        2,
        ("GET",),
    )
    assert error.errors == (FieldError("", "", "", "query"),)


def test_an_unknown_code_keeps_status_code_title_and_words():
    error = error_of_problem(418, {"type": "/problems/teapot", "title": "Teapot", "detail": "short", "errors": 3})
    assert (error.status, error.code, error.title, error.detail) == (418, "teapot", "Teapot", "418 teapot: short")
    assert error_of_problem(500, {}).title == "Something failed here"


def test_signals_have_names():
    assert ExitRecord(kind="signal", signal=9).signal_name == "SIGKILL"
    assert ExitRecord(kind="signal", signal=999).signal_name == "unknown"
    assert ExitRecord(kind="code", code=1).signal_name == "unknown"
