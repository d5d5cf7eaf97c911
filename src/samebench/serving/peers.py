"""Whether all workers of a server answer right: the one that is asked for its health asks the others."""

import asyncio
import socket
from contextlib import suppress

from samebench.serving.health import HealthCheck

PEER_SECONDS = 3.0  # for another worker to say whether it is well: an orchestrator waits 4 s for the answer


class Peers:
    """The workers of a server, who ask each other whether their answers are right."""

    def __init__(self, check: HealthCheck, count: int = 1) -> None:
        """Take the check of this process and of those that are forked from it, `count` with a worker number each."""
        self.check, self.count, self.number = check, count, 0
        pairs = [socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM) for _ in range(count if count > 1 else 0)]
        self.inboxes, self.outboxes = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
        for each in (*self.inboxes, *self.outboxes):
            each.setblocking(False)
        self.answers: dict[int, asyncio.Future[str]] = {}  # that we wait for, by worker
        self.tasks: set[asyncio.Task[None]] = set()

    def join(self, number: int) -> None:
        """Be worker `number` from now on, and answer the others."""
        self.number = number
        if self.inboxes:
            asyncio.get_running_loop().add_reader(self.inboxes[number], self._receive)

    def close(self) -> None:
        """Ask nobody any more."""
        for each in (*self.inboxes, *self.outboxes):
            each.close()

    async def problem(self) -> str:
        """What is wrong with the answers of one of the workers; empty if nothing is."""
        answers = {number: self._ask(number) for number in range(len(self.inboxes)) if number != self.number}
        problems = [await self.check.problem()]
        if answers:
            await asyncio.wait(answers.values(), timeout=PEER_SECONDS)
        for number, answer in answers.items():
            problems.append(
                answer.result() if answer.done() else f"worker {number + 1} of {self.count} does not answer"
            )
        return next(filter(None, problems), "")

    def _ask(self, number: int) -> asyncio.Future[str]:
        """The next answer of a worker, who is asked once more even if it owes us one: a message can get lost."""
        answer = self.answers.setdefault(number, asyncio.get_running_loop().create_future())
        self._send(number, f"? {self.number} ")
        return answer

    def _send(self, number: int, message: str) -> None:
        with suppress(BlockingIOError):  # it has not read for long
            self.outboxes[number].send(message.encode())

    def _receive(self) -> None:
        kind, number, problem = self.inboxes[self.number].recv(1 << 16).decode().split(" ", 2)
        if kind == "?":
            task = asyncio.get_running_loop().create_task(self._answer(int(number)))
            self.tasks.add(task)
            task.add_done_callback(self.tasks.discard)
        elif waiting := self.answers.pop(int(number), None):
            waiting.set_result(problem)

    async def _answer(self, number: int) -> None:
        self._send(number, f"! {self.number} {await self.check.problem()}")
