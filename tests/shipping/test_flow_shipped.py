"""`make flow`: evaluation, artifact, image and bundle say rightly what they are, why, and what brings them up."""

import shutil

import pytest

from samebench.runs.flow_steps import MISSING, STALE, UNKNOWN
from tests.samebench import bundles
from tests.samebench.fakes import write_program

from .benches import Bench, bench, follows, made, states

__all__ = ["bench", "made"]  # fixtures


# ---- evaluation, artifact ----


def test_a_picture_and_an_artifact_of_other_weights_are_stale(bench: Bench) -> None:
    bench.record(weights_sha256="0" * 64)
    steps = bench.flow()
    assert states(steps) == follows("training run", "evaluation", "artifact", "server image", "bundle")
    assert steps["training run"]["why"].endswith("its receipt says 000000000000")
    assert steps["evaluation"]["why"] == "evaluation.json is of other weights"
    assert steps["artifact"]["why"] == "model.onnx is of other weights"
    assert (steps["evaluation"]["command"], steps["artifact"]["command"]) == ("make evaluate", "make export")


def test_an_artifact_that_tells_of_other_data_than_the_run_is_stale(bench: Bench) -> None:
    bench.record(data_version="0" * 64)
    steps = bench.flow()
    assert states(steps) == follows("artifact", "server image", "bundle")
    assert steps["artifact"]["why"] == "model.onnx tells of other data"


def test_a_damaged_artifact_is_stale(bench: Bench) -> None:
    path = bench.run / "artifact/model.onnx"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    steps = bench.flow()
    assert steps["artifact"]["state"] == STALE
    assert steps["artifact"]["why"] == "model.onnx is not what its seal says"


def test_what_is_not_there_is_missing_and_no_image_is_looked_for_without_an_artifact(bench: Bench) -> None:
    (bench.run / "evaluation.json").unlink()
    shutil.rmtree(bench.run / "artifact")
    steps = bench.flow()
    assert states(steps) == dict.fromkeys(("evaluation", "artifact", "server image"), MISSING) | {"bundle": UNKNOWN}
    assert steps["artifact"]["why"] == "not exported yet"
    assert steps["server image"]["why"] == "no artifact yet"


def test_a_run_below_the_budget_is_only_exported_by_asking_for_less(bench: Bench) -> None:
    shutil.rmtree(bench.run / "artifact")
    bench.record(metrics={"validation": {"accuracy": 0.7899}})
    steps = bench.flow()
    assert steps["artifact"]["why"] == "validation accuracy 78.99%, at least 90.00% asked"
    asked = f'RUN=runs/{bench.run.name} ARGS="--min-validation-accuracy 0.78"'
    assert steps["artifact"]["command"] == f"make export {asked}"
    assert steps["bundle"]["command"] == f"make ship KEY=~/samebench.key {asked}"


# ---- server image, bundle ----


def test_an_image_of_other_sources_is_stale_and_none_at_all_is_missing(bench: Bench) -> None:
    workspace, _ = bench.names()
    bench.images({workspace: "1" * 64, "tiny-serve:latest": "2" * 64})
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
    bench.bundle.rename(bench.bundle.with_name("tiny-0.0.9-amd64"))
    assert states(bench.flow()) == {"bundle": MISSING}
