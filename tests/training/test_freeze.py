"""Frozen parameters stay as they are to the bit, and so do the statistics of their layers."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from samebench.core.command import UsageError
from samebench.runs.run import Run
from samebench.training import train
from samebench.training.freeze import freeze
from samebench.training.model import Model
from tests.samebench.interrupted import interrupt
from tiny.settings import Settings

QUICK = Settings(data="synthetic", network="conv", epochs=2, batch_size=48, shards=3)
FROZEN = replace(QUICK, freeze="0.*,1.*,4.*,5.*")  # all but the last layer of the body, and the head


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return train.train(QUICK, runs=tmp_path_factory.mktemp("runs"))


def test_what_is_frozen_stays_with_its_statistics_and_the_rest_learns(first: Run, tmp_path: Path) -> None:
    settings = replace(FROZEN, init=str(first.weights))
    run = train.train(settings, runs=tmp_path / "runs")
    before, after = (Model.of_run(each).network.state_dict() for each in (first, run))
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert {name.split(".")[0] for name in changed} == {"8", "9", "13"}
    assert {"9.running_mean", "8.weight", "13.weight"} <= changed
    assert run.receipt["settings"]["freeze"] == "0.*,1.*,4.*,5.*"
    assert run.receipt["same_bits"] == "any x86-64"


def test_one_thread_and_an_interruption_change_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = train.train(FROZEN, runs=tmp_path / "one", threads=1).receipt["weights_sha256"]
    run = interrupt(tmp_path / "stopped", monkeypatch, at=10, settings=FROZEN)
    assert train.train(FROZEN, run=run).receipt["weights_sha256"] == expected


@pytest.mark.parametrize(
    ("patterns", "reason"),
    [
        ("features.*", r"no parameter is features\.\*: 0\.weight, .*, …$"),
        ("0.*,stem", r"no parameter is stem: "),
        ("*", "leave a parameter to train$"),
    ],
)
def test_names_that_freeze_nothing_or_all_are_refused_before_there_is_a_run(
    patterns: str, reason: str, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=rf"^setting freeze='{patterns.replace('*', '[*]')}' is impossible; {reason}"):
        train.train(replace(QUICK, freeze=patterns), runs=tmp_path / "runs")
    assert not (tmp_path / "runs").exists()


class Scaled(nn.Module):
    """A network with a parameter of its own before two blocks."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(4))
        self.body = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4, affine=False), nn.Dropout())
        self.head = nn.Sequential(nn.BatchNorm1d(4), nn.Linear(4, 2))

    def forward(self, inputs: Tensor) -> Tensor:
        return self.head(self.body(inputs * self.scale))  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("patterns", "in_evaluation"), [("scale", set()), ("body.*", {"body", "body.0", "body.1", "body.2"})]
)
def test_a_layer_is_in_evaluation_mode_if_all_its_parameters_are_frozen(patterns: str, in_evaluation: set[str]) -> None:
    network = Scaled()
    freeze(network, patterns)
    for copy in (network.train(), network.eval().train()):
        modes = {name: layer.training for name, layer in copy.named_modules()}
        assert {name for name, is_training in modes.items() if not is_training} == in_evaluation
