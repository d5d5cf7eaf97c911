"""What can be asked, as OpenAPI 3.1 tells it."""

from typing import Any

from samebench.serving import problem, upload
from samebench.serving.serving import About, Serving, Spec

PROBLEMS = {
    "400": "The body is empty, or the form can't be read.",
    "401": "Wrong or no key.",
    "408": "The head or the body came too late.",
    "413": "Too many bytes, or too much work.",
    "415": "None of the media types.",
    "422": "A body that can't be used.",
    "431": "The head is too long.",
    "503": "Too much to do at the moment; Retry-After says when to ask again.",
}
WITH_SEEN = {
    "name": "seen",
    "in": "query",
    "required": False,
    "description": "If it is there, the answer tells what the network saw, as a data: address.",
    "schema": {"type": "string"},
}


def document(serving: Serving, spec: Spec, *, with_key: bool) -> dict[str, Any]:
    """The document of a server."""
    about, answer = serving.about(spec), _answer(serving.answer_schema(spec))
    result: dict[str, Any] = {
        "openapi": "3.1.0",
        "info": {"title": about.name, "version": "1", "description": about.summary},
        "paths": {
            "/predict": {
                "post": _predict(serving, spec, about, parameters=[WITH_SEEN] * ("seen" in answer["properties"]))
            },
            "/health": {"get": _get("Whether it is ready, and which model it is.", "application/json", _object())},
            "/metrics": {"get": _get("Counters and times for Prometheus.", "text/plain", {"type": "string"})},
            "/openapi.json": {"get": _get("This document.", "application/json", _object())},
            "/": {"get": _get("The page.", "text/html", {"type": "string"})},
        },
        "components": {"schemas": {"Answer": answer, "Problem": _problem()}},
    }
    if with_key:
        result["components"]["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
        result["paths"]["/predict"]["post"]["security"] = [{"key": []}]
    return result


def _predict(serving: Serving, spec: Spec, about: About, *, parameters: list[dict[str, Any]]) -> dict[str, Any]:
    answer = {"$ref": "#/components/schemas/Answer"}
    body, kinds = serving.body_schema(spec), [kind for kind in serving.media_types if "*" not in kind]
    form = {
        "schema": {
            "type": "object",
            "properties": {"file": {"type": "array", "items": body, "minItems": 1, "maxItems": upload.FILES}},
            "required": ["file"],
        },
        "encoding": {"file": {"contentType": ", ".join(kinds)}},
    }
    either = {"oneOf": [answer, {"type": "array", "items": answer, "minItems": 1}]}
    described = {"$ref": "#/components/schemas/Problem"}
    problems = {
        status: {"description": text, "content": {problem.MEDIA_TYPE: {"schema": described}}}
        for status, text in PROBLEMS.items()
    }
    limits = f"{about.limits}, and " if about.limits else ""
    return {
        "operationId": "predict",
        "summary": about.summary,
        "description": f"{limits}at most {upload.BODY_BYTES // 1_000_000} MB. A form is answered by a list.",
        "parameters": parameters,
        "requestBody": {
            "required": True,
            "content": {**{kind: {"schema": body} for kind in kinds}, upload.FORM: form},
        },
        "responses": {
            "200": {"description": "The answer.", "content": {"application/json": {"schema": either}}},
            **problems,
        },
    }


def _get(summary: str, kind: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"summary": summary, "responses": {"200": {"description": "It.", "content": {kind: {"schema": schema}}}}}


def _object() -> dict[str, Any]:
    return {"type": "object"}


def _answer(schema: dict[str, Any]) -> dict[str, Any]:
    """An answer's schema, with warnings if the project's says nothing of them."""
    warnings = {"type": "array", "items": {"type": "string"}}
    required = [*schema.get("required", ()), "warnings"]
    properties = {"warnings": warnings, **schema["properties"]}
    return {"type": "object", **schema, "properties": properties, "required": list(dict.fromkeys(required))}


def _problem() -> dict[str, Any]:
    return {
        "type": "object",
        "properties": {
            "type": {"type": "string"},
            "title": {"type": "string"},
            "status": {"type": "integer"},
            "detail": {"type": "string"},
        },
        "required": ["type", "title", "status", "detail"],
    }
