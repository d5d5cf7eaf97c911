"""The application: what each address answers."""

import asyncio
import json
import secrets
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from PIL import Image
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from apparel.serve import openapi, picture, problem
from apparel.serve.artifact import Artifact
from apparel.serve.metrics import Metrics
from apparel.serve.page import address, page
from apparel.serve.picture import Foreign, Prepared, TooLarge, Unreadable
from apparel.serve.problem import Problem
from apparel.serve.upload import Body
from apparel.serve.watch import Watch
from samebench import cores
from samebench.command import Refusal

QUEUE = 32  # requests with large pictures that wait for a thread
SMALL_PIXELS = 256 * 256  # a request with fewer is worked on at once: handing it to a thread would cost more
JSON = "application/json"


class Application:
    """An artifact, and the state of the server around it."""

    def __init__(self, artifact: Artifact, *, api_key: str = "") -> None:
        """Ask the artifact before anybody else does."""
        self.artifact, self.key = artifact, api_key.encode()
        self.metrics = Metrics(artifact.labels)
        self.threads = cores.allowed()
        self.pool = ThreadPoolExecutor(self.threads, "picture")
        self.queued = 0
        self.page, self.policy = page(artifact)
        self.document = json.dumps(openapi.document(artifact.labels, with_key=bool(api_key)))
        artifact.check()

    async def get_page(self, _request: Request) -> Response:
        """The page."""
        return Response(self.page, media_type="text/html", headers={"content-security-policy": self.policy})

    async def get_health(self, _request: Request) -> Response:
        """Whether it can answer right now, and which model it is."""
        try:
            self.artifact.check()
        except Refusal as refusal:
            raise Problem(503, str(refusal)) from refusal
        facts = {name: self.artifact.facts[name] for name in ("run", "weights_sha256", "data_version", "locks")}
        told = {"status": "ready", "artifact_sha256": self.artifact.sha256, **facts}
        return Response(json.dumps(told), media_type=JSON)

    async def get_metrics(self, _request: Request) -> Response:
        """Counters and times, for Prometheus."""
        return Response(self.metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")

    async def get_openapi(self, _request: Request) -> Response:
        """What can be asked, for machines."""
        return Response(self.document, media_type=JSON)

    async def predict(self, request: Request) -> Response:
        """The answer on a picture, or a list of them for a form."""
        self.admit(request)
        async with Body(request) as body:
            opened = [_look(content) for content in await body.pictures()]
            answers = await self.work(opened, seen="seen" in request.query_params)
        request.state.images = len(answers)
        return Response(json.dumps(answers if body.is_form else answers[0]), media_type=JSON)

    def admit(self, request: Request) -> None:
        """Raise Problem for a request without the key, where there is one."""
        given = request.headers.get("authorization", "").encode()
        if self.key and not secrets.compare_digest(given, b"Bearer " + self.key):
            raise problem.TooMuch(401, "wrong or no key; send Authorization: Bearer KEY", www_authenticate="Bearer")

    async def work(self, opened: Sequence[Image.Image], *, seen: bool) -> list[dict[str, Any]]:
        """The answers; small pictures at once, large ones in a thread, of which only so many may wait."""
        if sum(each.width * each.height for each in opened) <= SMALL_PIXELS:
            return self.answers(opened, seen=seen)
        if self.queued >= self.threads + QUEUE:
            raise Problem(503, f"{QUEUE} requests are waiting already; try again in a second", retry_after="1")
        self.queued += 1
        try:
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(self.pool, lambda: self.answers(opened, seen=seen))
        finally:
            self.queued -= 1

    def answers(self, opened: Sequence[Image.Image], *, seen: bool) -> list[dict[str, Any]]:
        """What there is to say of each picture."""
        prepared = [_prepare(each) for each in opened]
        probabilities = self.artifact.predict(np.stack([each.pixels for each in prepared]))
        return [self.answer(each, row.tolist(), seen=seen) for each, row in zip(prepared, probabilities, strict=True)]

    def answer(self, prepared: Prepared, probabilities: Sequence[float], *, seen: bool) -> dict[str, Any]:
        """Category, confidence, all probabilities, warnings, and what the network saw if asked for."""
        confidence = max(probabilities)
        category = self.artifact.labels[probabilities.index(confidence)]
        self.metrics.answered(category)
        told = {
            "category": category,
            "confidence": confidence,
            "probabilities": dict(zip(self.artifact.labels, probabilities, strict=True)),
            "warnings": [*prepared.warnings, *([picture.DOUBTFUL] if confidence < self.artifact.floor else [])],
        }
        return told | {"seen": address(prepared.pixels)} if seen else told


def _look(content: bytes) -> Image.Image:
    try:
        return picture.look(content)
    except Unreadable as reason:
        raise Problem(_status(reason), str(reason)) from reason


def _prepare(opened: Image.Image) -> Prepared:
    try:
        return picture.prepare(opened)
    except Unreadable as reason:
        raise Problem(_status(reason), str(reason)) from reason


def _status(reason: Unreadable) -> int:
    return {Foreign: 415, TooLarge: 413}.get(type(reason), 422)


def application(artifact: Artifact, *, api_key: str = "") -> Watch:
    """The ASGI application of an artifact."""
    state = Application(artifact, api_key=api_key)
    routes = [
        Route("/", state.get_page),
        Route("/health", state.get_health),
        Route("/metrics", state.get_metrics),
        Route("/openapi.json", state.get_openapi),
        Route("/predict", state.predict, methods=["POST"]),
    ]
    handlers = dict.fromkeys([Problem, HTTPException, Exception], problem.answer)
    return Watch(Starlette(routes=routes, exception_handlers=handlers), state.metrics)
