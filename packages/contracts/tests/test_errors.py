"""The error tree: its picture, its codes."""

from __future__ import annotations

import inspect
import re

from headrace.contracts import errors
from headrace.contracts.errors import API_ERRORS, ApiError, FieldError, HeadraceError

CODES = {
    "malformed-json": 400, "unauthorized": 401, "forbidden": 403, "not-found": 404, "method-not-allowed": 405,
    "duplicate-job": 409, "already-terminal": 409, "not-terminal": 409, "idempotency-in-flight": 409,
    "too-large": 413, "unsupported-media-type": 415, "validation": 422, "invalid-payload": 422,
    "unknown-job-type": 422, "idempotency-mismatch": 422, "queue-full": 429, "rate-limited": 429, "internal": 500,
    "store-unavailable": 503, "outcome-unknown": 503,
}  # fmt: skip
BESIDE_THE_PICTURE = {"ApiError", "Retry", "PermanentError", "DependencyDown"}
"""ApiError is how some are answered, not a kind of its own; the others are named in the last line's words."""


def classes() -> dict[str, type[HeadraceError]]:
    return {
        name: item for name, item in vars(errors).items() if inspect.isclass(item) and issubclass(item, HeadraceError)
    }


def drawn() -> dict[str, tuple[str | None, str]]:
    """Name → (the parent in the picture, the words beside it)."""
    assert errors.__doc__
    found: dict[str, tuple[str | None, str]] = {}
    above: dict[int, str] = {}
    for line in errors.__doc__.splitlines():
        match = re.match(r"^    ([│ ├└─]*)(\w+)(?:\s+(.*))?$", line)
        if match:
            depth = len(match[1]) // 4
            above[depth] = match[2]
            found[match[2]] = (above.get(depth - 1) if depth else None, match[3] or "")
    return found


def test_every_code_of_the_page_belongs_to_exactly_one_error_with_its_status() -> None:
    assert [error.code for error in API_ERRORS if API_ERRORS.count(error) > 1] == []
    assert len({error.code for error in API_ERRORS}) == len(API_ERRORS) == len(CODES)
    assert {error.code: error.status for error in API_ERRORS} == CODES


def test_every_error_of_the_api_is_listed() -> None:
    family = {item for item in classes().values() if issubclass(item, ApiError)} - {errors.RefusedError}
    assert set(API_ERRORS) == family


def test_the_picture_shows_every_class() -> None:
    assert set(drawn()) == set(classes()) - BESIDE_THE_PICTURE


def test_the_picture_shows_every_class_under_its_own_parent() -> None:
    for name, (parent, _) in drawn().items():
        ancestors = [base.__name__ for base in classes()[name].__mro__[1:] if base.__name__ != "ApiError"]
        assert ancestors[0] == (parent or "Exception"), name


def test_the_picture_shows_the_code_and_status_of_every_problem() -> None:
    for name, (_, words) in drawn().items():
        item = classes()[name]
        if issubclass(item, ApiError) and item in API_ERRORS:
            assert words.startswith(f"{item.code} {item.status}"), name


def test_a_problem_says_its_title_unless_it_has_something_better_to_say() -> None:
    assert str(errors.QueueFullError()) == "The queue is full"
    error = errors.OutcomeUnknownError("later", job_id="j1", retry_after_seconds=2)
    assert (str(error), error.detail, error.job_id, error.retry_after_seconds) == ("later", "later", "j1", 2)
    assert errors.MethodNotAllowedError(allow=["GET"]).allow == ("GET",)
    field = FieldError(pointer="/type", code="missing", detail="say which")
    assert errors.ValidationFailedError(errors=[field]).errors == (field,)
    assert field.location == "body"


def test_only_a_write_that_was_not_sent_is_unavailable_without_being_unknown() -> None:
    assert issubclass(errors.OutcomeUnknownError, errors.StoreUnavailableError)
    assert not issubclass(errors.StoreUnavailableError, errors.RefusedError)


def test_what_executors_raise_carries_what_it_asks_for() -> None:
    assert errors.Retry(delay_seconds=3).delay_seconds == 3
    assert errors.Retry().delay_seconds is None
    assert issubclass(errors.PermanentError, errors.JobFailure)
    assert not issubclass(errors.LeaseLost, errors.JobFailure)
    assert not issubclass(errors.JobCancelled, errors.JobFailure)
