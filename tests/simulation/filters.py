"""MongoDB's filters and updates, as far as the store uses them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from .expressions import MISSING, Document, Scope, copied, field, is_true, order


def matches(document: Document, filter_: Mapping[str, Any], now: datetime) -> bool:
    """Whether a filter selects the document."""
    return all(_clause(document, name, wanted, now) for name, wanted in filter_.items())


def _clause(document: Document, name: str, wanted: Any, now: datetime) -> bool:
    if name == "$and":
        return all(matches(document, part, now) for part in wanted)
    if name == "$or":
        return any(matches(document, part, now) for part in wanted)
    if name == "$nor":
        return not any(matches(document, part, now) for part in wanted)
    if name == "$expr":
        return is_true(Scope(document, now).value(wanted))
    if name.startswith("$"):
        raise NotImplementedError(f"the model does not know the filter {name}")
    found = field(document, name)
    if isinstance(wanted, dict) and wanted and next(iter(wanted)).startswith("$"):
        return all(_TESTS[operator](found, value) for operator, value in wanted.items())
    return _equals(found, wanted)


def _equals(found: Any, wanted: Any) -> bool:
    if wanted is None:
        return found is None or found is MISSING
    if found is MISSING or found is None:
        return False
    if found == wanted and isinstance(found, bool) == isinstance(wanted, bool):
        return True
    return isinstance(found, list) and wanted in found


def _compared(test: Callable[[Any, Any], bool]) -> Callable[[Any, Any], bool]:
    def compare(found: Any, wanted: Any) -> bool:
        first, second = order(found), order(wanted)
        return first[0] == second[0] and first[0] > 1 and test(first, second)  # only within one type

    return compare


_TESTS: dict[str, Callable[[Any, Any], bool]] = {
    "$in": lambda found, wanted: any(_equals(found, item) for item in wanted),
    "$nin": lambda found, wanted: not any(_equals(found, item) for item in wanted),
    "$ne": lambda found, wanted: not _equals(found, wanted),
    "$exists": lambda found, wanted: (found is not MISSING) == bool(wanted),
    "$lt": _compared(lambda first, second: first < second),
    "$lte": _compared(lambda first, second: first <= second),
    "$gt": _compared(lambda first, second: first > second),
    "$gte": _compared(lambda first, second: first >= second),
    "$eq": _equals,
}


def updated(document: Document, update: Any, now: datetime, *, inserting: bool = False) -> Document:
    """The document after an update: a pipeline, or classic operators."""
    if isinstance(update, list):
        for stage in update:
            document = _set(document, stage["$set"], now)
        return document
    changed = dict(document)
    for operator, fields in update.items():
        _CLASSIC[operator](changed, fields, now, inserting)
    return changed


def _set(document: Document, fields: Mapping[str, Any], now: datetime) -> Document:
    scope = Scope(document, now)
    changed = dict(document)
    for name, expression in fields.items():
        value = scope.value(expression)
        if value is MISSING:
            changed.pop(name, None)
        elif _is_nested(expression) and isinstance(document.get(name), dict):
            changed[name] = {**document[name], **value}  # what is written as an object adds to the one that is there
        else:
            changed[name] = value
    return changed


def _is_nested(expression: Any) -> bool:
    return isinstance(expression, dict) and not (expression and next(iter(expression)).startswith("$"))


def _unset(changed: Document, fields: Mapping[str, Any], now: datetime, inserting: bool) -> None:
    for name in fields:
        changed.pop(name, None)


def _on_insert(changed: Document, fields: Mapping[str, Any], now: datetime, inserting: bool) -> None:
    if inserting:
        changed.update(copied(dict(fields)))


def _add_to_set(changed: Document, fields: Mapping[str, Any], now: datetime, inserting: bool) -> None:
    for name, value in fields.items():
        there = changed.get(name, [])
        changed[name] = there if value in there else [*there, value]


_CLASSIC: dict[str, Callable[[Document, Mapping[str, Any], datetime, bool], None]] = {
    "$set": lambda changed, fields, now, inserting: changed.update(copied(dict(fields))),
    "$unset": _unset,
    "$setOnInsert": _on_insert,
    "$currentDate": lambda changed, fields, now, inserting: changed.update(dict.fromkeys(fields, now)),
    "$addToSet": _add_to_set,
}


def projected(document: Document, projection: Mapping[str, Any] | None, now: datetime) -> Document:
    """A copy of what was asked for."""
    if not projection:
        return dict(copied(document))
    if all(value == 0 for value in projection.values()):
        return {name: copied(value) for name, value in document.items() if name not in projection}
    scope = Scope(document, now)
    found: Document = {"_id": document["_id"]}
    for name, wanted in projection.items():
        value = field(document, name) if wanted == 1 and not isinstance(wanted, bool) else scope.value(wanted)
        if value is not MISSING:
            found[name] = copied(value)
    return found
