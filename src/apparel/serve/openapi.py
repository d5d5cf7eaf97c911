"""What can be asked, as OpenAPI 3.1 tells it."""

from collections.abc import Sequence
from typing import Any

from apparel.serve import upload
from apparel.serving.garment import GARMENTS
from samebench.serving import problem
from samebench.tasks.image_classification import decode_image
from samebench.tasks.image_classification.image_transform import ImageTransform

PICTURES = ("image/png", "image/jpeg", "image/webp")
PROBLEMS = {
    "400": "The body is empty, or the form can't be read.",
    "401": "Wrong or no key.",
    "408": "The head or the body came too late.",
    "413": "Too many bytes or pixels.",
    "415": "No PNG, JPEG or WebP.",
    "422": "A damaged picture.",
    "431": "The head is too long.",
    "503": "Too much to do at the moment; Retry-After says when to ask again.",
}


def document(labels: Sequence[str], preparation: ImageTransform = GARMENTS, *, with_key: bool) -> dict[str, Any]:
    """The document for a server of these categories and pictures."""
    title, thing = ("Apparel", "garment") if preparation == GARMENTS else ("Picture", "picture")
    about = {"title": f"{title} classifier", "version": "1", "description": f"A {thing} in, its category out."}
    told: dict[str, Any] = {
        "openapi": "3.1.0",
        "info": about,
        "paths": {
            "/predict": {"post": _predict(thing)},
            "/health": {"get": _get("Whether it is ready, and which model it is.", "application/json", _object())},
            "/metrics": {"get": _get("Counters and times for Prometheus.", "text/plain", {"type": "string"})},
            "/openapi.json": {"get": _get("This document.", "application/json", _object())},
            "/": {"get": _get("The page.", "text/html", {"type": "string"})},
        },
        "components": {"schemas": {"Answer": _answer(labels, preparation), "Problem": _problem()}},
    }
    if with_key:
        told["components"]["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
        told["paths"]["/predict"]["post"]["security"] = [{"key": []}]
    return told


def _predict(thing: str) -> dict[str, Any]:
    answer = {"$ref": "#/components/schemas/Answer"}
    binary = {"type": "string", "format": "binary", "minLength": 1}
    form = {
        "schema": {
            "type": "object",
            "properties": {"picture": {"type": "array", "items": binary, "minItems": 1, "maxItems": upload.IMAGES}},
            "required": ["picture"],
        },
        "encoding": {"picture": {"contentType": ", ".join(PICTURES)}},
    }
    kinds = (*PICTURES, upload.RAW_TYPES[0])
    either = {"oneOf": [answer, {"type": "array", "items": answer, "minItems": 1}]}
    described = {"$ref": "#/components/schemas/Problem"}
    problems = {
        status: {"description": text, "content": {problem.MEDIA_TYPE: {"schema": described}}}
        for status, text in PROBLEMS.items()
    }
    return {
        "operationId": "predict",
        "summary": f"The category of a {thing} and the confidence in it.",
        "description": f"PNG, JPEG or WebP, at most {decode_image.MAX_PIXELS // 1_000_000} million pixels and "
        f"{upload.BODY_BYTES // 1_000_000} MB. A form is answered by a list.",
        "parameters": [
            {
                "name": "seen",
                "in": "query",
                "required": False,
                "description": "If it is there, the answer tells what the network saw, as a data: address.",
                "schema": {"type": "string"},
            }
        ],
        "requestBody": {
            "required": True,
            "content": {**{kind: {"schema": binary} for kind in kinds}, upload.FORM: form},
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


def _answer(labels: Sequence[str], preparation: ImageTransform) -> dict[str, Any]:
    size = f"{preparation.side}x{preparation.side}"
    share = {"type": "number", "minimum": 0, "maximum": 1}
    return {
        "type": "object",
        "properties": {
            "category": {"type": "string", "enum": list(labels)},
            "confidence": share,
            "probabilities": {
                "type": "object",
                "properties": dict.fromkeys(labels, share),
                "required": list(labels),
                "additionalProperties": False,
            },
            "warnings": {"type": "array", "items": {"type": "string", "enum": warnings(preparation)}},
            "seen": {"type": "string", "description": f"{size} PNG as a data: address."},
        },
        "required": ["category", "confidence", "probabilities", "warnings"],
        "additionalProperties": False,
    }


def warnings(preparation: ImageTransform = GARMENTS) -> list[str]:
    """All that an answer can warn of."""
    return list(preparation.warnings)


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
