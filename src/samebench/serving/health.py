"""Whether the artifact still answers right: a few of its samples at a time, beside the event loop."""

import asyncio
from concurrent.futures import ThreadPoolExecutor

from samebench.core.command import UsageError
from samebench.serving.artifact import Artifact
from samebench.serving.samples import spread

SAMPLES = 10  # in one check
SECONDS = 1.0  # after which a check asks no further sample: an orchestrator waits 4 s for the answer


class HealthCheck:
    """Asks an artifact about its samples in turns: one check at a time, whose result all that wait for it get."""

    def __init__(self, artifact: Artifact) -> None:
        """Ask once, before anybody else does. Raises UsageError where the artifact does not answer right."""
        self.artifact, self.turn = artifact, 0
        self.thread = ThreadPoolExecutor(1, "health")
        self.running: asyncio.Future[str] | None = None
        if problem := self._check_samples():
            raise UsageError(problem)

    async def problem(self) -> str:
        """What is wrong with the artifact's answers; empty if nothing is."""
        if self.running is None:
            self.running = asyncio.get_running_loop().run_in_executor(self.thread, self._check_samples)
            self.running.add_done_callback(self._end)
        return await asyncio.shield(self.running)  # one that waits may leave without ending it for the others

    def _check_samples(self) -> str:
        """Ask about the next samples; after a wrong answer about the same ones again."""
        places = spread(len(self.artifact.samples), self.turn, SAMPLES)
        try:
            self.artifact.check(places, seconds=SECONDS)
        except UsageError as refusal:
            return str(refusal)
        self.turn += 1
        return ""

    def close(self) -> None:
        """Let nobody wait for a check any more."""
        self.thread.shutdown(wait=False, cancel_futures=True)

    def _end(self, _done: "asyncio.Future[str]") -> None:
        self.running = None
