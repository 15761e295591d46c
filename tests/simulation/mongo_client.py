"""The driver's side of the model MongoDB: what the store calls, as Motor offers it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import bson
from pymongo import ReturnDocument, _csot
from pymongo.errors import AutoReconnect, NetworkTimeout, ServerSelectionTimeoutError

from .expressions import Document
from .mongo_server import Documents, MongoModel, Result
from .network import Errors, Network, Work

MONGO_ERRORS = Errors(
    refused=lambda: ServerSelectionTimeoutError("no server"),
    broken=lambda: AutoReconnect("connection closed"),
    timeout=lambda: NetworkTimeout("timed out"),
)
DEADLINE_SECONDS = 20.0


class Cursor:
    """A find or an aggregation, asked when its first document is."""

    def __init__(self, collection: Collection, verb: str, *given: Any) -> None:
        self._collection = collection
        self._verb = verb
        self._given = given
        self._sort: Sequence[tuple[str, int]] = ()
        self._limit = 0
        self._left: list[Document] | None = None

    def sort(self, key: str | Sequence[tuple[str, int]], direction: int = 1) -> Cursor:
        """Order the answer."""
        self._sort = [(key, direction)] if isinstance(key, str) else list(key)
        return self

    def limit(self, count: int) -> Cursor:
        """Cut the answer."""
        self._limit = count
        return self

    def batch_size(self, count: int) -> Cursor:
        """Everything comes in one batch here."""
        return self

    def hint(self, name: str) -> Cursor:
        """Which index serves it changes no answer."""
        return self

    async def to_list(self, length: int | None = None) -> list[Document]:
        """The next documents."""
        left = await self._ask()
        count = len(left) if length is None else length
        taken, self._left = left[:count], left[count:]
        return taken

    async def close(self) -> None:
        """Forget the rest."""
        self._left = []

    def __aiter__(self) -> Cursor:
        return self

    async def __anext__(self) -> Document:
        left = self._left if self._left is not None else await self._ask()
        if not left:
            raise StopAsyncIteration
        return left.pop(0)

    async def _ask(self) -> list[Document]:
        if self._left is None:
            documents = self._collection.documents
            if self._verb == "find":
                filter_, projection = self._given
                self._left = await self._collection.ask(
                    "find", lambda: documents.find(filter_, projection, self._sort, self._limit)
                )
            else:
                self._left = await self._collection.ask("aggregate", lambda: documents.aggregate(*self._given))
        return self._left


class RawCursor(Cursor):
    """A find whose batches come as BSON."""

    _batch = 0

    def batch_size(self, count: int) -> RawCursor:
        """So many documents come at once; 0 is all."""
        self._batch = count
        return self

    def __aiter__(self) -> RawCursor:
        return self

    async def __anext__(self) -> bytes:  # type: ignore[override]
        documents = await self.to_list(self._batch or None)
        if not documents:
            raise StopAsyncIteration
        return b"".join(bson.encode(document) for document in documents)


class Collection:
    """A collection as the store sees it."""

    def __init__(self, database: Handle, documents: Documents) -> None:
        self._database = database
        self.documents = documents

    async def ask(self, verb: str, work: Work) -> Any:
        """Send a statement."""
        return await self._database.ask(f"{self.documents.name}.{verb}", work)

    def find(
        self, filter_: Mapping[str, Any], projection: Mapping[str, Any] | None = None, *, batch_size: int = 0
    ) -> Cursor:
        """See Motor."""
        return Cursor(self, "find", filter_, projection)

    def find_raw_batches(self, filter_: Mapping[str, Any], projection: Mapping[str, Any] | None = None) -> RawCursor:
        """See Motor."""
        return RawCursor(self, "find", filter_, projection)

    def aggregate(self, pipeline: Sequence[Mapping[str, Any]]) -> Cursor:
        """See Motor."""
        return Cursor(self, "aggregate", pipeline)

    async def find_one(
        self,
        filter_: Mapping[str, Any],
        projection: Mapping[str, Any] | None = None,
        *,
        sort: Sequence[tuple[str, int]] = (),
    ) -> Document | None:
        """See Motor."""
        found = await self.ask("find_one", lambda: self.documents.find(filter_, projection, sort, 1))
        return found[0] if found else None

    async def count_documents(self, filter_: Mapping[str, Any], *, limit: int = 0, hint: str = "") -> int:
        """See Motor."""
        return int(await self.ask("count", lambda: self.documents.count(filter_, limit)))

    async def distinct(self, name: str, filter_: Mapping[str, Any]) -> list[Any]:
        """See Motor."""
        return list(await self.ask("distinct", lambda: self.documents.distinct(name, filter_)))

    async def insert_one(self, document: Document) -> None:
        """See Motor."""
        await self.ask("insert_one", lambda: self.documents.insert(document))

    async def insert_many(self, documents: Sequence[Document], *, ordered: bool) -> Result:
        """See Motor."""
        assert not ordered
        result: Result = await self.ask("insert_many", lambda: self.documents.insert_many(documents))
        return result

    async def update_one(self, filter_: Mapping[str, Any], update: Any, *, upsert: bool = False) -> Result:
        """See Motor."""
        result: Result = await self.ask("update_one", lambda: self.documents.update(filter_, update, upsert=upsert))
        return result

    async def update_many(self, filter_: Mapping[str, Any], update: Any) -> Result:
        """See Motor."""
        result: Result = await self.ask("update_many", lambda: self.documents.update(filter_, update, many=True))
        return result

    async def bulk_write(self, operations: Sequence[Any], *, ordered: bool) -> Result:
        """See Motor."""
        assert not ordered
        result: Result = await self.ask("bulk_write", lambda: self.documents.bulk(operations))
        return result

    async def find_one_and_update(
        self,
        filter_: Mapping[str, Any],
        update: Any,
        projection: Mapping[str, Any] | None = None,
        *,
        upsert: bool = False,
        return_document: bool,
    ) -> Document | None:
        """See Motor."""
        after = return_document == ReturnDocument.AFTER
        found: Document | None = await self.ask(
            "find_one_and_update",
            lambda: self.documents.find_one_and_update(filter_, update, projection, upsert=upsert, after=after),
        )
        return found

    async def delete_one(self, filter_: Mapping[str, Any]) -> Result:
        """See Motor."""
        result: Result = await self.ask("delete_one", lambda: self.documents.delete(filter_, many=False))
        return result

    async def delete_many(self, filter_: Mapping[str, Any]) -> Result:
        """See Motor."""
        result: Result = await self.ask("delete_many", lambda: self.documents.delete(filter_, many=True))
        return result

    async def create_indexes(self, models: Sequence[Any]) -> None:
        """See Motor."""
        await self.ask("create_indexes", lambda: self.documents.create_indexes(models))


class Handle:
    """The database as the store sees it."""

    codec_options = None

    def __init__(self, server: MongoModel, network: Network) -> None:
        self._server = server
        self._network = network
        self._collections: dict[str, Collection] = {}

    def __getitem__(self, name: str) -> Collection:
        if name not in self._collections:
            self._collections[name] = Collection(self, self._server.collection(name))
        return self._collections[name]

    async def command(self, name: str, **options: Any) -> Document:
        """`ping` and `hello`. Without codec options times come without a zone, as from the driver."""

        def answer() -> Document:
            now = self._server.clock()
            return {"ok": 1.0, "localTime": now if "codec_options" in options else now.replace(tzinfo=None)}

        return dict(await self.ask(name, answer))

    async def ask(self, name: str, work: Work) -> Any:
        """Send something."""
        deadline = _csot.get_timeout() or DEADLINE_SECONDS
        return await self._network.call("mongo", name, work, errors=MONGO_ERRORS, deadline=deadline)
