"""The receipt says on which machines a training gives the same bits, and a line names what weakens that."""

import dataclasses
from pathlib import Path

import pytest
from torch import nn

from samebench.environment import determinism
from samebench.runs import receipt
from samebench.runs.run import Run
from samebench.training import layers, reproduction, train
from tiny import data
from tiny.networks import NETWORKS
from tiny.settings import Network, Settings

QUICK = Settings(data="tiny", epochs=1, batch_size=32, shards=4, network="linear")


@pytest.fixture(autouse=True)
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    known = data.synthetic(0, training=144, test=40)
    monkeypatch.setattr(data, "load", lambda _: known)


def with_layer(monkeypatch: pytest.MonkeyPatch, layer: type[nn.Module]) -> None:
    """Put one into the linear network."""
    plain = NETWORKS["linear"]
    monkeypatch.setitem(NETWORKS, "linear", lambda *sizes: nn.Sequential(layer(), *plain(*sizes).children()))


def warnings(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return [line for line in capsys.readouterr().err.splitlines() if line.startswith("warning: same bits")]


@pytest.mark.parametrize("network", ["linear", "conv", "residual"])
def test_linear_layers_convolutions_and_normalisation_promise_any_machine(
    network: Network, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = train.train(dataclasses.replace(QUICK, network=network), runs=tmp_path)
    receipt.check(run.receipt, tmp_path)
    assert run.receipt["same_bits"] == "any x86-64"
    assert not warnings(capsys)


def test_dropout_of_torch_is_named_once_and_the_receipt_promises_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with_layer(monkeypatch, nn.Dropout)
    run = train.train(QUICK, runs=tmp_path)
    receipt.check(run.receipt, tmp_path)
    assert run.receipt["same_bits"] == "none"
    (line,) = warnings(capsys)
    assert line.startswith(
        "warning: same bits: none; these operators draw from a global generator: aten.bernoulli_ in layer 0 (Dropout)"
    )


def test_gelu_of_torch_leaves_this_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with_layer(monkeypatch, nn.GELU)
    assert train.train(QUICK, runs=tmp_path).receipt["same_bits"] == "this machine"
    (line,) = warnings(capsys)
    assert line.startswith("warning: same bits: this machine; ")
    assert "aten.gelu in layer 0 (GELU)" in line


def test_fast_promises_nothing_and_says_no_more_about_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fast = dataclasses.replace(QUICK, fast=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(determinism, "pin", lambda **_: None)
        assert train.train(fast, runs=tmp_path).receipt["same_bits"] == "none"
    assert not warnings(capsys)


def test_a_run_that_resumes_keeps_the_weaker_promise(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        with_layer(patch, nn.GELU)
        run = train.train(QUICK, runs=tmp_path)
    with_layer(monkeypatch, layers.GELU)
    resumed = train.train(dataclasses.replace(QUICK, epochs=2), run=Run.open(run.directory))
    assert resumed.receipt["same_bits"] == "this machine"


@pytest.mark.parametrize(
    ("promise", "said"),
    [
        ("any x86-64", "no input has changed; the machines"),
        ("this machine", "no input has changed; its receipt promises the same bits on one model of machine; the"),
        ("none", "no input has changed; its receipt promises no same bits; the machines"),
        (None, "no input has changed; the machines"),
    ],
)
def test_a_repetition_with_other_weights_says_what_was_promised(promise: str | None, said: str) -> None:
    then = {"settings": {"fast": False}, "weights_sha256": "a" * 64, **({"same_bits": promise} if promise else {})}
    now = {"settings": {"fast": False}, "weights_sha256": "b" * 64}
    code, text = reproduction.verdict(then, now)
    assert code == 1
    assert said in text
