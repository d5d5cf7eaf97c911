"""`make flow`: each step of a small real run says rightly what it is, why, and what brings it up."""

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pytest

from apparel import data, flow
from apparel.settings import Settings
from samebench import bundle
from samebench.command import Refusal
from samebench.flow import MISSING, STALE, UNKNOWN, UP
from tests.apparel.test_data import idx
from tests.commands import call
from tests.samebench import bundles
from tests.samebench.checkout import copy_checkout, run
from tests.samebench.fakes import write_program

STEPS = ("data", "workspace", "training run", "evaluation", "artifact", "server image", "bundle")

NOBODYS = {"BASE_IMAGE": "", "CA_CERT": "", "SSL_CERT_FILE": "", "PYTHONPATH": "", "PYTHONDONTWRITEBYTECODE": "1"}

# Makes all that an engine isn't needed for, of the data set that the checkout has; linear knows it at once.
MAKE = """
from apparel import evaluate, export, train
from apparel.settings import Budgets, Settings
run = train.train(Settings(network="linear", epochs=1, seed=3, batch_size=100, shards=2))
evaluate.evaluate(run)
export.export(run, Budgets(min_test_accuracy=0, max_latency_ms_p99=10_000))
"""

# An engine whose images stand in a file, and whose containers are this checkout.
ENGINE = f"""
here=${{0%/*}}
for last; do :; done
case $1 in
info) echo 26.1.5 ;;
images) cat "$here/images" ;;
image) sed -n "s/^there $last //p" "$here/images" | grep . ;;
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
        return self.start("--flow", "apparel.flow", *words, **variables)

    def start(self, *words: str | Path, **variables: str) -> subprocess.CompletedProcess[str]:
        command = ["sh", "src/samebench/runtime.sh", *words]
        return run(command, cwd=self.root, path=self.programs, variables=NOBODYS | variables)

    def names(self, **variables: str) -> tuple[str, str]:
        """What the images of this checkout are called: the workspace's and the server's."""
        inner = (
            "set -- --name x .\n. src/samebench/runtime.sh >/dev/null\nartifact= flavour=cpu\nname_image\necho $image"
        )
        words = ["sh", "-c", inner, "src/samebench/runtime.sh"]
        workspace = run(words, cwd=self.root, variables=NOBODYS | variables).stdout.strip()
        words = ["--name", "apparel-serve", str(self.run / "artifact")]
        return workspace, self.start(*words, **variables).stdout.strip()

    def images(self, names: Mapping[str, str]) -> None:
        told = "".join(f"there {name} sha256:{digest}\n" for name, digest in names.items())
        (self.programs / "images").write_text(told)

    def edit(self, name: str, text: str = "\n# edited\n") -> None:
        with (self.root / name).open("a") as file:
            file.write(text)

    def record(self, **facts: Any) -> None:
        """Change the receipt."""
        path = self.run / "receipt.json"
        path.write_text(json.dumps(json.loads(path.read_bytes()) | facts))


def store(root: Path, seed: int) -> None:
    """A small learnable data set in the place and form of Fashion-MNIST."""
    made = data.synthetic(seed)
    folder = root / "data/fashion-mnist"
    folder.mkdir(exist_ok=True)
    for part, split in (("train", made.training), ("t10k", made.test())):
        images, labels = split.images.numpy().tobytes(), bytes(split.labels.tolist())
        (folder / f"{part}-images-idx3-ubyte").write_bytes(idx((len(split), 28, 28), images))
        (folder / f"{part}-labels-idx1-ubyte").write_bytes(idx((len(split),), labels))
    lines = [f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n" for path in sorted(folder.iterdir())]
    (root / "data/fashion-mnist.sha256").write_text("".join(lines))


def ship(bench: Bench) -> None:
    """A bundle as `make ship` leaves it, of a small image; the engine has that and the workspace's."""
    name = f"apparel-{bundle.version()}-{flow.ARCHITECTURES[os.uname().machine]}"
    folder = bench.root / "dist" / name
    folder.mkdir(parents=True)
    bundles.saved(folder / bundle.SAVED)
    (folder / bundle.INSIDE).write_text(json.dumps(bundles.INSIDE))
    (folder / bundle.RUN).write_text("docker run IMAGE\n")
    shutil.copy(bench.run / "receipt.json", folder)
    bundle.make(folder, "apparel", "apparel-serve")
    workspace, server = bench.names()
    config, _ = bundles.identities(folder)
    ids = {workspace: "1" * 64, "samebench:cpu": "1" * 64, server: config, "apparel-serve:latest": config}
    bench.images(ids)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    """Where all has been made."""
    home = tmp_path_factory.mktemp("flow")
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


def test_where_all_was_made_from_this_all_is_up_to_date_and_nothing_is_to_be_done(bench: Bench) -> None:
    steps = bench.flow()
    assert states(steps) == {}
    assert {step["command"] for step in steps.values()} == {""}
    workspace, server = bench.names()
    assert [steps[name]["why"] for name in ("data", "workspace", "evaluation", "artifact", "server image")] == [
        "fashion-mnist: 4 files, by their hashes",
        f"{workspace}, docker",
        "confusion.png, of these weights",
        "model.onnx, of these weights",
        server,
    ]
    assert re.fullmatch(r"\S+, test accuracy \d+\.\d\d%", steps["training run"]["why"])
    assert steps["bundle"]["why"].startswith("dist/apparel-")
    assert [step["from"] for step in steps.values()][2:5] == [["data", "workspace"], ["training run"], ["training run"]]


def test_it_looks_and_changes_nothing_but_the_picture(bench: Bench) -> None:
    def seen() -> dict[str, tuple[int, bytes]]:
        paths = [path for path in bench.root.rglob("*") if path.is_file() and ".samebench" not in path.parts]
        return {str(path): (path.stat().st_mtime_ns, path.read_bytes()) for path in paths}

    before = seen()
    bench.flow()
    assert seen() == before
    assert [path.name for path in (bench.root / ".samebench").iterdir()] == ["flow.svg"]


def test_nothing_that_is_installed_is_needed(bench: Bench) -> None:
    line = "import sys, apparel.flow; print(sorted({'torch', 'numpy', 'onnx', 'safetensors'} & sys.modules.keys()))"
    done = call("-c", line, at=bench.root)
    assert (done.stdout, done.stderr) == ("[]\n", "")


def test_where_nothing_was_made_each_step_says_what_makes_it(tmp_path: Path, made: Bench) -> None:
    fresh = Bench(copy_checkout(tmp_path / "fresh"), tmp_path / "bin")
    shutil.copytree(made.programs, fresh.programs)
    fresh.images({})
    steps = fresh.flow()
    assert states(steps) == dict.fromkeys(STEPS, MISSING)
    assert [step["command"] for step in steps.values()] == [
        "make data",
        "make build",
        "make train",
        "make evaluate",
        "make export",
        "make serve",
        "make ship KEY=~/samebench.key",
    ]


# ---- data ----


def test_a_missing_file_of_the_data_is_named_and_the_run_is_what_it_was(bench: Bench) -> None:
    (bench.root / "data/fashion-mnist/t10k-labels-idx1-ubyte").unlink()
    steps = bench.flow()
    assert states(steps) == {"data": MISSING}
    assert steps["data"]["why"] == "fashion-mnist: without t10k-labels-idx1-ubyte"
    assert steps["data"]["command"] == "make data"


def test_a_changed_file_of_the_data_is_named_and_all_follows(bench: Bench) -> None:
    path = bench.root / "data/fashion-mnist/t10k-labels-idx1-ubyte"
    kept = path.stat()
    path.write_bytes(path.read_bytes()[:-1] + b"\1")
    os.utime(path, ns=(kept.st_atime_ns, kept.st_mtime_ns))
    steps = bench.flow()
    assert states(steps) == follows("data", *STEPS[2:])
    assert steps["data"]["why"] == "fashion-mnist: changed: t10k-labels-idx1-ubyte"
    assert steps["data"]["command"] == "rm data/fashion-mnist/t10k-labels-idx1-ubyte && make data"
    assert steps["training run"]["why"] == "follows from the data"


def test_another_version_of_the_data_makes_the_run_stale(bench: Bench) -> None:
    store(bench.root, seed=1)
    steps = bench.flow()
    assert states(steps) == follows(*STEPS[2:])
    assert steps["training run"]["why"] == "changed: the data"


def test_data_elsewhere_and_packed_is_the_same_data(bench: Bench, tmp_path: Path) -> None:
    (bench.root / "data/fashion-mnist").rename(tmp_path / "else where")
    run(["gzip", "-r", tmp_path / "else where"], cwd=tmp_path)
    assert states(bench.flow()) == {"data": MISSING}
    (tmp_path / "else where.sha256").write_text("")  # another checkout's
    assert states(bench.flow("--data", str(tmp_path / "else where"))) == {}


def test_a_run_on_data_that_is_made_needs_none(bench: Bench) -> None:
    (bench.root / "data/fashion-mnist.sha256").unlink()
    bench.record(settings={"data": "synthetic", "epochs": 6})
    steps = bench.flow()
    assert states(steps) == {}
    assert steps["data"]["why"] == "synthetic: made, and not stored"


# ---- workspace ----


def test_an_image_of_an_older_checkout_is_stale(bench: Bench) -> None:
    bench.edit("docker/cpu.Dockerfile")
    steps = bench.flow()
    assert states(steps) == follows("workspace", *STEPS[2:])
    assert steps["workspace"]["command"] == "make build"
    assert steps["training run"]["why"] == "follows from the workspace"


def test_no_image_yet_is_missing_and_makes_no_run_stale(bench: Bench) -> None:
    images = (bench.programs / "images").read_text().splitlines(keepends=True)
    (bench.programs / "images").write_text("".join(line for line in images if "apparel" in line))
    steps = bench.flow()
    assert states(steps) == {"workspace": MISSING}
    assert steps["workspace"]["why"] == "no cpu image yet, docker"


# ---- training run ----


def test_edited_sources_and_locks_are_named_and_all_follows(bench: Bench) -> None:
    bench.edit("src/apparel/training.py")
    steps = bench.flow()
    assert states(steps) == follows(*STEPS[2:])
    assert steps["training run"]["why"] == "changed: src/apparel/training.py"
    assert {steps[name]["why"] for name in ("evaluation", "artifact")} == {"follows from the training run"}
    assert steps["server image"]["why"] == "follows from the artifact"
    assert steps["bundle"]["why"] == "follows from the server image"
    for name in ("src/apparel/data.py", "requirements.lock"):
        bench.edit(name)
    assert bench.flow()["training run"]["why"] == "changed: src/apparel/data.py and 2 more"


def test_a_lock_that_the_server_has_no_part_in_makes_the_run_stale(bench: Bench) -> None:
    bench.edit("docker/cpu.lock")
    assert bench.flow()["training run"]["why"] == "changed: docker/cpu.lock"


def test_what_a_run_was_asked_for_is_its_own_and_is_asked_for_again(bench: Bench) -> None:
    bench.edit("src/apparel/training.py")
    command = bench.flow()["training run"]["command"]
    assert command == 'make train ARGS="--network linear --epochs 1 --seed 3 --batch-size 100 --shards 2"'


@pytest.mark.parametrize(
    ("settings", "device", "command"),
    [
        ({}, "cpu", "make train"),
        ({"data": "synthetic", "epochs": 1}, "cpu", 'make train DATA=synthetic ARGS="--epochs 1"'),
        ({"fast": True, "device": "cuda"}, "cuda", "make train GPU=1 FAST=1"),
        ({"a setting of other code": 1}, "cpu", "make train"),
    ],
)
def test_the_command_asks_for_what_the_run_was_asked_for(settings: dict[str, Any], device: str, command: str) -> None:
    told = {"settings": asdict(Settings()) | settings, "device": device}
    assert flow.again(flow.Run(Path("runs/one"), told)) == command


def test_only_a_run_that_is_done_counts_and_another_can_be_asked_for(bench: Bench) -> None:
    later = bench.run.with_name("99991231-235959-zzzz")
    done = f"runs/{bench.run.name}"
    shutil.copytree(bench.run, later)
    bench.record(state="interrupted")
    assert states(bench.flow()) == {}
    steps = bench.flow("--run", "runs/99991231-235959-zzzz")
    assert steps["training run"]["why"] == "runs/99991231-235959-zzzz is interrupted"
    assert steps["training run"]["command"] == "make train RESUME=runs/99991231-235959-zzzz"
    (bench.root / done / "confusion.png").unlink()
    assert bench.flow("--run", done)["evaluation"]["command"] == f"make evaluate RUN={done}"
    assert bench.flow()["evaluation"]["command"] == "make evaluate"
    (later / "receipt.json").write_text('{"state": "done", "settings": "none"}')
    assert states(bench.flow()) == {"evaluation": MISSING}, "a damaged one is passed over"
    said = bench.said("--run", "runs/99991231-235959-zzzz")
    damage = 'runs/99991231-235959-zzzz/receipt.json: settings is "none", not an object; take another'
    assert (said.returncode, said.stdout, said.stderr) == (2, "", f"error: {damage}\n")
    said = bench.said("--run", "runs/none")
    assert (said.returncode, said.stdout) == (2, "")
    assert said.stderr == "error: runs/none: no run with a receipt there; take one of runs/, or train first\n"


def test_a_run_whose_weights_are_gone_is_stale(bench: Bench) -> None:
    (bench.run / "model.safetensors").unlink()
    assert bench.flow()["training run"]["why"] == "changed: model.safetensors, which is gone"


# ---- evaluation, artifact ----


def test_a_picture_and_an_artifact_of_other_weights_are_stale(bench: Bench) -> None:
    bench.record(weights_sha256="0" * 64)
    steps = bench.flow()
    assert states(steps) == follows("evaluation", "artifact", "server image", "bundle")
    assert steps["evaluation"]["why"] == "confusion.png is of other weights"
    assert steps["artifact"]["why"] == "model.onnx is of other weights"
    assert (steps["evaluation"]["command"], steps["artifact"]["command"]) == ("make evaluate", "make export")


def test_a_damaged_artifact_is_stale(bench: Bench) -> None:
    path = bench.run / "artifact/model.onnx"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    steps = bench.flow()
    assert steps["artifact"]["state"] == STALE
    assert steps["artifact"]["why"] == "model.onnx is not what its seal says"


def test_what_is_not_there_is_missing_and_no_image_is_looked_for_without_an_artifact(bench: Bench) -> None:
    (bench.run / "confusion.png").unlink()
    shutil.rmtree(bench.run / "artifact")
    steps = bench.flow()
    assert states(steps) == dict.fromkeys(("evaluation", "artifact", "server image"), MISSING) | {"bundle": UNKNOWN}
    assert steps["artifact"]["why"] == "not exported yet"
    assert steps["server image"]["why"] == "no artifact yet"


def test_a_run_below_the_budget_is_only_exported_by_asking_for_less(bench: Bench) -> None:
    shutil.rmtree(bench.run / "artifact")
    bench.record(test_accuracy=0.7899)
    steps = bench.flow()
    assert steps["artifact"]["why"] == "test accuracy 78.99%, at least 90% asked"
    asked = f'RUN=runs/{bench.run.name} ARGS="--min-test-accuracy 0.78"'
    assert steps["artifact"]["command"] == f"make export {asked}"
    assert steps["bundle"]["command"] == f"make ship KEY=~/samebench.key {asked}"


# ---- server image, bundle ----


def test_an_image_of_other_sources_is_stale_and_none_at_all_is_missing(bench: Bench) -> None:
    workspace, _ = bench.names()
    bench.images({workspace: "1" * 64, "apparel-serve:latest": "2" * 64})
    steps = bench.flow()
    assert states(steps) == follows("server image") | {"bundle": UNKNOWN}
    assert steps["server image"]["why"] == "changed: the artifact, or the server's sources"
    assert steps["server image"]["command"] == "make serve"
    bench.images({workspace: "1" * 64})
    steps = bench.flow()
    assert states(steps) == {"server image": MISSING, "bundle": UNKNOWN}


def test_images_on_another_base_are_others(bench: Bench) -> None:
    workspace, server = bench.names(BASE_IMAGE="mine:1")
    bench.images({workspace: "1" * 64, server: bundles.identities(bench.bundle)[0]})
    assert states(bench.flow(BASE_IMAGE="mine:1")) == {}
    assert states(bench.flow()) == {"workspace": MISSING, "server image": MISSING, "bundle": UNKNOWN}


def test_the_images_are_known_by_podmans_names_too(bench: Bench) -> None:
    (bench.programs / "docker").rename(bench.programs / "podman")
    told = (bench.programs / "images").read_text()
    (bench.programs / "images").write_text(told.replace("there ", "there localhost/"))
    engine = (bench.programs / "podman").read_text().replace('"s/^there ', '"s/^there localhost.')
    write_program(bench.programs / "podman", engine)
    write_program(bench.programs / "docker", "exit 1")
    assert states(bench.flow()) == {}


def test_without_an_engine_images_are_not_known_and_the_host_draws(bench: Bench) -> None:
    write_program(bench.programs / "docker", "exit 1")
    steps = bench.flow()
    assert states(steps) == {"workspace": MISSING, "server image": UNKNOWN, "bundle": UNKNOWN}
    assert (steps["server image"]["why"], steps["server image"]["command"]) == ("no engine", "")
    assert steps["workspace"]["why"] == "no .venv yet"


def test_a_bundle_of_another_image_or_run_is_stale(bench: Bench) -> None:
    workspace, server = bench.names()
    bench.images({workspace: "1" * 64, server: bundles.identities(bench.bundle)[1]})
    assert states(bench.flow()) == {}, "containerd's store names an image by its manifest"
    bench.images({workspace: "1" * 64, server: "3" * 64})
    steps = bench.flow()
    assert states(steps) == follows("bundle")
    assert steps["bundle"]["why"].endswith(" is of another image")
    assert steps["bundle"]["command"] == "make ship KEY=~/samebench.key"
    bench.record(run="99991231-235959-zzzz")
    assert bench.flow()["bundle"]["why"].endswith(f" is of run {bench.run.name}")


@pytest.mark.parametrize("name", ["receipt.json", "sbom.cdx.json"])
def test_a_bundle_that_is_not_whole_is_stale(bench: Bench, name: str) -> None:
    (bench.bundle / name).write_text("[]")
    assert bench.flow()["bundle"]["why"].endswith(" is not whole")


def test_a_bundle_of_another_version_is_not_this_one(bench: Bench) -> None:
    bench.bundle.rename(bench.bundle.with_name("apparel-0.0.9-amd64"))
    assert states(bench.flow()) == {"bundle": MISSING}


# ---- how it is said ----


def test_it_is_said_in_one_line_a_step(bench: Bench) -> None:
    bench.edit("src/apparel/training.py")
    done = run(["make", "flow"], cwd=bench.root, path=bench.programs, variables=NOBODYS)
    lines = done.stdout.splitlines()
    assert [line.split("  ")[0] for line in lines[:-1]] == list(STEPS)
    assert re.search(r"^training run +stale +changed: src/apparel/training\.py +make train ARGS=", lines[2])
    assert lines[-1] == "drawn in .samebench/flow.svg"
    assert (done.returncode, done.stderr) == (0, "")


def test_nobody_to_tell_of_the_host_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal:
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr(sys, "stdin", Terminal())
    with pytest.raises(Refusal, match="start it by make flow"):
        flow.main([])


def test_the_data_set_asked_for_chooses_the_run(bench: Bench) -> None:
    first = bench.run
    shutil.copytree(first, first.with_name("99991231-235959-zzzz"))
    bench.record(settings={"data": "synthetic"})
    assert bench.flow()["data"]["why"] == "synthetic: made, and not stored"
    (first / "confusion.png").unlink()
    steps = bench.flow("--data", "fashion-mnist")
    assert states(steps) == {"evaluation": MISSING}
    assert steps["evaluation"]["command"] == f"make evaluate RUN=runs/{first.name}"
    shutil.rmtree(bench.run)
    assert bench.flow("--data", "synthetic")["training run"]["command"] == "make train DATA=synthetic"
