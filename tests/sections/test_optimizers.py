"""Optimizers, clipping, frozen and unused parameters: the same weights with any threads, and after an interruption."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from samebench.training import train
from samebench.training.model import Model, build_network
from sections.settings import Settings
from sections.task import TASK, Sections
from tests.samebench.interrupted import interrupt

QUICK = Settings(data="synthetic", epochs=1, batch_size=128, width=8)
OTHERS = {
    "adamw": replace(QUICK, optimizer="adamw", lr=0.01),
    "clipped": replace(QUICK, clip_norm=0.01),
}


class Partly(nn.Module):
    """A network whose embedding is frozen, with a layer that nothing uses."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        network.get_submodule("words").requires_grad_(requires_grad=False)
        self.network, self.unused = network, nn.Linear(2, 2)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        output: torch.Tensor = self.network(tokens)
        return output


def digest(settings: Settings, runs: Path, **options: Any) -> str:
    receipt = train.train(settings, runs=runs, **options).receipt
    assert receipt["same_bits"] == "any x86-64"
    return str(receipt["weights_sha256"])


@pytest.mark.parametrize("settings", OTHERS.values(), ids=OTHERS)
def test_the_weights_are_the_same_with_any_threads_and_after_an_interruption(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights = digest(settings, tmp_path / "one", threads=1)
    assert digest(settings, tmp_path / "four", threads=4) == weights
    assert digest(QUICK, tmp_path / "plain") != weights
    run = interrupt(tmp_path / "stopped", monkeypatch, at=4, settings=settings)
    assert train.train(settings, run=run).receipt["weights_sha256"] == weights


def test_frozen_parameters_stay_and_unused_ones_do_no_harm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    build = Sections.build_network
    monkeypatch.setattr(Sections, "build_network", lambda *arguments: Partly(build(*arguments)))
    run = train.train(QUICK, runs=tmp_path / "one", threads=1)
    assert digest(QUICK, tmp_path / "four", threads=4) == run.receipt["weights_sha256"]
    before, after = build_network(TASK, QUICK, Model.of_run(run).spec), Model.of_run(run).network
    assert after.get_parameter("network.words.weight").equal(before.get_parameter("network.words.weight"))
    assert not after.get_parameter("network.head.weight").equal(before.get_parameter("network.head.weight"))


def test_each_group_of_parameters_follows_its_own_rate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def build_optimizer(_: Sections, network: nn.Module, settings: Settings) -> torch.optim.Optimizer:
        head = [each for name, each in network.named_parameters() if "head" in name]
        rest = [each for name, each in network.named_parameters() if "head" not in name]
        return torch.optim.SGD([{"params": head, "lr": settings.lr}, {"params": rest, "lr": 0.0}], momentum=0.9)

    monkeypatch.setattr(Sections, "build_optimizer", build_optimizer)
    weights = digest(QUICK, tmp_path / "one")
    run = interrupt(tmp_path / "stopped", monkeypatch, at=4, settings=QUICK)
    assert train.train(QUICK, run=run).receipt["weights_sha256"] == weights
    network = Model.of_run(run).network
    before = build_network(TASK, QUICK, Model.of_run(run).spec)
    assert network.get_parameter("words.weight").equal(before.get_parameter("words.weight"))
    assert not network.get_parameter("head.weight").equal(before.get_parameter("head.weight"))
