from __future__ import annotations

import json

from aiohttp import web
from pydantic import BaseModel, Field

from headrace.contracts.api import HistoryView, JobTypeList, JobView
from headrace.contracts.errors import NotFoundError, OutcomeUnknownError, QueueFullError, StoreUnavailableError
from headrace.contracts.submission import JobSubmission
from headrace.runtime.web.auth import Scope
from headrace.runtime.web.openapi import document
from headrace.runtime.web.responses import json_response, path_of
from headrace.runtime.web.routes import EVENT_STREAM, Route


class Query(BaseModel):
    state: str
    limit: int = Field(default=50, le=200)


class Headers(BaseModel):
    key: str | None = Field(default=None, alias="Idempotency-Key")


async def nothing(_request: web.Request) -> web.Response:
    return json_response({})


ROUTES = [
    Route(
        "POST",
        "/v1/jobs",
        nothing,
        scope=Scope.SUBMIT,
        summary="Submit",
        body=JobSubmission,
        headers=Headers,
        responses={201: JobView, 200: JobView},
        problems=[QueueFullError, StoreUnavailableError, OutcomeUnknownError],
        tags=["jobs"],
    ),
    Route("GET", "/v1/jobs", nothing, scope=Scope.READ, query=Query, responses={200: JobTypeList}),
    Route(
        "GET",
        "/v1/jobs/{id:[^/]+}/history",
        nothing,
        scope=Scope.READ,
        responses={200: HistoryView},
        problems=[NotFoundError],
    ),
    Route("GET", "/v1/events", nothing, scope=Scope.READ, responses={200: None}, media_type=EVENT_STREAM),
    Route("GET", "/", nothing, scope=None, responses={200: None}, media_type="text/html", description="A page."),
]


def refs(value: object) -> set[str]:
    if isinstance(value, dict):
        own = {value["$ref"]} if isinstance(value.get("$ref"), str) else set()
        return own.union(*map(refs, value.values()))
    return set().union(*map(refs, value)) if isinstance(value, list) else set()


def test_every_reference_resolves_and_parameters_are_no_components():
    made = document(ROUTES, "Headrace scheduler", "1.2")
    assert made["openapi"] == "3.1.0"
    known = {f"#/components/schemas/{name}" for name in made["components"]["schemas"]}
    assert refs(made) <= known
    assert not {"Query", "Headers"} & set(made["components"]["schemas"])
    json.dumps(made)


def test_parameters_come_from_path_query_and_headers():
    paths = document(ROUTES, "x", "1")["paths"]
    assert [(p["name"], p["in"], p["required"]) for p in paths["/v1/jobs"]["get"]["parameters"]] == [
        ("state", "query", True),
        ("limit", "query", False),
    ]
    assert paths["/v1/jobs"]["post"]["parameters"][0]["name"] == "Idempotency-Key"
    assert paths["/v1/jobs/{id}/history"]["get"]["parameters"][0]["in"] == "path"


def test_an_operation_tells_body_answers_problems_and_access():
    paths = document(ROUTES, "x", "1")["paths"]
    post = paths["/v1/jobs"]["post"]
    assert post["operationId"] == "post_v1_jobs"
    assert set(post["responses"]) == {"200", "201", "400", "401", "403", "413", "415", "422", "429", "500", "503"}
    assert "outcome-unknown" in post["responses"]["503"]["description"]
    assert "store-unavailable" in post["responses"]["503"]["description"]
    assert post["requestBody"]["required"]
    assert post["security"] == [{"bearer": []}]
    root = paths["/"]["get"]
    assert (root["security"], root["operationId"]) == ([], "get_root")
    assert "text/html" in root["responses"]["200"]["content"]
    assert "Open to everybody" in root["description"]


def test_field_names_are_those_on_the_wire():
    schemas = document(ROUTES, "x", "1")["components"]["schemas"]
    assert "from" in schemas["TransitionView"]["properties"]


async def test_an_application_serves_its_own_document(serve):
    client = await serve(*ROUTES, http_base_path="/b")
    made = await (await client.get("/b/openapi.json")).json()
    assert made["servers"] == [{"url": "/b"}]
    assert {"/healthz", "/readyz", "/metrics", "/v1/jobs"} <= set(made["paths"])
    assert made["paths"]["/readyz"]["get"]["responses"]["503"]["content"].keys() == {"application/json"}


async def test_a_get_answers_head_unless_it_streams(serve):
    client = await serve(*ROUTES)
    assert (await client.head("/v1/jobs?state=x")).status == 200
    assert (await client.head("/v1/events")).status == 405


async def test_paths_for_clients_carry_the_base_path(serve):
    async def where(request: web.Request) -> web.Response:
        return json_response({"path": path_of(request, "/v1/x")}, headers={"Location": path_of(request, "/v1/x")})

    client = await serve(Route("GET", "/", where), http_base_path="/b")
    for path in ("/b", "/b/"):
        assert (await client.get(path)).headers["Location"] == "/b/v1/x"
