"""Reading ids and scores without decoding gives what decoding gives."""

from __future__ import annotations

import struct
from contextlib import aclosing
from datetime import UTC, datetime
from typing import Any

import bson
import pytest
from bson.errors import InvalidBSON
from bson.int64 import Int64
from hypothesis import given
from hypothesis import strategies as st

from headrace.runtime.store import raw_places
from headrace.runtime.store.raw_places import places
from headrace.runtime.store.reconcile_reads import ReconcileReads

IDS = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\x00"), max_size=40)
SCORES = st.integers(-(2**63), 2**63 - 1)


def place(job_id: str, score: int) -> dict[str, Any]:
    return {"score": Int64(score), "_id": job_id}


def batch(documents: list[dict[str, Any]]) -> bytes:
    """As a server sends them: the encoder would put `_id` first."""
    parts = []
    for document in documents:
        fields = b"".join(bson.encode({name: value})[4:-1] for name, value in document.items())
        parts.append(struct.pack("<i", len(fields) + 5) + fields + b"\x00")
    return b"".join(parts)


@given(st.lists(st.tuples(IDS, SCORES), max_size=20))
def test_any_ids_and_scores_are_read_as_they_are(wanted: list[tuple[str, int]]) -> None:
    assert places(batch([place(job_id, score) for job_id, score in wanted])) == wanted


@given(st.lists(st.tuples(st.text("0123456789abcdef-", min_size=36, max_size=36), SCORES), max_size=20))
def test_ids_of_one_length_are_read_as_they_are(wanted: list[tuple[str, int]]) -> None:
    assert places(batch([place(job_id, score) for job_id, score in wanted])) == wanted


def test_what_an_index_gives_is_not_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    def decode(_: bytes) -> list[tuple[str, int]]:
        raise AssertionError("this is what it is for")

    monkeypatch.setattr(raw_places, "_decoded", decode)
    wanted = [(f"job-{number:08}", 2**43 + number) for number in range(100)]
    assert places(batch([place(job_id, score) for job_id, score in wanted])) == wanted


@pytest.mark.parametrize(
    "document",
    [
        {"_id": "abc", "score": Int64(7)},
        {"score": 7, "_id": "abc"},
        {"score": Int64(7), "_id": "abc", "more": 1},
        {"score": Int64(7), "other": 1.5, "_id": "abc"},
    ],
)
def test_other_documents_are_decoded(document: dict[str, Any]) -> None:
    assert places(batch([document, document])) == [("abc", 7)] * 2
    assert places(batch([place("xyz", 1), document])) == [("xyz", 1), ("abc", 7)]


@pytest.mark.parametrize("field", ["_id", "score"])
def test_a_document_without_a_field_is_an_error(field: str) -> None:
    document = place("abc", 7)
    del document[field]
    with pytest.raises(KeyError, match=field):
        places(batch([document]))


@given(st.binary(min_size=1, max_size=80))
def test_what_is_no_bson_is_refused_and_nothing_else_happens(junk: bytes) -> None:
    try:
        found = bson.decode_all(junk)
    except InvalidBSON:
        with pytest.raises(InvalidBSON):
            places(junk)
    else:
        if all("_id" in document and "score" in document for document in found):
            assert places(junk) == [(document["_id"], document["score"]) for document in found]


async def test_mongodb_gives_places_as_they_are_read_in_one_go(kit: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def decode(_: bytes) -> list[tuple[str, int]]:
        raise AssertionError("the layout has changed: a rebuild of a million takes seconds longer")

    jobs = [await kit.put() for _ in range(3)]
    monkeypatch.setattr(raw_places, "_decoded", decode)
    async with aclosing(ReconcileReads(kit.database).due(jobs[0].pool, now=datetime.now(UTC), page=2)) as pages:
        found = [place async for page in pages for place in page]
    assert sorted(found) == sorted((job.id, job.ready_score) for job in jobs)
