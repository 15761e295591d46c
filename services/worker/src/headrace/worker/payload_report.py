"""What a check of payloads found, as values, JSON and text. Never a value out of a payload."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from pydantic import ValidationError

FAILING_KEPT = 100
"""Failing jobs that are named per type; the rest is counted, so that a report stays readable whatever waits."""
FIELDS_KEPT = 20
_TELLING_KINDS = frozenset({
    "missing", "extra_forbidden", "literal_error", "enum", "none_required", "model_type", "dict_type", "list_type",
    "tuple_type", "set_type", "bool_type", "bool_parsing", "int_type", "int_parsing", "int_parsing_size",
    "int_from_float", "float_type", "float_parsing", "finite_number", "string_type", "string_too_short",
    "string_too_long", "string_pattern_mismatch", "too_short", "too_long", "multiple_of", "greater_than",
    "greater_than_equal", "less_than", "less_than_equal", "date_type", "date_parsing", "datetime_type",
    "datetime_parsing", "timezone_naive", "timezone_aware", "time_parsing", "time_delta_parsing", "url_type",
    "url_parsing", "url_scheme", "uuid_parsing", "decimal_parsing", "decimal_max_digits", "decimal_max_places",
    "union_tag_not_found",
})  # fmt: skip
"""Kinds of errors whose message speaks of the rule alone. Others, such as those of a model's own validators, may quote
the input."""


@dataclass(frozen=True)
class FieldProblem:
    """One field that does not fit: where it is, which rule it breaks."""

    field: str
    rule: str
    detail: str = ""


@dataclass(frozen=True)
class FailingJob:
    """A job whose payload the installed executor would refuse."""

    id: str
    contract_version: int
    problems: tuple[FieldProblem, ...]


@dataclass
class TypeReport:
    """The payloads of one installed type."""

    type: str
    contract_version: int
    checked: int = 0
    ok: int = 0
    upcast: int = 0
    """Of those that are ok, how many had another version."""
    newer: int = 0
    """Of a version that the installed executor does not know: it would leave them waiting."""
    failing: int = 0
    failing_jobs: list[FailingJob] = field(default_factory=list)
    """The first `FAILING_KEPT` of them."""

    def add_failing(self, job: FailingJob) -> None:
        """Count a failing job, and keep it while there is room."""
        self.failing += 1
        if len(self.failing_jobs) < FAILING_KEPT:
            self.failing_jobs.append(job)


@dataclass
class Report:
    """All installed types, and how many jobs there are of others."""

    types: Mapping[str, TypeReport]
    not_installed: Counter[str] = field(default_factory=Counter)

    @property
    def is_clean(self) -> bool:
        """Whether a deploy of what is installed here would run every payload of its types."""
        return not any(item.failing or item.newer for item in self.types.values())

    def to_json(self) -> dict[str, Any]:
        """The report as JSON values."""
        return {
            "ok": self.is_clean,
            "types": [asdict(item) for item in self.types.values()],
            "not_installed": dict(sorted(self.not_installed.items())),
        }

    def to_lines(self) -> Iterator[str]:
        """The report for people."""
        width = max((len(name) for name in self.types), default=0)
        for item in self.types.values():
            yield (
                f"{item.type:<{width}}  version {item.contract_version}  checked {item.checked}, ok {item.ok}"
                f" (upcast {item.upcast}), newer {item.newer}, failing {item.failing}"
            )
            for job in item.failing_jobs:
                yield f"  {job.id}  version {job.contract_version}"
                for problem in job.problems:
                    yield f"    {problem.field or '(the whole)'}: {problem.detail or problem.rule}"
            if item.failing > len(item.failing_jobs):
                yield f"  and {item.failing - len(item.failing_jobs)} more"
        for name, number in sorted(self.not_installed.items()):
            yield f"not installed here: {name} ({number})"
        yield "every payload fits" if self.is_clean else "not every payload fits: do not deploy this"


def problems_of(error: Exception) -> tuple[FieldProblem, ...]:
    """What is wrong with a payload, without any of its values.

    Args:
        error: A `ValidationError`, or whatever an executor's `upcast` raised; of that only the kind is told.
    """
    if not isinstance(error, ValidationError):
        return (FieldProblem("", type(error).__name__, f"the upcast raised {type(error).__name__}"),)
    details = error.errors(include_input=False, include_url=False, include_context=False)
    return tuple(_problem(detail) for detail in details[:FIELDS_KEPT])


def _problem(detail: Mapping[str, Any]) -> FieldProblem:
    where = ".".join(str(part)[:100] for part in detail["loc"])
    kind = detail["type"]
    return FieldProblem(where, kind, detail["msg"] if kind in _TELLING_KINDS else "refused by the model's own rule")
