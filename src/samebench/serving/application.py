"""The application: what each address answers."""

import asyncio
import json
import logging
import secrets
import time
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from samebench import project
from samebench.environment import cores
from samebench.serving import openapi
from samebench.serving.artifact import Artifact
from samebench.serving.health import HealthCheck
from samebench.serving.metrics import Metrics
from samebench.serving.page import page
from samebench.serving.peers import Peers
from samebench.serving.problem import EarlyRejection, Problem
from samebench.serving.problem_response import problem_response
from samebench.serving.samples import Arrays
from samebench.serving.serving import Example
from samebench.serving.upload import Body, Content

THREADS = 2  # for requests with much work
WORK_SECONDS = 20.0  # for the examples of a request; the last that was begun in time is finished
LIGHT_SECONDS = 0.005  # of the graph, for all examples of a request: longer would keep other requests waiting
QUEUE = 32  # requests with much work that wait for a thread
JSON = "application/json"
Answer = Callable[[Request], Awaitable[Response]]
log = logging.getLogger(__name__)


class Application:
    """An artifact, and the state of the server around it."""

    def __init__(self, artifact: Artifact, *, api_key: str = "", image: str | None = None, workers: int = 1) -> None:
        """Ask the artifact before anybody else does. It starts no thread, so that `workers` can be forked."""
        self.artifact, self.key, self.image = artifact, api_key.encode(), image
        self.serving, self.spec = artifact.serving, artifact.spec
        examples, labels = self.serving.about(self.spec).examples, self.serving.classes(self.spec)
        self.metrics = Metrics(project.name(), examples, labels, workers=workers)
        self.threads = max(1, min(THREADS, cores.available_cpus()) // workers)
        self.pool = ThreadPoolExecutor(self.threads, "work")
        self.queued, self.closed = 0, False
        self.graph_seconds = artifact.measure_seconds()
        self.page, self.policy = page(artifact)
        self.document = json.dumps(openapi.document(self.serving, self.spec, with_key=bool(api_key)))
        self.routes: dict[str, tuple[str, Answer]] = {
            "/predict": ("POST", self.predict),
            "/": ("GET", self.get_page),
            "/health": ("GET", self.get_health),
            "/metrics": ("GET", self.get_metrics),
            "/openapi.json": ("GET", self.get_openapi),
        }
        self.health = HealthCheck(artifact)
        self.peers = Peers(self.health, workers)

    def join(self, worker: int) -> None:
        """Be this one of the workers from now on."""
        self.metrics.worker = worker
        self.peers.join(worker)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request: five addresses need no router."""
        request = Request(scope, receive)
        try:
            response = await self.route(scope)(request)
        except Problem as problem:
            response = problem_response(problem)
        except ClientDisconnect:
            return  # nobody is there to hear it
        except asyncio.CancelledError:  # told to stop, and its time is over
            response = problem_response(Problem(503, "told to stop; ask again in a second", retry_after="1"))
        except Exception:
            log.exception("a mistake of ours", extra={"request": scope["state"]["request"]})
            response = problem_response(Problem(500, "a mistake of ours; it is in the log under this request's id"))
        await response(scope, receive, send)

    def close(self) -> None:
        """Give up the work that nobody waits for any more; else Python would wait for the threads."""
        self.closed = True
        self.pool.shutdown(wait=False, cancel_futures=True)
        self.health.close()
        self.peers.close()

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
        if problem := await self.peers.problem():
            raise Problem(503, problem)
        facts = {name: self.artifact.facts[name] for name in ("run", "weights_sha256", "data_version", "locks")}
        status = {"status": "ready", "artifact_sha256": self.artifact.sha256, "image": self.image, **facts}
        return Response(json.dumps(status), media_type=JSON)

    async def get_metrics(self, _request: Request) -> Response:
        """Counters and times, for Prometheus."""
        return Response(self.metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")

    async def get_openapi(self, _request: Request) -> Response:
        """What can be asked, for machines."""
        return Response(self.document, media_type=JSON)

    async def predict(self, request: Request) -> Response:
        """The answer on an example, or a list of them for a form."""
        self.admit(request)
        async with Body(request, self.serving.media_types) as body:
            answers = await self.work(await body.contents(), seen="seen" in request.query_params)
        request.state.examples = len(answers)
        return Response(json.dumps(answers if body.is_form else answers[0], allow_nan=False), media_type=JSON)

    def admit(self, request: Request) -> None:
        """Raise Problem for a request without the key, where there is one."""
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if self.key and (scheme.lower() != "bearer" or not secrets.compare_digest(token.encode(), self.key)):
            raise EarlyRejection(401, "wrong or no key; send Authorization: Bearer KEY", www_authenticate="Bearer")

    async def work(self, contents: list[Content], *, seen: bool) -> list[dict[str, Any]]:
        """The answers; light ones at once, others in a thread, of which only so many may wait."""
        amount = 0
        for place, content in enumerate(contents, start=1):
            with name_file_in_problem(place, of=len(contents)):
                amount += self.serving.work(content.body, content.media_type)
        is_light = amount <= self.serving.light_work and len(contents) * self.graph_seconds <= LIGHT_SECONDS
        if is_light:  # handing it to a thread would cost more
            return self.answers(contents, seen=seen)
        if self.queued >= self.threads + QUEUE:
            raise Problem(503, f"{QUEUE} requests are waiting already; try again in a second", retry_after="1")
        self.queued += 1
        try:
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(self.pool, lambda: self.answers(contents, seen=seen))
        finally:
            self.queued -= 1

    def answers(self, contents: list[Content], *, seen: bool) -> list[dict[str, Any]]:
        """What there is to say of each example."""
        examples: list[Example] = []
        count, latest = len(contents), time.monotonic() + WORK_SECONDS
        while contents:
            if time.monotonic() > latest or self.closed:
                raise Problem(413, f"more than {WORK_SECONDS:g} s of work; send fewer or smaller ones")
            with name_file_in_problem(len(examples) + 1, of=count):  # one after the other: each may take much memory
                body, media_type = contents.pop(0)
                examples.append(self.serving.decode(body, media_type, self.spec))
        outputs = self.artifact.predict_examples([example.inputs for example in examples])
        return [self.answer(example, each, seen=seen) for example, each in zip(examples, outputs, strict=True)]

    def answer(self, example: Example, outputs: Arrays, *, seen: bool) -> dict[str, Any]:
        """The project's answer with warnings, and what the network saw if asked for."""
        answer = {"warnings": list(example.warnings), **self.serving.encode(outputs, example, self.spec)}
        answer["warnings"] = answer.pop("warnings")  # the last
        self.metrics.count_answer(answer.get("category"))
        address = self.serving.seen(example, self.spec) if seen else None
        return answer | {"seen": address} if address else answer


@contextmanager
def name_file_in_problem(place: int, *, of: int) -> Iterator[None]:
    """Say in a Problem of which file it is, by its place from 1, where there are several."""
    try:
        yield
    except Problem as problem:
        if of > 1:
            problem.detail = f"file {place} of {of}: {problem.detail}"
        raise
