from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

import pytest

from . import history
from .history import History, LogEntry, Operation, Run
from .history_file import KINDS, from_lines, load, save, to_line, to_lines


def example(hint: Any) -> Any:
    """A value of a type that is not its default."""
    if hint in (int, float, str, bool):
        return {int: 7, float: 1.5, str: "text", bool: True}[hint]
    parts = get_args(hint)
    if get_origin(hint) is tuple:
        return tuple(example(part) for part in parts if part is not Ellipsis)
    if get_origin(hint) is dict:
        return {"name": example(parts[1])}
    if parts:
        return example(parts[0])
    return hint(**{each.name: example(get_type_hints(hint)[each.name]) for each in fields(hint)})


def whole() -> History:
    return History(example(Run), **{name: (example(record),) * 2 for name, record in KINDS.values()})


def test_a_history_with_every_field_set_comes_back_equal(tmp_path: Path) -> None:
    save(whole(), tmp_path / "history.jsonl")
    assert load(tmp_path / "history.jsonl") == whole()


def test_nested_records_come_back_as_records() -> None:
    assert isinstance(from_lines(to_lines(whole())).documents[0].log[0], LogEntry)
    assert isinstance(from_lines(to_lines(whole())).pools[0].ready[0], tuple)


def test_absent_values_stay_absent() -> None:
    short = History(Run(), operations=(Operation(index=0, client="a", op="submit", invoked=0.1),))
    assert from_lines(to_lines(short)) == short


def test_every_list_of_a_history_has_a_kind_of_line() -> None:
    assert {name for name, _ in KINDS.values()} == {each.name for each in fields(History)} - {"run"}


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ('{"record": "effekt"}', "line 2, record 'effekt'"),
        ('{"record": "leader", "at": 1, "holder": null, "term": 2}', "unknown fields \\['term'\\]"),
        ('{"record": "leader", "at": 1}', "missing .*'holder'"),
    ],
)
def test_a_line_that_is_no_record_is_named(line: str, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        from_lines([to_line("run", Run()), line])


def test_a_history_without_a_run_is_none() -> None:
    with pytest.raises(ValueError, match="one run, not 0"):
        from_lines([])


def test_a_record_of_another_kind_is_refused() -> None:
    with pytest.raises(TypeError, match="holds Leader, not Run"):
        to_line("leader", history.Run())
