"""The OpenAPI document as one page of Markdown: operations by tag, then the models."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

Part = dict[str, Any]
_LIMITS = (
    ("minimum", "≥ {}"), ("exclusiveMinimum", "> {}"), ("maximum", "≤ {}"), ("exclusiveMaximum", "< {}"),
    ("minLength", "length ≥ {}"), ("maxLength", "length ≤ {}"), ("minItems", "≥ {} items"), ("maxItems", "≤ {} items"),
    ("maxProperties", "≤ {} entries"), ("pattern", "`{}`"),
)  # fmt: skip


def reference(document: Part) -> str:
    """The page."""
    by_tag: dict[str, list[str]] = {}
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            by_tag.setdefault(operation["tags"][0], []).append(_operation(method.upper(), path, operation))
    parts = [
        f"# HTTP API reference\n\nEvery operation of the scheduler, version {document['info']['version']}, made from"
        " its OpenAPI document, which a running scheduler serves at `/openapi.json`. What holds for all of them"
        " (access, errors, idempotency, events): [HTTP API](http-api.md).\n"
    ]
    for tag, operations in by_tag.items():
        parts += [f"## {tag.replace('-', ' ').capitalize()}\n", *operations]
    parts.append("## Models\n")
    parts += [_model(name, schema) for name, schema in sorted(document["components"]["schemas"].items())]
    return "\n".join(parts)


def _operation(method: str, path: str, operation: Part) -> str:
    lines = [f"### {method} {path}\n", f"{operation['summary']}. {operation.get('description', '')}\n"]
    if parameters := operation.get("parameters"):
        lines += ["| parameter | in | | |", "| --- | --- | --- | --- |"]
        for item in parameters:
            needed = "required" if item.get("required") else ""
            lines.append(f"| `{item['name']}` | {item['in']} | {needed} | {_cell(_type(item['schema']))} |")
        lines.append("")
    if body := operation.get("requestBody"):
        lines.append(f"Body: {_content(body['content'])}\n")
    lines += ["| status | answer |", "| --- | --- |"]
    for status, answer in sorted(operation["responses"].items()):
        shown = _content(answer.get("content", {})) if status < "400" else answer["description"]
        lines.append(f"| {status} | {_cell(shown or answer['description'])} |")
    return "\n".join([*lines, ""])


def _content(content: Part) -> str:
    return " or ".join(f"{_type(item['schema'])} as `{kind}`" for kind, item in content.items())


def _model(name: str, schema: Part) -> str:
    lines = [f"### {name}\n", schema.get("description", "").strip() + "\n"]
    if "enum" in schema:
        lines.append("One of " + ", ".join(f"`{value}`" for value in schema["enum"]) + ".\n")
    if fields := schema.get("properties"):
        needed = set(schema.get("required", ()))
        lines += ["| field | | |", "| --- | --- | --- |"]
        lines += [
            f"| `{key}` | {'required' if key in needed else ''} | {_cell(_type(value))} |"
            for key, value in fields.items()
        ]
        lines.append("")
    return "\n".join(lines)


def _type(schema: Part) -> str:
    """A schema in a few words, with its limits and its default."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        text = f"[{name}](#{name.lower()})"
    elif "anyOf" in schema:
        text = " or ".join(_type(option) for option in schema["anyOf"])
    elif "enum" in schema:
        text = ", ".join(f"`{value}`" for value in schema["enum"])
    elif "const" in schema:
        text = f"`{schema['const']}`"
    elif schema.get("type") == "array":
        text = f"list of {_type(schema.get('items', {}))}"
    elif isinstance(schema.get("type"), list):
        text = " or ".join(schema["type"])
    else:
        text = schema.get("format") or schema.get("type") or "any JSON"
    limits = list(_limits(schema))
    if schema.get("default") is not None:
        limits.append(f"default `{schema['default']}`")
    return f"{text}, {', '.join(limits)}" if limits else text


def _limits(schema: Part) -> Iterator[str]:
    for key, words in _LIMITS:
        if key in schema:
            yield words.format(schema[key])


def _cell(text: str) -> str:
    """Text that does not end its table's cell early."""
    return re.sub(r"\s*\n\s*", " ", text).replace("|", "\\|")
