"""A checkout with a new project of each kind, as `make new-project` makes them."""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from samebench.tasks.new_project import KINDS
from tests.commands import environment
from tests.samebench import checkout, inference_server
from tests.samebench.inference_server import Server
from tests.samebench.pictures import encoded

QUICK = "--epochs 2"
# What the page sends, and its media type.
SAMPLES = {
    "images": (encoded(Image.new("L", (32, 32), 200)), "image/png"),
    "table": (b'{"first": 0.5, "second": 0.2, "kind": "b"}', "application/json"),
    "text": (b"12 s3 40 7", "text/plain"),
}


@dataclass(frozen=True)
class Bench:
    """A checkout with a project on the bench."""

    root: Path
    name: str
    kind: str

    def variables(self) -> dict[str, str]:
        """Those of a process in the environment of the checkout."""
        return {"SAMEBENCH": "1", "PYTHONPATH": f"{self.root}/src", "PYTHONWARNINGS": "error"}

    def make(self, *words: str, code: int = 0, **variables: str) -> str:
        """What `make` says, with the end `code` of the command."""
        done = checkout.run(
            ["make", "-s", *words, f"PROJECT={self.name}"], cwd=self.root, variables={**self.variables(), **variables}
        )
        assert done.returncode == (2 if code else 0), done.stdout + done.stderr
        assert f"Error {code}" in done.stderr or not code
        return done.stdout + done.stderr

    def train(self, *words: str) -> dict[str, Any]:
        """The receipt of a new run on the synthetic data, with these words for make."""
        output = self.make("train", *words, f"ARGS={QUICK}")
        runs = re.findall(r"^runs/\S+", output, flags=re.MULTILINE)
        return self.receipt(runs[-1].strip(":,"))

    def receipt(self, run: str) -> dict[str, Any]:
        """The receipt of a run of this name, such as runs/20261127-101010-abcd."""
        receipt: dict[str, Any] = json.loads((self.root / run / "receipt.json").read_text())
        return receipt

    @contextmanager
    def server(self, run: str) -> Iterator[Server]:
        """The server of this run's artifact."""
        variables = {**self.variables(), "PROJECT": self.name}
        running = inference_server.start(self.root / "runs" / run / "artifact", **variables)
        try:
            yield running
        finally:
            inference_server.end(running)

    def start(self, *words: str) -> subprocess.Popen[str]:
        """Python with these words in the checkout."""
        return subprocess.Popen(
            [sys.executable, *words],
            cwd=self.root,
            env=environment({**self.variables(), "PROJECT": self.name}),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )


@pytest.fixture(scope="session", params=list(KINDS))
def bench(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Bench:
    """A checkout of its own for each kind."""
    root = checkout.copy_checkout(tmp_path_factory.mktemp(request.param) / "checkout")
    (root / "tests").mkdir()
    made = Bench(root, f"my_{request.param}", request.param)
    done = checkout.run(
        ["make", "-s", "new-project", f"NAME={made.name}", f"KIND={made.kind}"], cwd=root, variables=made.variables()
    )
    assert done.returncode == 0, done.stderr
    return made


@pytest.fixture(scope="session")
def first(bench: Bench) -> dict[str, Any]:
    """The receipt of an undisturbed run."""
    return bench.train()
