from __future__ import annotations

from typing import Literal

import pytest
from aiohttp import web
from pydantic import BaseModel, ConfigDict, Field

from headrace.contracts.submission import IdempotencyKey
from headrace.contracts.values import Timestamp
from headrace.runtime.web.query import read_headers, read_query
from headrace.runtime.web.responses import json_response
from headrace.runtime.web.routes import Route


class Filter(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)
    state: Literal["queued", "failed"] | None = None
    limit: int = Field(default=50, ge=1, le=200)
    after: Timestamp | None = None
    from_: str | None = Field(default=None, alias="from")


class Headers(BaseModel):
    key: IdempotencyKey | None = Field(default=None, alias="Idempotency-Key")


async def jobs(request: web.Request) -> web.Response:
    return json_response(read_query(request, Filter))


async def keyed(request: web.Request) -> web.Response:
    return json_response(read_headers(request, Headers))


@pytest.fixture
async def client(serve):
    return await serve(Route("GET", "/jobs", jobs, query=Filter), Route("GET", "/keyed", keyed, headers=Headers))


async def test_texts_become_values(client):
    answer = await client.get("/jobs?state=failed&limit=7&after=2030-01-01T00:00:00%2B01:00&from=x")
    assert await answer.json() == {"state": "failed", "limit": 7, "after": "2029-12-31T23:00:00.000Z", "from": "x"}


@pytest.mark.parametrize(
    ("query", "pointer", "code"),
    [
        ("limit=0", "/limit", "greater_than_equal"),
        ("limit=many", "/limit", "int_parsing"),
        ("state=lost", "/state", "literal_error"),
        ("after=soon", "/after", "value_error"),
        ("stat=failed", "/stat", "extra_forbidden"),
        ("from_=x", "/from_", "extra_forbidden"),
        ("limit=1&limit=2", "/limit", "repeated"),
        ("a~/b=1", "/a~0~1b", "extra_forbidden"),
    ],
)
async def test_wrong_unknown_and_repeated_names_are_refused(client, query, pointer, code):
    answer = await client.get(f"/jobs?{query}")
    problem = await answer.json()
    assert answer.status == 422
    (error,) = problem["errors"]
    assert (error["in"], error["pointer"], error["code"]) == ("query", pointer, code)


async def test_a_route_without_a_query_refuses_every_name(client):
    assert (await client.get("/keyed?x=1")).status == 422
    assert (await client.get("/healthz?x=1")).status == 200


async def test_an_endless_name_and_endless_names_are_cut(client):
    answer = await client.get("/jobs?" + "&".join(f"{'n' * 60}{i}=1" for i in range(100)))
    assert len((await answer.json())["errors"]) == 50
    answer = await client.get("/jobs?" + "n" * 3000 + "=1")
    assert len((await answer.json())["errors"][0]["pointer"]) == 201


async def test_headers_are_read_by_their_aliases(client):
    assert await (await client.get("/keyed", headers={"idempotency-key": "k1"})).json() == {"Idempotency-Key": "k1"}
    assert await (await client.get("/keyed")).json() == {"Idempotency-Key": None}


@pytest.mark.parametrize("headers", [[("Idempotency-Key", "a b")], [("Idempotency-Key", "a")] * 2])
async def test_wrong_and_repeated_headers_are_refused(client, headers):
    answer = await client.get("/keyed", headers=headers)
    (error,) = (await answer.json())["errors"]
    assert (answer.status, error["in"], error["pointer"]) == (422, "header", "/Idempotency-Key")
