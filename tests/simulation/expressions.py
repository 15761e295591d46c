"""MongoDB's aggregation expressions, as far as the store uses them: the values and the order of BSON.

Times are aware datetimes of whole milliseconds, as the server keeps them.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

Document = dict[str, Any]


class Missing:
    """No field. Comes before null in the order of BSON."""

    def __repr__(self) -> str:
        return "<missing>"


MISSING = Missing()
REMOVE = object()
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def to_ms(moment: datetime) -> int:
    """Milliseconds since 1970."""
    return round((moment - EPOCH) / timedelta(milliseconds=1))


def whole_ms(moment: datetime) -> datetime:
    """The time as BSON keeps it."""
    return moment.replace(microsecond=moment.microsecond // 1000 * 1000)


def copied(value: Any) -> Any:
    """A value of its own, as if it had been sent: times cut to milliseconds, tuples become lists."""
    kind = type(value)
    if kind is str or kind is int or kind is bool or kind is float or value is None:
        return value
    if isinstance(value, dict):
        return {name: copied(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [copied(item) for item in value]
    if isinstance(value, datetime):
        return whole_ms(value)
    return str(value) if isinstance(value, str) else value


def order(value: Any) -> tuple[Any, ...]:
    """A key that sorts values as BSON does."""
    if value is MISSING:
        return (0,)
    if value is None:
        return (1,)
    if isinstance(value, bool):
        return (8, value)
    if isinstance(value, int | float):
        return (2, value)
    if isinstance(value, str):
        return (3, value)
    if isinstance(value, dict):
        return (4, [(name, order(item)) for name, item in value.items()])
    if isinstance(value, list | tuple):
        return (5, [order(item) for item in value])
    if isinstance(value, datetime):
        return (9, value)
    raise NotImplementedError(f"the model has no order for {type(value).__name__}")


def field(document: Any, path: str) -> Any:
    """The value at a dotted path."""
    for name in path.split("."):
        if not isinstance(document, dict) or name not in document:
            return MISSING
        document = document[name]
    return document


def is_true(value: Any) -> bool:
    """Whether MongoDB takes it for true."""
    return not (value is MISSING or value is None or value is False or value == 0)


class Scope:
    """What an expression sees.

    Args:
        document: The document.
        now: The server's time.
        this: `$$this`.
    """

    __slots__ = ("document", "now", "this")

    def __init__(self, document: Document, now: datetime, this: Any = MISSING) -> None:
        self.document = document
        self.now = now
        self.this = this

    def value(self, expression: Any) -> Any:
        """Evaluate."""
        if isinstance(expression, str):
            if not expression.startswith("$"):
                return expression
            if not expression.startswith("$$"):
                return field(self.document, expression[1:])
            return self._variable(expression[2:])
        if isinstance(expression, dict):
            if len(expression) == 1:
                name = next(iter(expression))
                if name.startswith("$"):
                    return _operate(self, name, expression[name])
            found = {name: self.value(item) for name, item in expression.items()}
            return {name: item for name, item in found.items() if item is not MISSING}
        if isinstance(expression, list | tuple):
            return [None if (found := self.value(item)) is MISSING else found for item in expression]
        return expression

    def _variable(self, name: str) -> Any:
        if name == "NOW":
            return self.now
        if name == "REMOVE":
            return MISSING
        head, _, rest = name.partition(".")
        if head == "this":
            return field(self.this, rest) if rest else self.this
        if head == "ROOT":
            return field(self.document, rest) if rest else self.document
        raise NotImplementedError(f"the model does not know $${name}")


def _operate(scope: Scope, name: str, given: Any) -> Any:
    if name == "$literal":
        return copied(given)
    if name in _LAZY:
        return _LAZY[name](scope, given)
    operation = _OPERATIONS.get(name)
    if operation is None:
        raise NotImplementedError(f"the model does not know {name}")
    values = [scope.value(item) for item in given] if isinstance(given, list | tuple) else [scope.value(given)]
    return operation(values)


def _cond(scope: Scope, given: Any) -> Any:
    condition, then, otherwise = (given["if"], given["then"], given["else"]) if isinstance(given, dict) else given
    return scope.value(then if is_true(scope.value(condition)) else otherwise)


def _if_null(scope: Scope, given: Any) -> Any:
    found: Any = MISSING
    for item in given:
        found = scope.value(item)
        if found is not None and found is not MISSING:
            break
    return found


def _filter(scope: Scope, given: Any) -> Any:
    items = scope.value(given["input"])
    return [item for item in items if is_true(Scope(scope.document, scope.now, item).value(given["cond"]))]


def _is_nothing(values: list[Any]) -> bool:
    return any(value is None or value is MISSING for value in values)


def _add(values: list[Any]) -> Any:
    if _is_nothing(values):
        return None
    total: Any = 0
    moment: datetime | None = None
    for value in values:
        if isinstance(value, datetime):
            moment = value
        else:
            total += value
    return total if moment is None else moment + timedelta(milliseconds=total)


def _subtract(values: list[Any]) -> Any:
    if _is_nothing(values):
        return None
    first, second = values
    if isinstance(first, datetime):
        if isinstance(second, datetime):
            return to_ms(first) - to_ms(second)
        return first - timedelta(milliseconds=second)
    return first - second


def _extreme(values: list[Any], pick: Callable[..., Any]) -> Any:
    if len(values) == 1 and isinstance(values[0], list):
        values = values[0]
    real = [value for value in values if value is not None and value is not MISSING]
    return pick(real, key=order) if real else None


def _slice(values: list[Any]) -> Any:
    items, count = values
    return items[count:] if count < 0 else items[:count]


def _element(values: list[Any]) -> Any:
    items, index = values
    if items is None or index is None:
        return None
    return items[index] if -len(items) <= index < len(items) else MISSING


def _to_long(values: list[Any]) -> Any:
    (value,) = values
    if value is None or value is MISSING:
        return None
    return to_ms(value) if isinstance(value, datetime) else int(value)


def _union(values: list[Any]) -> Any:
    found: list[Any] = []
    for items in values:
        found += [item for item in items if item not in found]
    return sorted(found, key=order)


def _multiply(values: list[Any]) -> Any:
    return None if _is_nothing(values) else math.prod(values)


_LAZY: dict[str, Callable[[Scope, Any], Any]] = {"$cond": _cond, "$ifNull": _if_null, "$filter": _filter}
_OPERATIONS: dict[str, Callable[[list[Any]], Any]] = {
    "$add": _add,
    "$subtract": _subtract,
    "$multiply": _multiply,
    "$divide": lambda values: values[0] / values[1],
    "$pow": lambda values: values[0] ** values[1],
    "$floor": lambda values: math.floor(values[0]),
    "$max": lambda values: _extreme(values, max),
    "$min": lambda values: _extreme(values, min),
    "$eq": lambda values: order(values[0]) == order(values[1]),
    "$ne": lambda values: order(values[0]) != order(values[1]),
    "$lt": lambda values: order(values[0]) < order(values[1]),
    "$lte": lambda values: order(values[0]) <= order(values[1]),
    "$gt": lambda values: order(values[0]) > order(values[1]),
    "$gte": lambda values: order(values[0]) >= order(values[1]),
    "$and": lambda values: all(map(is_true, values)),
    "$or": lambda values: any(map(is_true, values)),
    "$size": lambda values: len(values[0]),
    "$concatArrays": lambda values: [item for items in values for item in items],
    "$slice": _slice,
    "$arrayElemAt": _element,
    "$indexOfArray": lambda values: values[0].index(values[1]) if values[1] in values[0] else -1,
    "$toLong": _to_long,
    "$setUnion": _union,
}
