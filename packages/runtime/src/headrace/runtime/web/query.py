"""Reading the query and the headers of a request as values."""

from __future__ import annotations

from collections.abc import Collection
from typing import TypeVar

from aiohttp import web
from pydantic import BaseModel, ValidationError

from headrace.contracts.errors import FieldError
from headrace.runtime.web.problems import MAX_FIELD_ERRORS, of_validation, pointer, refused

M = TypeVar("M", bound=BaseModel)


def read_query(request: web.Request, model: type[M]) -> M:
    """The query as a value of `model`.

    Raises:
        ValidationFailedError: A name is unknown or given twice, or a value breaks its rule.
    """
    check_names(request, names_of(model))
    try:
        return model.model_validate_strings(dict(request.query))
    except ValidationError as error:
        raise of_validation(error, location="query") from None


def read_headers(request: web.Request, model: type[M]) -> M:
    """The headers that the aliases of `model` name; all others are left alone.

    Raises:
        ValidationFailedError: One of them is given twice or breaks its rule.
    """
    wanted = {}
    for name in sorted(names_of(model)):
        values = request.headers.getall(name, [])
        if len(values) > 1:
            raise refused([FieldError(pointer([name]), "repeated", "may be given once", "header")])
        if values:
            wanted[name] = values[0]
    try:
        return model.model_validate_strings(wanted)
    except ValidationError as error:
        raise of_validation(error, location="header") from None


def check_names(request: web.Request, known: Collection[str]) -> None:
    """Refuse query names that are unknown or repeated: a misspelt filter must not answer with everything.

    Raises:
        ValidationFailedError: Names them.
    """
    errors = []
    for name in dict.fromkeys(request.query):
        if name not in known:
            errors.append(FieldError(pointer([name]), "extra_forbidden", "this name is not known here", "query"))
        elif len(request.query.getall(name)) > 1:
            errors.append(FieldError(pointer([name]), "repeated", "may be given once", "query"))
    if errors:
        raise refused(errors[:MAX_FIELD_ERRORS])


def names_of(model: type[BaseModel]) -> set[str]:
    """The names that `model` reads."""
    return {field.alias or name for name, field in model.model_fields.items()}
