"""Start from what is no model, or not one for this: it is refused in one line, and leaves no run."""

import dataclasses
import shutil
from pathlib import Path
from typing import Any

import pytest

from samebench.core.command import UsageError
from samebench.runs.run import Run
from samebench.tasks.image_classification.image_transform import ImageTransform
from samebench.tasks.image_classification.preprocessing import Preprocessing
from samebench.training import train
from samebench.training.initial_models import InitialModel
from tiny import data
from tiny.settings import Settings
from tiny.task import TASK

from .initial_models import DARK, dark, first, settings
from .models import EVEN, make_model, make_network

__all__ = ["dark", "first", "settings"]  # fixtures


def artifact(first: Run, at: Path) -> str:
    shutil.copytree(first.directory, at)
    (at / "artifact").mkdir()
    (at / "artifact/model.onnx").write_bytes(b"any")
    return f"{at}/artifact"


def running(first: Run, at: Path) -> str:
    shutil.copytree(first.directory, at)
    Run.open(at).record(state="interrupted")
    return str(at)


def swapped(first: Run, at: Path) -> str:
    shutil.copytree(first.directory, at)
    make_model("conv", make_network("conv", seed=5), data.LABELS, EVEN).save(at / "model.safetensors")
    return str(at)


def damaged(first: Run, at: Path) -> str:
    shutil.copytree(first.directory, at)
    content = bytearray((at / "model.safetensors").read_bytes())
    content[-1] ^= 1
    (at / "model.safetensors").write_bytes(content)
    return str(at)


def kept(first: Run, _at: Path) -> str:
    return str(next(first.checkpoints.glob("*.safetensors")))


@pytest.mark.parametrize(
    ("made", "said"),
    [
        (artifact, "an artifact, in whose graph weights and normalisation are one; give the run that it was made of"),
        (lambda first, at: artifact(first, at) + "/model.onnx", "give the run that it was made of"),
        (running, "interrupted, and its weights may still change; finish it: make train RESUME="),
        (swapped, r"these weights are \w{12}, its receipt says \w{12}; take the run from where it was trained"),
        (damaged, r"model\.safetensors: damaged, expected sha256 \w+, got \w+; nothing in it was read"),
        (kept, r"\.safetensors: a checkpoint, expected a model; take another"),
        (lambda _, at: str(at), "not there; take another, or train first"),
        (lambda _, at: str(at.parent), "no run with a receipt there"),
    ],
)
def test_what_is_no_model_to_start_from_is_refused_and_leaves_no_run(
    made: Any, said: str, first: Run, settings: Settings, tmp_path: Path
) -> None:
    asked = dataclasses.replace(settings, init=made(first, tmp_path / "given"))
    with pytest.raises(UsageError, match=said) as refused:
        train.train(asked, runs=tmp_path / "runs")
    assert "\n" not in str(refused.value)
    assert not (tmp_path / "runs").exists()


def test_the_best_so_far_of_a_run_that_is_not_done_can_be_taken_by_its_file(first: Run, tmp_path: Path) -> None:
    assert InitialModel.load(running(first, tmp_path / "given") + "/model.safetensors").run == first.name


def test_another_network_is_refused_by_name(settings: Settings, tmp_path: Path) -> None:
    said = r"its network is conv, and network=residual is asked for; take --network conv, or start from another model"
    with pytest.raises(UsageError, match=said):
        train.train(dataclasses.replace(settings, network="residual"), runs=tmp_path / "runs")
    assert not (tmp_path / "runs").exists()


def test_a_model_for_images_of_another_shape_is_refused(settings: Settings) -> None:
    coloured = ImageTransform(28, 3)
    network = make_network("conv", seed=0, transform=coloured)
    model = make_model("conv", network, data.LABELS, Preprocessing((0.5,) * 3, (0.5,) * 3), coloured)
    with pytest.raises(
        UsageError, match="x: it takes images of 3x28x28, the data's are 28x28; start from another model"
    ):
        InitialModel("x", model, "").fit(settings, TASK, DARK)
