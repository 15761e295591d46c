"""A MongoDB that is a few dicts: what the store's statements do to documents, one document at a time.

Every write is majority-durable at once; there are no elections and no rollbacks here. A statement about several
documents is a generator that stops before each of them, so that other statements may come between.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from typing import Any

from pymongo.errors import BulkWriteError, DuplicateKeyError

from .expressions import MISSING, Document, Scope, copied, field, order
from .filters import matches, projected, updated

DUPLICATE = 11000


@dataclass
class Result:
    """What the driver answers to a write."""

    matched_count: int = 0
    modified_count: int = 0
    deleted_count: int = 0
    upserted_id: Any = None


@dataclass(frozen=True)
class Unique:
    """A unique index."""

    fields: tuple[str, ...]
    partial: Mapping[str, Any]

    def key(self, document: Document, now: datetime) -> tuple[Any, ...] | None:
        """What must be unique; None when the index does not hold the document."""
        if self.partial and not matches(document, self.partial, now):
            return None
        return tuple(order(None if (value := field(document, name)) is MISSING else value) for name in self.fields)


class Documents:
    """One collection."""

    def __init__(self, name: str, clock: Callable[[], datetime]) -> None:
        self.name = name
        self.all: dict[Any, Document] = {}
        self.unique: dict[str, Unique] = {}
        self.on_write: Callable[[str, Document | None, Document | None], None] | None = None
        """Told of every change: collection, before, after."""
        self._clock = clock

    # -- reads -------------------------------------------------------------------------------------------------

    def select(self, filter_: Mapping[str, Any]) -> Iterable[Document]:
        """The documents that a filter selects, in the order they were inserted."""
        now = self._clock()
        wanted = filter_.get("_id")
        if isinstance(wanted, str):
            candidates: Iterable[Document] = [self.all[wanted]] if wanted in self.all else []
        else:
            candidates = list(self.all.values())
        return (document for document in candidates if matches(document, filter_, now))

    def find(
        self,
        filter_: Mapping[str, Any],
        projection: Mapping[str, Any] | None,
        sort: Sequence[tuple[str, int]],
        limit: int,
    ) -> list[Document]:
        """Copies of what is found."""
        found = list(self.select(filter_))
        for name, direction in reversed(sort):
            found.sort(key=lambda document: order(field(document, name)), reverse=direction < 0)
        if limit:
            found = found[:limit]
        now = self._clock()
        return [projected(document, projection, now) for document in found]

    def count(self, filter_: Mapping[str, Any], limit: int) -> int:
        """How many, counted up to a limit."""
        return sum(1 for _ in islice(self.select(filter_), limit or None))

    def distinct(self, name: str, filter_: Mapping[str, Any]) -> list[Any]:
        """The values of a field."""
        found: list[Any] = []
        for document in self.select(filter_):
            value = field(document, name)
            if value is not MISSING and value not in found:
                found.append(value)
        return sorted(found, key=order)

    def aggregate(self, pipeline: Sequence[Mapping[str, Any]]) -> list[Document]:
        """Run a pipeline."""
        now = self._clock()
        found = [copied(document) for document in self.all.values()]
        for stage in pipeline:
            ((name, given),) = stage.items()
            match name:
                case "$match":
                    found = [document for document in found if matches(document, given, now)]
                case "$project":
                    found = [projected(document, given, now) for document in found]
                case "$set":
                    found = [updated(document, [stage], now) for document in found]
                case "$sort":
                    for path, direction in reversed(list(given.items())):
                        found.sort(key=lambda document: order(field(document, path)), reverse=direction < 0)
                case "$limit":
                    found = found[:given]
                case "$group":
                    found = _grouped(found, given, now)
                case _:
                    raise NotImplementedError(f"the model does not know the stage {name}")
        return found

    # -- writes ------------------------------------------------------------------------------------------------

    def insert(self, document: Document) -> None:
        """Insert one.

        Raises:
            DuplicateKeyError: It, or a unique key of it, is there.
        """
        document = copied(document)
        self._check_unique(document, None)
        self._put(document["_id"], document)

    def insert_many(self, documents: Sequence[Document]) -> Generator[None, None, Result]:
        """Insert each for itself.

        Raises:
            BulkWriteError: Some were refused.
        """
        failures = []
        for index, document in enumerate(documents):
            yield
            try:
                self.insert(document)
            except DuplicateKeyError as error:
                failures.append({"index": index, **(error.details or {})})
        if failures:
            raise BulkWriteError({"writeErrors": failures, "writeConcernErrors": []})
        return Result()

    def update(
        self, filter_: Mapping[str, Any], update: Any, *, upsert: bool = False, many: bool = False
    ) -> Generator[None, None, Result]:
        """Update one document or many, each asked again when its turn comes."""
        result = Result()
        for job_id in [document["_id"] for document in self.select(filter_)]:
            if many:
                yield
            document = self.all.get(job_id)
            now = self._clock()
            if document is None or not matches(document, filter_, now):
                continue
            self._update(document, update, now, result)
            if not many:
                return result
        if upsert and not result.matched_count:
            result.upserted_id = self._upsert(filter_, update)["_id"]
        return result

    def find_one_and_update(
        self,
        filter_: Mapping[str, Any],
        update: Any,
        projection: Mapping[str, Any] | None,
        *,
        upsert: bool,
        after: bool,
    ) -> Document | None:
        """Update one document and give it."""
        now = self._clock()
        for document in self.select(filter_):
            changed = self._update(document, update, now, Result())
            return projected(changed if after else document, projection, now)
        return projected(self._upsert(filter_, update), projection, now) if upsert else None

    def bulk(self, operations: Sequence[Any]) -> Generator[None, None, Result]:
        """Run updates, unordered."""
        total = Result()
        for operation in operations:
            many = type(operation).__name__ == "UpdateMany"
            one = yield from self.update(operation._filter, operation._doc, upsert=bool(operation._upsert), many=many)
            total.matched_count += one.matched_count
            total.modified_count += one.modified_count
        return total

    def delete(self, filter_: Mapping[str, Any], *, many: bool) -> Result:
        """Delete one or many."""
        gone = list(self.select(filter_)) if many else list(islice(self.select(filter_), 1))
        for document in gone:
            self._put(document["_id"], None)
        return Result(deleted_count=len(gone))

    def create_indexes(self, models: Sequence[Any]) -> None:
        """Keep the unique ones."""
        for model in models:
            index = model.document
            if index.get("unique"):
                partial = index.get("partialFilterExpression", {})
                self.unique[index["name"]] = Unique(tuple(index["key"]), partial)

    def _update(self, document: Document, update: Any, now: datetime, result: Result) -> Document:
        changed = updated(document, update, now)
        result.matched_count += 1
        if changed != document:
            self._check_unique(changed, document)
            self._put(document["_id"], changed)
            result.modified_count += 1
        return changed

    def _upsert(self, filter_: Mapping[str, Any], update: Any) -> Document:
        start = {name: value for name, value in filter_.items() if not name.startswith("$")}
        document = updated(copied(start), update, self._clock(), inserting=True)
        self._check_unique(document, None)
        self._put(document["_id"], document)
        return document

    def _put(self, name: Any, document: Document | None) -> None:
        before = self.all.get(name)
        if document is None:
            del self.all[name]
        else:
            self.all[name] = document
        if self.on_write is not None:
            self.on_write(self.name, before, document)

    def _check_unique(self, document: Document, before: Document | None) -> None:
        if before is None and document["_id"] in self.all:
            raise _duplicate({"_id": 1})
        now = self._clock()
        for index in self.unique.values():
            key = index.key(document, now)
            if key is None:
                continue
            for other in self.all.values():
                if other["_id"] != document["_id"] and index.key(other, now) == key:
                    raise _duplicate(dict.fromkeys(index.fields, 1))


def _duplicate(pattern: dict[str, int]) -> DuplicateKeyError:
    return DuplicateKeyError("duplicate key", DUPLICATE, {"code": DUPLICATE, "keyPattern": pattern})


def _grouped(documents: Sequence[Document], given: Mapping[str, Any], now: datetime) -> list[Document]:
    groups: dict[Any, list[Document]] = {}
    for document in documents:
        groups.setdefault(_frozen(Scope(document, now).value(given["_id"])), []).append(document)
    answer = []
    for members in groups.values():
        row: Document = {"_id": Scope(members[0], now).value(given["_id"])}
        for name, fold in given.items():
            if name == "_id":
                continue
            ((operator, expression),) = fold.items()
            values = [Scope(member, now).value(expression) for member in members]
            row[name] = {"$sum": sum, "$min": lambda found: min(found, key=order)}[operator](values)
        answer.append(row)
    return answer


def _frozen(value: Any) -> Any:
    return tuple(sorted((name, _frozen(item)) for name, item in value.items())) if isinstance(value, dict) else value


class MongoModel:
    """The server: its collections and its clock."""

    def __init__(self, clock: Callable[[], datetime]) -> None:
        self.clock = clock
        self.collections: dict[str, Documents] = {}
        self.on_write: Callable[[str, Document | None, Document | None], None] | None = None

    def collection(self, name: str) -> Documents:
        """A collection, made when it is first named."""
        found = self.collections.get(name)
        if found is None:
            found = self.collections[name] = Documents(name, self.clock)
            found.on_write = self.on_write
        return found
