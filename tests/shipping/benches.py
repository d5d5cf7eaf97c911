"""A checkout in which each step of a small real run was made, and what `make flow` says of it."""

import functools
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from samebench.runs.flow_steps import STALE, UP
from samebench.shipping import bundle, flow
from tests.commands import call
from tests.samebench import bundles, stored
from tests.samebench.checkout import copy_checkout, run
from tests.samebench.fakes import SCRIPT, write_program
from tiny import data

STEPS = ("data", "workspace", "training run", "evaluation", "artifact", "server image", "bundle")

NOBODYS = {"BASE_IMAGE": "", "CA_CERT": "", "SSL_CERT_FILE": "", "PYTHONPATH": "", "PYTHONDONTWRITEBYTECODE": "1"}

# Makes all that an engine isn't needed for, of the data set that the checkout has; linear knows it at once.
MAKE = """
from samebench.training import run_evaluation
from samebench.serving import onnx_export
from samebench.training import train
from tiny.settings import Budgets, Settings
run = train.train(Settings(network="linear", epochs=1, seed=3, batch_size=100, shards=2))
run_evaluation.evaluate_run(run)
onnx_export.export(run, Budgets(min_validation_accuracy=0, max_latency_ms_p99=10_000))
"""

# An engine whose images stand in a file, and whose containers are this checkout.
ENGINE = f"""
here=${{0%/*}}
for last; do :; done
case $1 in
info) echo 26.1.5 ;;
images) cat "$here/images" ;;
image) sed -n "s/^$last //p" "$here/images" | grep . ;;
run)
    echo "$@" >>"$here/asked"
    until [ "$1" = python ]; do shift; done
    shift
    PYTHONPATH=src exec {sys.executable} "$@" ;;
*) exit 1 ;;
esac
"""


@dataclass
class Bench:
    """A checkout and the programs of its machine."""

    root: Path
    programs: Path

    @property
    def run(self) -> Path:
        return max((self.root / "runs").iterdir())

    @property
    def bundle(self) -> Path:
        return next((self.root / "dist").iterdir())

    def flow(self, *words: str, **variables: str) -> dict[str, dict[str, Any]]:
        """Every step by its name."""
        done = self.said(*words, JSON="1", **variables)
        assert done.returncode == 0, done.stderr
        steps = json.loads(done.stdout)["steps"]
        assert tuple(step["name"] for step in steps) == STEPS
        return {step["name"]: step for step in steps}

    def said(self, *words: str, **variables: str) -> subprocess.CompletedProcess[str]:
        return self.start("--flow", "samebench.shipping.flow", *words, **variables)

    def start(self, *words: str | Path, **variables: str) -> subprocess.CompletedProcess[str]:
        command = [*SCRIPT, *words]
        return run(command, cwd=self.root, path=self.programs, variables=NOBODYS | variables)

    def names(self, **variables: str) -> tuple[str, str]:
        """What the images of this checkout are called: the workspace's and the server's."""
        workspace = self.start("--name", **variables).stdout.strip()
        words = ["--name", str(self.run / "artifact")]
        return workspace, self.start(*words, **variables).stdout.strip()

    def images(self, names: Mapping[str, str]) -> None:
        told = "".join(f"{name} sha256:{digest}\n" for name, digest in names.items())
        (self.programs / "images").write_text(told)

    def edit(self, name: str, text: str = "\n# edited\n") -> None:
        with (self.root / name).open("a") as file:
            file.write(text)

    def record(self, **facts: Any) -> None:
        """Change the receipt."""
        path = self.run / "receipt.json"
        path.write_text(json.dumps(json.loads(path.read_bytes()) | facts))


def store(root: Path, seed: int) -> None:
    """A small learnable data set where the default one is."""
    stored.store(root / "data/blots", data.synthetic(seed), listing=root / "data/blots.sha256")


def ship(bench: Bench) -> None:
    """A bundle as `make ship` leaves it, of a small image; the engine has that and the workspace's."""
    name = f"tiny-{bundle.version()}-{flow.ARCHITECTURES[os.uname().machine]}"
    folder = bench.root / "dist" / name
    folder.mkdir(parents=True)
    bundles.saved(folder / bundle.SAVED)
    (folder / bundle.INSIDE).write_text(json.dumps(bundles.INSIDE))
    (folder / bundle.RUN).write_text("docker run IMAGE\n")
    shutil.copy(bench.run / "receipt.json", folder)
    bundle.make(folder, "tiny", "tiny-serve")
    workspace, server = bench.names()
    config, _ = bundles.identities(folder)
    ids = {workspace: "1" * 64, "samebench:cpu": "1" * 64, server: config, "tiny-serve:latest": config}
    bench.images(ids)


@functools.cache
def make(home: Path) -> Bench:
    """All of it, in `home`; once, as it takes seconds and several modules want it."""
    root = copy_checkout(home / "my work")
    store(root, seed=0)
    done = call("-c", MAKE, at=root, changes={"PYTHONPATH": "src", "PYTHONDONTWRITEBYTECODE": "1"})
    assert done.returncode == 0, done.stderr
    bench = Bench(root, home / "bin")
    bench.programs.mkdir()
    write_program(bench.programs / "docker", ENGINE)
    write_program(bench.programs / "podman", "exit 1")
    ship(bench)
    return bench


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    """Where all has been made."""
    return make(tmp_path_factory.getbasetemp() / "flow")


@pytest.fixture
def bench(made: Bench, tmp_path: Path) -> Bench:
    """The same, to be changed; .venv and its stamp would be of another place, and are not in it."""
    shutil.copytree(made.root, tmp_path / "my work")
    shutil.copytree(made.programs, tmp_path / "bin")
    return Bench(tmp_path / "my work", tmp_path / "bin")


def states(steps: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """Those that are not up to date."""
    return {name: step["state"] for name, step in steps.items() if step["state"] != UP}


def follows(*names: str) -> dict[str, str]:
    return dict.fromkeys(names, STALE)
