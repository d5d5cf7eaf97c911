"""The least that a server of a model does, to measure ours against: asyncio, Pillow, onnxruntime, JSON; no limits.

python -m benchmarks._floor_server ARTIFACT PORT
"""

import asyncio
import io
import json
import sys
from pathlib import Path

import numpy as np
from PIL import Image

from samebench.serving.artifact import Artifact


class Floor(asyncio.Protocol):
    """A connection that takes every request for a picture of 28x28 in a body of `content-length` bytes."""

    artifact: Artifact

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        assert isinstance(transport, asyncio.Transport)
        self.transport, self.received = transport, b""

    def data_received(self, data: bytes) -> None:
        """Answer once the body is whole."""
        self.received += data
        head, end, body = self.received.partition(b"\r\n\r\n")
        length = head.lower().partition(b"content-length:")[2].split(b"\r\n")[0]
        if end and len(body) == int(length):
            self.received = b""
            content = json.dumps(self.answer(body)).encode()
            self.transport.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(content) + content)

    def answer(self, body: bytes) -> dict[str, object]:
        """What ours answers, too."""
        pixels = np.asarray(Image.open(io.BytesIO(body)).convert("L"))
        (outputs,) = self.artifact.session.run(None, {"images": pixels[np.newaxis]})
        probabilities, labels = outputs[0].tolist(), self.artifact.spec["labels"]
        confidence = max(probabilities)
        return {
            "category": labels[probabilities.index(confidence)],
            "confidence": confidence,
            "probabilities": dict(zip(labels, probabilities, strict=True)),
            "warnings": [],
        }


async def serve(port: int) -> None:
    """Until it is killed."""
    server = await asyncio.get_running_loop().create_server(Floor, "127.0.0.1", port)
    await server.serve_forever()


if __name__ == "__main__":
    Floor.artifact = Artifact.load(Path(sys.argv[1]))
    asyncio.run(serve(int(sys.argv[2])))
