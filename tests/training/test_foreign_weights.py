"""INIT= with a safetensors file of others: tensors by their names, statistics that are given and never guessed."""

import hashlib
import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from samebench.core.command import UsageError
from samebench.training import initial_models, train
from samebench.training.model import Model
from tiny.settings import Settings

from .models import make_network

QUICK = Settings(data="synthetic", network="conv", epochs=1, batch_size=48)


def backbone() -> dict[str, Tensor]:
    """The tensors of a network with 1000 classes, as a library of others names them."""
    own = make_network("conv", seed=7).state_dict()
    tensors = {
        f"backbone.{name}": tensor.clone().contiguous() for name, tensor in own.items() if not name.startswith("13.")
    }
    return tensors | {"head.weight": torch.zeros(1000, 128)}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    save_file(backbone(), tmp_path / "weights.safetensors")
    return tmp_path / "weights.safetensors"


@pytest.fixture
def settings(file: Path) -> Settings:
    return replace(QUICK, init=str(file), init_names="backbone.=", init_statistics="0.5/0.25")


def test_what_matches_comes_along_and_the_receipt_says_what_did_not(
    settings: Settings, file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = train.train(replace(settings, freeze="0.*,1.*,4.*,5.*,8.*,9.*"), runs=tmp_path / "runs")
    network = Model.of_run(run).network.state_dict()
    given = {name.removeprefix("backbone."): tensor for name, tensor in backbone().items()}
    assert all(torch.equal(tensor, given[name]) for name, tensor in network.items() if name != "13.weight")
    assert run.receipt["init"] == {
        "weights_sha256": hashlib.sha256(file.read_bytes()).hexdigest(),
        "spec": {**run.receipt["init"]["spec"], "mean": 0.5, "deviation": 0.25},
        "matched": len(network) - 1,
        "fresh": ["13.weight"],
        "unused": ["head.weight"],
    }
    assert run.receipt["model"]["spec"]["mean"] == 0.5
    count = f"with {len(network) - 1} of its {len(network)} tensors by their names"
    assert f"starts from {file}, {count}; fresh: 13.weight; not used: head.weight\n" in capsys.readouterr().out


def test_it_is_resumed_and_reproduced_from_anywhere_by_its_hash(settings: Settings, file: Path, tmp_path: Path) -> None:
    run = train.train(settings, runs=tmp_path / "runs")
    file.rename(moved := tmp_path / "moved.safetensors")
    init = run.receipt["init"]
    assert initial_models.reload_init_model(str(moved), init).to_dict() == {"weights_sha256": init["weights_sha256"]}
    again = train.train(replace(settings, init=str(moved)), runs=tmp_path / "runs", threads=1)
    assert again.receipt["weights_sha256"] == run.receipt["weights_sha256"]
    save_file({"0.weight": torch.zeros(32, 1, 3, 3)}, moved)
    with pytest.raises(
        UsageError, match=rf"wanted is the model of weights {init['weights_sha256'][:12]}, from anywhere"
    ):
        initial_models.reload_init_model(str(moved), init)


def test_half_precision_becomes_float32(settings: Settings, file: Path, tmp_path: Path) -> None:
    save_file({name: each.half() if each.is_floating_point() else each for name, each in backbone().items()}, file)
    run = train.train(replace(settings, freeze="0.*"), runs=tmp_path / "runs")
    weight = Model.of_run(run).network.state_dict()["0.weight"]
    assert torch.equal(weight, backbone()["backbone.0.weight"].half().float())


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"init_statistics": ""}, "setting init_statistics='' is impossible; give mean/deviation of each channel"),
        ({"init_statistics": "0.5"}, "give mean/deviation of each channel"),
        ({"init_statistics": "0.5,0.5,0.5/0.2,0.2,0.2"}, "give mean/deviation of each channel"),
        ({"init_statistics": "x/y"}, "give mean/deviation of each channel"),
        ({"init_statistics": "0.5/0"}, "give mean/deviation of each channel"),
        ({"init_names": ""}, "no name and shape matches: backbone.* in the file, 0.weight.* map its prefixes"),
        ({"init_names": "backbone"}, "setting init_names='backbone' is impossible; give old=new"),
        ({"init_names": "a=b=c"}, "give old=new"),
    ],
)
def test_what_is_not_said_is_refused_and_leaves_no_run(
    settings: Settings, changes: dict[str, Any], reason: str, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=reason):
        train.train(replace(settings, **changes), runs=tmp_path / "runs")
    assert not (tmp_path / "runs").exists()


def test_the_rule_that_is_printed_works(settings: Settings, file: Path, tmp_path: Path) -> None:
    own = make_network("conv", seed=7).state_dict()
    inner = {name.removeprefix("0."): each.contiguous() for name, each in own.items() if name.startswith("0.")}
    save_file(inner, file)
    with pytest.raises(UsageError, match=r"--init-names '=0\.'$"):
        train.train(replace(settings, init_names="x=y"), runs=tmp_path / "runs")
    run = train.train(replace(settings, init_names="=0."), runs=tmp_path / "runs")
    assert run.receipt["init"]["matched"] == len(inner)
    save_file({"other": torch.zeros(3)}, file)
    with pytest.raises(UsageError, match=r"other in the file, .* start from another file$"):
        train.train(settings, runs=tmp_path / "runs")


def test_statistics_and_names_are_for_files_of_others(settings: Settings, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="setting init_names='a=b' is impossible; it is for a file that init names"):
        replace(QUICK, init_names="a=b")
    own = train.train(QUICK, runs=tmp_path / "runs")
    for path in (own.directory, own.weights):
        with pytest.raises(UsageError, match=r"init_statistics='0.5/0.25' is impossible; .* this model has its own"):
            train.train(replace(QUICK, init=str(path), init_statistics="0.5/0.25"), runs=tmp_path / "runs")


class Runs:
    """What a pickle can do."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return print, ("it runs",)


@pytest.mark.parametrize("name", ["weights.pth", "weights.pt", "weights.bin", "weights.ckpt"])
def test_a_pickle_is_refused_by_its_name_and_nothing_in_it_runs(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / name).write_bytes(pickle.dumps(Runs()))
    with pytest.raises(UsageError, match="a pickle, which can run anything when it is read; convert it"):
        train.train(replace(QUICK, init=str(tmp_path / name), init_statistics="data"), runs=tmp_path / "runs")
    assert "it runs" not in capsys.readouterr().out


@pytest.mark.parametrize("content", [b"", b"{}", b"\xff" * 100, pickle.dumps(Runs()), b"\x10" + bytes(7) + b"[" * 16])
def test_a_file_that_is_none_is_refused(settings: Settings, file: Path, content: bytes, tmp_path: Path) -> None:
    file.write_bytes(content)
    with pytest.raises(UsageError, match=r"weights\.safetensors: no safetensors file \("):
        train.train(settings, runs=tmp_path / "runs")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_impossible_numbers_are_refused(settings: Settings, file: Path, value: float, tmp_path: Path) -> None:
    save_file({**backbone(), "x\x1b[2J": torch.tensor([value])}, file)
    with pytest.raises(UsageError, match=r"\[2J has NaN or infinity; take another") as refusal:
        train.train(settings, runs=tmp_path / "runs")
    assert "\x1b" not in str(refusal.value)


def test_two_tensors_for_one_name_are_refused(settings: Settings, file: Path, tmp_path: Path) -> None:
    tensors = backbone()
    save_file(tensors | {"0.weight": tensors["backbone.0.weight"].clone()}, file)
    with pytest.raises(UsageError, match=r"0\.weight and .*0\.weight would both be 0\.weight"):
        train.train(settings, runs=tmp_path / "runs")


def test_numbers_without_their_scales_are_refused_or_not_used(
    settings: Settings, file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name = next(name for name in backbone() if name.endswith("0.weight"))
    save_file(backbone() | {name: backbone()[name].to(torch.float8_e4m3fn)}, file)
    with pytest.raises(UsageError, match=rf": {name} is float8_e4m3fn, .*; convert it to float32$"):
        train.train(settings, runs=tmp_path / "runs")
    save_file(backbone() | {name: backbone()[name].to(torch.int8)}, file)
    train.train(settings, runs=tmp_path / "runs")
    assert f"not used: {name}, head.weight\n" in capsys.readouterr().out
