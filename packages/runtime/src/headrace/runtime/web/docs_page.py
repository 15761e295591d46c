"""The OpenAPI document as a page for people: server-rendered, one file, no script, nothing from elsewhere."""

from __future__ import annotations

import base64
import hashlib
import html
import json
from collections.abc import Iterable, Mapping
from typing import Any, Final

from headrace.runtime.web.docs_style import STYLE

_DIGEST = base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()
SECURITY: Final = {
    "Content-Security-Policy": (
        f"default-src 'none'; style-src 'sha256-{_DIGEST}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Referrer-Policy": "no-referrer",
}
"""Headers of the page: it may use its own style and nothing else."""

Schema = Mapping[str, Any]


def page(document: Schema) -> str:
    """The page for an OpenAPI document, with a link for every schema."""
    title = f"{document['info']['title']} {document['info']['version']}"
    by_tag: dict[str, list[tuple[str, str, Schema]]] = {}
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            tag = (operation.get("tags") or ["other"])[0]
            by_tag.setdefault(tag, []).append((method.upper(), path, operation))
    schemas = document["components"]["schemas"]
    parts = [_head(title), f"<h1>{_text(title)}</h1>", _contents(by_tag), "<main>"]
    for tag, operations in by_tag.items():
        parts.append(f'<section aria-labelledby="tag-{_text(tag)}"><h2 id="tag-{_text(tag)}">{_text(tag)}</h2>')
        parts += [_operation(method, path, operation) for method, path, operation in operations]
        parts.append("</section>")
    parts.append('<section aria-labelledby="schemas"><h2 id="schemas">Schemas</h2>')
    parts += [_schema(name, schema) for name, schema in sorted(schemas.items())]
    return "".join([*parts, "</section></main></body></html>\n"])


def _head(title: str) -> str:
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{_text(title)}</title><style>{STYLE}</style></head><body>"
    )


def _contents(by_tag: Mapping[str, list[tuple[str, str, Schema]]]) -> str:
    items = []
    for tag, operations in by_tag.items():
        links = "".join(
            f'<li><a href="#{_text(operation["operationId"])}"><code>{method} {_text(path)}</code></a></li>'
            for method, path, operation in operations
        )
        items.append(f"<li>{_text(tag)}<ul>{links}</ul></li>")
    return f'<nav aria-label="Operations"><ul>{"".join(items)}</ul></nav>'


def _operation(method: str, path: str, operation: Schema) -> str:
    name = _text(operation["operationId"])
    parts = [
        f'<article aria-labelledby="{name}"><h3 id="{name}"><code>{method} {_text(path)}</code></h3>',
        f"<p><strong>{_text(operation['summary'])}.</strong> {_text(operation['description'])}</p>",
    ]
    if operation["parameters"]:
        rows = (
            (
                f"<code>{_text(item['name'])}</code>",
                f"{item['in']}{', required' if item['required'] else ''}",
                _type(item["schema"]),
                _text(item["schema"].get("description", "")),
            )
            for item in operation["parameters"]
        )
        parts.append(_table(("parameter", "where", "type", "meaning"), rows))
    body = operation.get("requestBody")
    if body is not None:
        (content,) = body["content"].values()
        parts.append(f"<p>Body: {_type(content['schema'])}</p>")
    answers = (
        (
            f"<code>{status}</code>",
            _text(answer["description"]),
            "<br>".join(f"<code>{_text(kind)}</code> {_type(of['schema'])}" for kind, of in answer["content"].items()),
        )
        for status, answer in operation["responses"].items()
    )
    return "".join([*parts, _table(("status", "meaning", "answer"), answers), "</article>"])


def _schema(name: str, schema: Schema) -> str:
    found = _text(name)
    parts = [f'<article aria-labelledby="schema-{found}"><h3 id="schema-{found}"><code>{found}</code></h3>']
    if "description" in schema:
        parts.append(f"<p>{_text(schema['description'])}</p>")
    if "properties" not in schema:
        return "".join([*parts, f"<p>{_type(schema)}</p></article>"])
    required = set(schema.get("required", ()))
    rows = (
        (
            f"<code>{_text(field)}</code>{' required' if field in required else ''}",
            _type(of),
            _text(of.get("description", "")),
        )
        for field, of in schema["properties"].items()
    )
    return "".join([*parts, _table(("field", "type", "meaning"), rows), "</article>"])


def _table(names: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    head = "".join(f'<th scope="col">{name}</th>' for name in names)
    body = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in rows)
    return f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def _type(schema: Schema) -> str:
    """A schema in a few words."""
    if "$ref" in schema:
        name = _text(str(schema["$ref"]).rpartition("/")[2])
        return f'<a href="#schema-{name}">{name}</a>'
    for word in ("anyOf", "oneOf"):
        if word in schema:
            return " or ".join(_type(choice) for choice in schema[word])
    if "const" in schema:
        return f"<code>{_text(json.dumps(schema['const']))}</code>"
    if "enum" in schema:
        return " ".join(f"<code>{_text(json.dumps(value))}</code>" for value in schema["enum"])
    kind = str(schema.get("type", "any JSON"))
    if kind == "array":
        return f"list of {_type(schema.get('items', {}))}"
    additional = schema.get("additionalProperties")
    if kind == "object" and isinstance(additional, dict):
        return f"object of {_type(additional)}"
    rules = [f"{name} {schema[name]}" for name in _RULES if name in schema]
    return _text(" ".join([kind, f"({', '.join(rules)})"] if rules else [kind]))


_RULES = (
    "format",
    "pattern",
    "minimum",
    "exclusiveMinimum",
    "maximum",
    "minLength",
    "maxLength",
    "minItems",
    "maxItems",
    "default",
)


def _text(value: object) -> str:
    return html.escape(str(value))
