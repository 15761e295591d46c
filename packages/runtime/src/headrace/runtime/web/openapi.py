"""The OpenAPI 3.1 document, made from the routes."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Literal

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from headrace.contracts.api import Problem
from headrace.contracts.errors import ApiError
from headrace.runtime.web import problems
from headrace.runtime.web.routes import EVENT_STREAM, Route

REF = "#/components/schemas/{model}"
Mode = Literal["validation", "serialization"]
Schema = dict[str, Any]


def document(routes: Sequence[Route], title: str, version: str, *, base_path: str = "") -> Schema:
    """The document for these routes; it depends on nothing else, so it can be compared with a committed one."""
    schemas = _Schemas(routes)
    paths: dict[str, Schema] = {}
    for route in routes:
        paths.setdefault(_plain(route.path), {})[route.method.lower()] = _operation(route, schemas)
    return {
        "openapi": "3.1.0",
        "info": {"title": title, "version": version, "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"}},
        "servers": [{"url": base_path or "/"}],
        "paths": paths,
        "components": {
            "schemas": schemas.components,
            "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer"}},
        },
    }


class _Schemas:
    """The schemas of every model that the routes use."""

    def __init__(self, routes: Sequence[Route]) -> None:
        wanted: dict[tuple[type[BaseModel], Mode], None] = {(Problem, "serialization"): None}
        for route in routes:
            for model in (route.query, route.headers, route.body):
                if model is not None:
                    wanted[(model, "validation")] = None
            wanted |= {(model, "serialization"): None for model in route.responses.values() if model is not None}
        self._refs, definitions = models_json_schema(list(wanted), ref_template=REF)
        self._all: dict[str, Schema] = _with_rules(definitions.get("$defs", {}))
        spread = {model for route in routes for model in (route.query, route.headers) if model is not None}
        hidden = {self._name(model, "validation") for model in spread}
        self.components = {name: schema for name, schema in self._all.items() if name not in hidden}

    def ref(self, model: type[BaseModel], mode: Mode) -> Schema:
        return dict(self._refs[(model, mode)])

    def fields(self, model: type[BaseModel]) -> tuple[dict[str, Schema], set[str]]:
        """The properties of a model that is spread over parameters, and which are required."""
        schema = self._all[self._name(model, "validation")]
        return schema.get("properties", {}), set(schema.get("required", ()))

    def _name(self, model: type[BaseModel], mode: Mode) -> str:
        return str(self._refs[(model, mode)]["$ref"]).rpartition("/")[2]


def _operation(route: Route, schemas: _Schemas) -> Schema:
    operation: Schema = {
        "operationId": _operation_id(route),
        "summary": route.summary,
        "tags": list(route.tags),
        "parameters": _parameters(route, schemas),
        "responses": _responses(route, schemas),
    }
    words = [route.description] if route.description else []
    if route.scope is not None:
        operation["security"] = [{"bearer": []}]
        words.append(f"Needs the scope {' or '.join(f'`{scope}`' for scope in route.scopes)}.")
    else:
        operation["security"] = []
        words.append("Open to everybody.")
    operation["description"] = " ".join(words)
    if route.body is not None:
        content = {"application/json": {"schema": schemas.ref(route.body, "validation")}}
        operation["requestBody"] = {"required": route.body_required, "content": content}
    return operation


def _parameters(route: Route, schemas: _Schemas) -> list[Schema]:
    parameters: list[Schema] = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
        for name in re.findall(r"\{(\w+)(?::[^}]*)?\}", route.path)
    ]
    for place, model in (("query", route.query), ("header", route.headers)):
        if model is None:
            continue
        fields, required = schemas.fields(model)
        parameters += [
            {"name": name, "in": place, "required": name in required, "schema": schema}
            for name, schema in fields.items()
        ]
    return parameters


def _responses(route: Route, schemas: _Schemas) -> Schema:
    responses: Schema = {}
    for status, model in sorted(route.responses.items()):
        schema = schemas.ref(model, "serialization") if model is not None else _without_model(route)
        responses[str(status)] = {
            "description": _meaning(status),
            "content": {route.media_type: {"schema": schema}},
        }
    by_status: dict[int, list[type[ApiError]]] = {}
    for problem in route.all_problems:
        by_status.setdefault(problem.status, []).append(problem)
    for status, found in by_status.items():
        answer = responses.setdefault(str(status), {"description": "", "content": {}})
        words = "; ".join(f"`{problem.code}`: {problem.title}" for problem in found)
        answer["description"] = f"{answer['description']} {words}".strip()
        answer["content"][problems.MEDIA_TYPE] = {"schema": schemas.ref(Problem, "serialization")}
    return responses


def _without_model(route: Route) -> Schema:
    if route.media_type != EVENT_STREAM:
        return {"type": "string"}
    text: Schema = {"type": "string"}
    return {
        "type": "object",
        "description": "One event of the stream; `data` is JSON.",
        "properties": {"event": text, "id": text, "data": text},
    }


_RULES = {"ge": "minimum", "gt": "exclusiveMinimum", "le": "maximum", "lt": "exclusiveMaximum"}


def _with_rules(value: Any) -> Any:
    """The schemas with the limits of numbers by the names of JSON Schema: pydantic writes its own beside validators."""
    if isinstance(value, list):
        return [_with_rules(item) for item in value]
    if not isinstance(value, dict):
        return value
    is_number = value.get("type") in ("integer", "number")
    return {_RULES.get(name, name) if is_number else name: _with_rules(item) for name, item in value.items()}


def _meaning(status: int) -> str:
    return {200: "Done", 201: "Made", 202: "Accepted; it happens soon", 204: "Done, nothing to say"}.get(
        status, "Answer"
    )


def _operation_id(route: Route) -> str:
    words = re.sub(r"[^A-Za-z0-9]+", "_", _plain(route.path)).strip("_")
    return f"{route.method.lower()}_{words or 'root'}"


def _plain(path: str) -> str:
    """The path as OpenAPI writes it: parameters without their patterns."""
    return re.sub(r"\{(\w+):[^}]*\}", r"{\1}", path)
