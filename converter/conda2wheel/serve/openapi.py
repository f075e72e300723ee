"""What the OpenAPI document says of /simple/ and /files/, which are answered in front of FastAPI."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI

from conda2wheel.serve.files import PREFIX as FILES
from conda2wheel.serve.simple import HTML, HTML_V1, JSON_V1, OFFERS
from conda2wheel.serve.simple import PREFIX as SIMPLE

_TEXT = {"type": "string"}
_PROBLEM = {"application/json": {"schema": {"$ref": "#/components/schemas/ApiProblem"}}}
_PAGE = {JSON_V1: {"schema": {"type": "object"}}, HTML_V1: {"schema": _TEXT}, HTML: {"schema": _TEXT}}
_FORMAT = {
    "name": "format",
    "in": "query",
    "description": "The form of the page, instead of Accept.",
    "schema": {"type": "string", "enum": [*OFFERS, "json", "html"]},
}
_PROJECT = {
    "name": "project",
    "in": "path",
    "required": True,
    "description": "A project's name; another spelling than the normalised one is redirected.",
    "schema": {"type": "string", "pattern": "^[A-Za-z0-9]([A-Za-z0-9._-]{0,212}[A-Za-z0-9])?$"},
}
_HASH = {"type": "string", "pattern": "^[0-9a-f]{64}$"}
_FILE: list[dict[str, Any]] = [
    {"name": "start", "in": "path", "required": True, "schema": {"type": "string", "pattern": "^[0-9a-f]{2}$"}},
    {"name": "sha256", "in": "path", "required": True, "schema": _HASH},
    {
        "name": "filename",
        "in": "path",
        "required": True,
        "description": "A wheel, or a wheel's name and .metadata, .cdx.json or .provenance.json.",
        "schema": {"type": "string", "maxLength": 300},
    },
    {"name": "Range", "in": "header", "description": "One range of bytes.", "schema": _TEXT},
]
_BINARY = {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}


def _responses(content: dict[str, Any], *statuses: int) -> dict[str, Any]:
    texts = {
        206: "A part of the file.",
        301: "It has another address.",
        304: "The client has it.",
        400: "The request has no valid Host.",
        401: "A token is needed, or the one that was sent is not known.",
        403: "The token lacks the scope.",
        404: "There is no such thing.",
        406: "It has no form that the client accepts.",
        416: "The file has no such part.",
        503: "It cannot be answered now: it is being converted, for instance. `Retry-After` says when to ask again.",
    }
    found: dict[str, Any] = {"200": {"description": "It.", "content": content}}
    for status in (*statuses, 401, 403):
        found[str(status)] = {"description": texts[status]}
        if status >= 400 and status != 416:
            found[str(status)]["content"] = _PROBLEM
    if 206 in statuses:
        found["206"]["content"] = content
    return found


def _get(identity: str, summary: str, parameters: list[dict[str, Any]], responses: dict[str, Any]) -> dict[str, Any]:
    operation = {"tags": ["index"], "operationId": identity, "summary": summary, "parameters": parameters, "responses": responses}
    return {"get": operation}


PATHS = {
    SIMPLE: _get("list_projects", "All projects of the index (PEP 503, PEP 691).", [_FORMAT], _responses(_PAGE, 304, 406)),
    f"{SIMPLE}{{project}}/": _get(
        "read_project",
        "The files of a project; converted now, if a channel has it and the index has not.",
        [_PROJECT, _FORMAT],
        _responses(_PAGE, 301, 304, 400, 404, 406, 503),
    ),
    f"{FILES}{{start}}/{{sha256}}/{{filename}}": _get(
        "read_wheel",
        "A wheel, its METADATA (PEP 658) or a document of it. It never changes.",
        _FILE,
        _responses({**_BINARY, "text/plain": {"schema": _TEXT}, "application/json": {}}, 206, 304, 404, 416, 503),
    ),
}


def describe_index(api: FastAPI) -> None:
    """Add these addresses to the application's document."""
    made = api.openapi

    def openapi() -> dict[str, Any]:
        document = made()
        document["paths"] = PATHS | document["paths"]
        return document

    api.openapi = openapi  # type: ignore[method-assign]
