"""Start from another model: its weights and its statistics come along, whatever somebody tries; and it is an input."""

import copy
import dataclasses
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from samebench.core.command import UsageError
from samebench.runs import receipt
from samebench.runs.run import Run
from samebench.serving.card import origin
from samebench.tasks.image_classification.preprocessing import Preprocessing
from samebench.training import initial_models, reproduction, train, trial
from samebench.training.initial_models import InitialModel
from samebench.training.model import Model
from samebench.training.process_group import ProcessGroup
from tiny import data
from tiny.networks import NETWORKS
from tiny.settings import Network, Settings

from .initial_models import BRIGHT, DARK, begun, dark, first, interrupt, relabelled, settings, trained
from .models import EVEN, make_model, make_network, probabilities, split_head

__all__ = ["dark", "first", "settings"]  # fixtures


def statistics(model: Model) -> list[Any]:
    return [model.spec[name] for name in ("mean", "deviation")]


def load_pretrained(ours: Model, theirs: Model) -> str:
    return ours.task.load_pretrained(ours.network, ours.spec, theirs.network, theirs.spec)


def head(network: nn.Module) -> torch.Tensor:
    """The weights of its last layer."""
    return split_head(network)[1].weight


# ---- images normalised for another network: the mistake, and who tries to make it ----


def test_before_the_first_step_it_answers_as_the_initial_model_to_the_bit_whatever_the_data(
    first: Run, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    theirs, images = Model.load(first.weights), DARK.validation.images
    assert DARK.training.images.float().mean() < BRIGHT.training.images.float().mean() / 2
    training = begun(settings, tmp_path, monkeypatch)
    assert training.model.digest() == theirs.digest()
    assert torch.equal(probabilities(training.model, images), probabilities(theirs, images))
    for shard in training.gradients.buffers():
        assert all(torch.equal(shard[name], buffer) for name, buffer in theirs.network.named_buffers())


def test_the_statistics_stay_those_of_the_initial_model_to_the_end_and_in_what_comes_of_it(
    first: Run, settings: Settings, tmp_path: Path
) -> None:
    second = train.train(settings, runs=tmp_path)
    third = train.train(dataclasses.replace(settings, init=str(second.directory)), runs=tmp_path)
    for run in (second, third):
        assert statistics(Model.load(run.weights)) == statistics(Model.load(first.weights))
    assert Model.load(third.weights).digest() != Model.load(second.weights).digest()


def test_a_network_can_not_be_put_into_a_model_with_other_statistics(first: Run) -> None:
    theirs, others = Model.load(first.weights), Preprocessing.of(DARK.training.images)
    message = "a network can't have another spec than its own: spec.deviation: "
    for network in (theirs.network, copy.deepcopy(theirs.network)):
        with pytest.raises(UsageError, match=re.escape(message)):
            make_model("conv", network, data.LABELS, others)
    with pytest.raises(UsageError, match=re.escape(message)):
        dataclasses.replace(theirs, spec={**theirs.spec, **others.to_dict()})


def test_weights_can_not_be_taken_over_into_a_model_with_other_statistics(first: Run) -> None:
    ours = make_model("conv", make_network("conv", seed=0), data.LABELS, Preprocessing.of(DARK.training.images))
    before = ours.digest()
    with pytest.raises(UsageError, match="both must come along"):
        load_pretrained(ours, Model.load(first.weights))
    assert ours.digest() == before


def test_a_model_takes_no_pixels_that_somebody_has_normalised(first: Run) -> None:
    model = Model.load(first.weights)
    normalised = Preprocessing.of(DARK.training.images)(DARK.training.images)
    for images in (normalised, DARK.training.images.float() / 255):
        with pytest.raises(
            UsageError, match=r"images of torch.float32, which may be normalised already; give the pixels"
        ):
            probabilities(model, images)


def test_statistics_changed_in_the_receipt_are_found_by_the_checkpoint(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = interrupt(settings, tmp_path, monkeypatch, at=4)
    run.record(init=run.receipt["init"] | {"spec": run.receipt["init"]["spec"] | {"mean": 0.25}})
    with pytest.raises(UsageError, match=r"init.spec.mean: 0.5\d+ then, 0.25 now; leave it as it was"):
        train.train(settings, run=Run.open(run.directory))


# ---- the head ----


@pytest.mark.parametrize("name", NETWORKS)
def test_each_network_ends_in_its_head_and_only_that_knows_how_many_categories_there_are(name: Network) -> None:
    network = make_network(name, seed=0)
    *_, last = (each for each in network.modules() if isinstance(each, nn.Linear))
    inside, head = split_head(network)
    assert head is last
    assert last.out_features == len(data.LABELS)
    assert [id(each) for each in [*inside.parameters(), *last.parameters()]] == [*map(id, network.parameters())]


def test_rows_of_the_head_come_along_by_the_names_of_their_labels_and_others_are_drawn_from_the_seed(
    first: Run, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    labels = ("a hat", *reversed(data.LABELS[2:]), "a scarf")
    theirs = Model.load(relabelled(first, tmp_path, labels))
    asked = dataclasses.replace(settings, init=str(tmp_path / "relabelled.safetensors"), seed=3)
    ours = begun(asked, tmp_path / "runs", monkeypatch).model
    assert ours.spec["labels"] == list(data.LABELS)
    mine, taken, fresh = (head(each) for each in (ours.network, theirs.network, make_network("conv", seed=3)))
    for row, label in enumerate(data.LABELS):
        assert torch.equal(mine[row], taken[labels.index(label)] if label in labels else fresh[row])
    for inner, other in zip(
        *(split_head(each.network)[0].state_dict().values() for each in (ours, theirs)), strict=True
    ):
        assert torch.equal(inner, other)
    assert "with its mean and deviation, and of its head the rows of 8 of 10 labels\n" in capsys.readouterr().out


def test_the_bias_of_a_row_comes_along_with_it() -> None:
    theirs = make_model("linear", make_network("linear", seed=1), ("b", *data.LABELS[1:]), EVEN)
    ours = make_model("linear", make_network("linear", seed=2), data.LABELS, EVEN)
    own, other = (split_head(each.network)[1] for each in (ours, theirs))
    before = own.bias.clone()
    assert "9 of 10" in load_pretrained(ours, theirs)
    assert torch.equal(own.bias, torch.cat([before[:1], other.bias[1:]]))


# ---- an input like any other ----


def test_the_receipt_tells_of_it_as_the_schema_says_and_the_card_too(
    first: Run, settings: Settings, tmp_path: Path
) -> None:
    told = trained(settings, tmp_path)
    receipt.check(told, tmp_path)
    model = Model.load(first.weights)
    assert told["settings"]["init"] == str(first.directory)
    assert told["init"] == {
        "run": first.name,
        "weights_sha256": first.receipt["weights_sha256"],
        "spec": model.spec,
    }
    assert told["init"]["weights_sha256"][:12] in origin(told)
    with pytest.raises(UsageError, match=r"at \$.init: 'weights_sha256' is a required property"):
        receipt.check(told | {"init": {"run": "x"}}, tmp_path)


def test_without_it_a_receipt_and_a_card_tell_of_none(first: Run) -> None:
    assert "init" not in first.receipt
    assert origin(first.receipt) == ""


def test_the_same_weights_from_elsewhere_are_the_same_input(first: Run, settings: Settings, tmp_path: Path) -> None:
    then = trained(settings, tmp_path)
    copied = tmp_path / "of a teammate.safetensors"
    shutil.copy(first.weights, copied)
    now = trained(dataclasses.replace(settings, init=str(copied)), tmp_path)
    assert "run" not in now["init"]
    assert reproduction.verdict(then, now) == (0, f"identical: weights {then['weights_sha256']}")
    inside = InitialModel.load(str(first.weights))
    assert inside.to_dict() == then["init"], "the file of a run is of that run"


def test_other_weights_are_a_changed_input_and_so_are_none(first: Run, settings: Settings, tmp_path: Path) -> None:
    then = trained(settings, tmp_path)
    other = trained(dataclasses.replace(settings, init=str(Run.newest(tmp_path).directory)), tmp_path)
    code, message = reproduction.verdict(then, other)
    assert code == 1
    assert message.splitlines()[1:] == [
        f"  init.weights_sha256: {first.receipt['weights_sha256'][:12]} then, {then['weights_sha256'][:12]} now"
    ]
    fresh = trained(dataclasses.replace(settings, init=""), tmp_path)
    changed = [line.split(":")[0] for line in reproduction.verdict(then, fresh)[1].splitlines()[1:]]
    assert changed == [
        *(f"  init.spec.{name}" for name in sorted(first.receipt["model"]["spec"])),
        "  init.weights_sha256",
    ]


def test_other_labels_of_the_same_weights_are_a_changed_input(first: Run, settings: Settings, tmp_path: Path) -> None:
    then = trained(settings, tmp_path)
    path = relabelled(first, tmp_path, data.LABELS[::-1])
    now = trained(dataclasses.replace(settings, init=str(path)), tmp_path)
    changed = [line.split(":")[0] for line in reproduction.verdict(then, now)[1].splitlines()[1:]]
    assert changed == ["  init.spec.labels"]


class ProcessOfAnotherMachine(ProcessGroup):
    """The second of two, whose leader has said what it starts from."""

    def broadcast_json(self, _value: Any) -> Any:
        return {"init": {"run": "a", "weights_sha256": "0" * 64}}

    def any_rank(self, *answers: bool) -> list[bool]:
        return list(answers)


def test_processes_that_would_start_from_other_weights_do_not_start() -> None:
    second = ProcessOfAnotherMachine(rank=1, size=2)
    train.check_ranks_agree({"init": {"run": "of another name", "weights_sha256": "0" * 64}}, second)
    with pytest.raises(UsageError, match=r"init.weights_sha256: 0{12} for process 0, 1{12} for process 1"):
        train.check_ranks_agree({"init": {"weights_sha256": "1" * 64}}, second)


def test_a_trial_starts_from_it_as_a_run_does(settings: Settings, tmp_path: Path) -> None:
    assert trial.train(settings, DARK).model.digest() == trained(settings, tmp_path)["weights_sha256"]


def test_where_it_lies_is_no_input() -> None:
    assert initial_models.PLACES < train.PLACES
