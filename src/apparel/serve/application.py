"""The application: what each address answers."""

import asyncio
import json
import logging
import secrets
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import numpy as np
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from apparel.serve import openapi
from apparel.serve.health import HealthCheck
from apparel.serve.page import address, page
from apparel.serve.upload import Body
from apparel.serving import SERVING
from samebench.environment import cores
from samebench.serving.artifact import Artifact
from samebench.serving.metrics import Metrics
from samebench.serving.problem import EarlyRejection, Problem
from samebench.tasks.image_classification import decode_image, image_transform
from samebench.tasks.image_classification.decode_image import TooLarge
from samebench.tasks.image_classification.image_file import Foreign, PictureFile, Unreadable
from samebench.tasks.image_classification.image_transform import TransformedImage
from samebench.tasks.image_classification.serving import IMAGES, LEVELS, PROBABILITIES, is_outside

THREADS = 2  # that work on large pictures; together these take decode_image.MAX_MEMORY at most
WORK_SECONDS = 20.0  # for the pictures of a request; the last that was begun in time is finished
QUEUE = 32  # requests with large pictures that wait for a thread
SMALL_PIXELS = 256 * 256  # a request with fewer is worked on at once: handing it to a thread would cost more
JSON = "application/json"
Answer = Callable[[Request], Awaitable[Response]]
log = logging.getLogger(__name__)


class Application:
    """An artifact, and the state of the server around it."""

    def __init__(self, artifact: Artifact, *, api_key: str = "", image: str | None = None) -> None:
        """Ask the artifact before anybody else does."""
        self.artifact, self.key, self.image = artifact, api_key.encode(), image
        self.metrics = Metrics("apparel", "garments", artifact.spec["labels"])
        self.transform, self.levels = SERVING.transform(artifact.spec), artifact.spec[LEVELS]
        self.threads = min(THREADS, cores.available_cpus())
        self.pool = ThreadPoolExecutor(self.threads, "picture")
        self.queued, self.closed = 0, False
        self.page, self.policy = page(artifact)
        self.document = json.dumps(openapi.document(artifact.spec["labels"], self.transform, with_key=bool(api_key)))
        self.routes: dict[str, tuple[str, Answer]] = {
            "/predict": ("POST", self.predict),
            "/": ("GET", self.get_page),
            "/health": ("GET", self.get_health),
            "/metrics": ("GET", self.get_metrics),
            "/openapi.json": ("GET", self.get_openapi),
        }
        self.health = HealthCheck(artifact)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request: five addresses need no router."""
        request = Request(scope, receive)
        try:
            response = await self.route(scope)(request)
        except Problem as problem:
            response = problem.response()
        except ClientDisconnect:
            return  # nobody is there to hear it
        except asyncio.CancelledError:  # told to stop, and its time is over
            response = Problem(503, "told to stop; ask again in a second", retry_after="1").response()
        except Exception:
            log.exception("a mistake of ours", extra={"request": scope["state"]["request"]})
            response = Problem(500, "a mistake of ours; it is in the log under this request's id").response()
        await response(scope, receive, send)

    def close(self) -> None:
        """Give up the pictures that nobody waits for any more; else Python would wait for the threads."""
        self.closed = True
        self.pool.shutdown(wait=False, cancel_futures=True)
        self.health.close()

    def route(self, scope: Scope) -> Answer:
        """What answers this request. Raises Problem where nothing does."""
        method, answer = self.routes.get(scope["path"], ("", self.predict))
        if not method:
            raise EarlyRejection(404, f"no such address; there are {', '.join(self.routes)}")
        if scope["method"] != method and (scope["method"], method) != ("HEAD", "GET"):
            raise EarlyRejection(
                405,
                f"{scope['method']} is not for this address, {method} is",
                allow="GET, HEAD" if method == "GET" else method,
            )
        return answer

    async def get_page(self, _request: Request) -> Response:
        """The page."""
        return Response(self.page, media_type="text/html", headers={"content-security-policy": self.policy})

    async def get_health(self, _request: Request) -> Response:
        """Whether it can answer right now, and which model of which training it is, in which image."""
        if problem := await self.health.problem():
            raise Problem(503, problem)
        facts = {name: self.artifact.facts[name] for name in ("run", "weights_sha256", "data_version", "locks")}
        told = {"status": "ready", "artifact_sha256": self.artifact.sha256, "image": self.image, **facts}
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
            opened = []
            contents = await body.pictures()
            for place, content in enumerate(contents, start=1):
                with readable(place, of=len(contents)):
                    opened.append(decode_image.open_image(content))
            answers = await self.work(opened, seen="seen" in request.query_params)
        request.state.images = len(answers)
        return Response(json.dumps(answers if body.is_form else answers[0], allow_nan=False), media_type=JSON)

    def admit(self, request: Request) -> None:
        """Raise Problem for a request without the key, where there is one."""
        scheme, _, given = request.headers.get("authorization", "").partition(" ")
        if self.key and (scheme.lower() != "bearer" or not secrets.compare_digest(given.encode(), self.key)):
            raise EarlyRejection(401, "wrong or no key; send Authorization: Bearer KEY", www_authenticate="Bearer")

    async def work(self, opened: list[PictureFile], *, seen: bool) -> list[dict[str, Any]]:
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

    def answers(self, opened: list[PictureFile], *, seen: bool) -> list[dict[str, Any]]:
        """What there is to say of each picture."""
        prepared: list[TransformedImage] = []
        count, latest = len(opened), time.monotonic() + WORK_SECONDS
        while opened:
            if time.monotonic() > latest or self.closed:
                raise Problem(413, f"more than {WORK_SECONDS:g} s of work; send fewer or smaller pictures")
            with readable(len(prepared) + 1, of=count):  # one after the other: a whole picture may take 64 MB and more
                prepared.append(self.transform(opened.pop(0)))
        probabilities = self.artifact.predict({IMAGES: np.array([each.pixels for each in prepared])})[PROBABILITIES]
        return [self.answer(each, row.tolist(), seen=seen) for each, row in zip(prepared, probabilities, strict=True)]

    def answer(self, prepared: TransformedImage, probabilities: Sequence[float], *, seen: bool) -> dict[str, Any]:
        """Category, confidence, all probabilities, warnings, and what the network saw if asked for."""
        confidence = max(probabilities)
        labels = self.artifact.spec["labels"]
        category = labels[probabilities.index(confidence)]
        self.metrics.answered(category)
        told = {
            "category": category,
            "confidence": confidence,
            "probabilities": dict(zip(labels, probabilities, strict=True)),
            "warnings": self.warnings(prepared, confidence),
        }
        return told | {"seen": address(prepared.pixels)} if seen else told

    def warnings(self, prepared: TransformedImage, confidence: float) -> list[str]:
        """What makes an answer doubtful: the picture, its file, or how sure the network is."""
        doubts = {
            image_transform.NOTHING: prepared.is_empty,
            **dict.fromkeys(prepared.damage, True),
            image_transform.OUTSIDE: is_outside(prepared.pixels, self.levels),
            **dict.fromkeys(prepared.warnings, True),
            self.transform.doubt: confidence < self.artifact.spec["confidence_floor"],
        }
        return [doubt for doubt, is_so in doubts.items() if is_so]


@contextmanager
def readable(place: int, *, of: int) -> Iterator[None]:
    """Raise Problem for a picture that can't be read, with its place, from 1, where there are several."""
    try:
        yield
    except Unreadable as reason:
        status = {Foreign: 415, TooLarge: 413}.get(type(reason), 422)
        raise Problem(status, f"file {place} of {of}: {reason}" if of > 1 else str(reason)) from reason
