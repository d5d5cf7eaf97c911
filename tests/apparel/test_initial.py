"""Start from another model: its weights and its statistics come along, whatever somebody tries; and it is an input."""

import copy
import dataclasses
import json
import re
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from apparel import checkpoint, data, initial, networks, reproduce, train, trial
from apparel.card import origin
from apparel.initial import Initial
from apparel.model import Model, Preprocessing, fresh
from apparel.run import Run
from apparel.serve.picture import Preparation
from apparel.settings import Settings
from apparel.training import Training
from samebench import receipt, sealed
from samebench.command import Interrupted, Refusal
from samebench.group import Group
from tests.commands import SOURCE, call
from tests.samebench.checkout import run as run_command

QUICK = Settings(data="bright", epochs=2, batch_size=32, shards=2, network="conv", lr=0.05)
BRIGHT = data.synthetic(0, training=144, test=40)


def darker(split: data.Split) -> data.Split:
    return data.Split(split.images // 3, split.labels)


# Other pictures, with a third of the mean and of the deviation.
DARK = data.Data(darker(data.synthetic(1, training=144, test=40).training), darker(BRIGHT.test()))


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run on the bright pictures, to start others from."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(data, "load", lambda _: BRIGHT)
        return train.train(QUICK, runs=tmp_path_factory.mktemp("first"))


@pytest.fixture(autouse=True)
def dark(monkeypatch: pytest.MonkeyPatch) -> None:
    """What all others are trained on."""
    monkeypatch.setattr(data, "load", lambda _: DARK)


@pytest.fixture
def settings(first: Run) -> Settings:
    """Those of a training that starts from it."""
    return dataclasses.replace(QUICK, data="dark", init=str(first.directory))


def trained(settings: Settings, home: Path) -> dict[str, Any]:
    """The receipt of a training, as it stands in its file."""
    return receipt.read(train.train(settings, runs=home).directory / "receipt.json")


def begun(settings: Settings, home: Path, monkeypatch: pytest.MonkeyPatch) -> Training:
    """A training before its first step."""
    seen: list[Training] = []
    with monkeypatch.context() as patch:
        patch.setattr(Training, "fit", lambda training, _: seen.append(training))
        train.train(settings, runs=home)
    return seen[0]


def interrupt(settings: Settings, home: Path, monkeypatch: pytest.MonkeyPatch, *, at: int) -> Run:
    """A run, alone in a folder of `home`, that SIGTERM has stopped after step `at`."""
    home, learn = home / "interrupted", Training.step

    def step(training: Training, batch: torch.Tensor) -> float:
        if training.steps_done == at - 1:
            signal.raise_signal(signal.SIGTERM)
        return learn(training, batch)

    with monkeypatch.context() as patch:
        patch.setattr(Training, "step", step)
        with pytest.raises(Interrupted):
            train.train(settings, runs=home)
    return Run.newest(home)


def relabelled(first: Run, folder: Path, labels: tuple[str, ...]) -> Path:
    """The model of `first` as if its categories had other names."""
    path = folder / "relabelled.safetensors"
    dataclasses.replace(Model.load(first.weights), labels=labels).save(path)
    return path


# ---- images normalised for another network: the mistake, and who tries to make it ----


def test_before_the_first_step_it_answers_as_the_initial_model_to_the_bit_whatever_the_data(
    first: Run, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    theirs, images = Model.load(first.weights), DARK.validation.images
    assert DARK.training.images.float().mean() < BRIGHT.training.images.float().mean() / 2
    training = begun(settings, tmp_path, monkeypatch)
    assert training.model.digest() == theirs.digest()
    assert torch.equal(training.model.logits(images), theirs.logits(images))
    for shard in training.gradients.buffers():
        assert all(torch.equal(shard[name], buffer) for name, buffer in theirs.network.named_buffers())


def test_the_statistics_stay_those_of_the_initial_model_to_the_end_and_in_what_comes_of_it(
    first: Run, settings: Settings, tmp_path: Path
) -> None:
    second = train.train(settings, runs=tmp_path)
    third = train.train(dataclasses.replace(settings, init=str(second.directory)), runs=tmp_path)
    for run in (second, third):
        assert Model.load(run.weights).preprocessing == Model.load(first.weights).preprocessing
    assert Model.load(third.weights).digest() != Model.load(second.weights).digest()


def test_a_network_can_not_be_put_into_a_model_with_other_statistics(first: Run) -> None:
    theirs, others = Model.load(first.weights), Preprocessing.of(DARK.training.images)
    said = "a network that was trained with Preprocessing(mean=0.5"
    for network in (theirs.network, copy.deepcopy(theirs.network)):
        with pytest.raises(Refusal, match=re.escape(said)):
            Model("conv", network, data.LABELS, others)
    with pytest.raises(Refusal, match=re.escape(said)):
        dataclasses.replace(theirs, preprocessing=others)


def test_weights_can_not_be_taken_over_into_a_model_with_other_statistics(first: Run) -> None:
    ours = Model("conv", networks.make("conv", seed=0), data.LABELS, Preprocessing.of(DARK.training.images))
    before = ours.digest()
    with pytest.raises(Refusal, match="its statistics must come along"):
        ours.take_over(Model.load(first.weights))
    assert ours.digest() == before


def test_a_model_takes_no_pixels_that_somebody_has_normalised(first: Run) -> None:
    model = Model.load(first.weights)
    normalised = Preprocessing.of(DARK.training.images)(DARK.training.images)
    for images in (normalised, DARK.training.images.float() / 255):
        with pytest.raises(Refusal, match=r"images of torch.float32, which may be normalised already; give the pixels"):
            model.predict(images)


def test_statistics_changed_in_the_receipt_are_found_by_the_checkpoint(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = interrupt(settings, tmp_path, monkeypatch, at=4)
    run.record(init=run.receipt["init"] | {"mean": 0.25})
    with pytest.raises(Refusal, match=r"init.mean: 0.5\d+ then, 0.25 now; leave it as it was"):
        train.train(settings, run=Run.open(run.directory))


# ---- the head ----


@pytest.mark.parametrize("name", networks.NETWORKS)
def test_each_network_ends_in_its_head_and_only_that_knows_how_many_categories_there_are(name: networks.Name) -> None:
    network = networks.make(name, seed=0)
    *_, last = (each for each in network.modules() if isinstance(each, nn.Linear))
    assert networks.head(network) is last
    assert last.out_features == len(data.LABELS)
    inside = networks.body(network)
    assert [id(each) for each in [*inside.parameters(), *last.parameters()]] == [*map(id, network.parameters())]


def test_rows_of_the_head_come_along_by_the_names_of_their_labels_and_others_are_drawn_from_the_seed(
    first: Run, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    labels = ("a hat", *reversed(data.LABELS[2:]), "a scarf")
    theirs = Model.load(relabelled(first, tmp_path, labels))
    asked = dataclasses.replace(settings, init=str(tmp_path / "relabelled.safetensors"), seed=3)
    ours = begun(asked, tmp_path / "runs", monkeypatch).model
    assert ours.labels == data.LABELS
    mine, taken = networks.head(ours.network).weight, networks.head(theirs.network).weight
    fresh = networks.head(networks.make("conv", seed=3)).weight
    for row, label in enumerate(data.LABELS):
        assert torch.equal(mine[row], taken[labels.index(label)] if label in labels else fresh[row])
    for inner, other in zip(
        *(networks.body(each.network).state_dict().values() for each in (ours, theirs)), strict=True
    ):
        assert torch.equal(inner, other)
    assert "with its mean and deviation, and of its head the rows of 8 of 10 labels\n" in capsys.readouterr().out


def test_the_bias_of_a_row_comes_along_with_it() -> None:
    statistics = Preprocessing(0.5, 0.5)
    theirs = Model("linear", networks.make("linear", seed=1), ("b", *data.LABELS[1:]), statistics)
    ours = Model("linear", networks.make("linear", seed=2), data.LABELS, statistics)
    before = networks.head(ours.network).bias.clone()
    assert ours.take_over(theirs) == 9
    expected = torch.cat([before[:1], networks.head(theirs.network).bias[1:]])
    assert torch.equal(networks.head(ours.network).bias, expected)


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
        "labels": ", ".join(data.LABELS),
        "mean": model.preprocessing.mean,
        "deviation": model.preprocessing.deviation,
    }
    assert told["init"]["weights_sha256"][:12] in origin(told)
    with pytest.raises(Refusal, match=r"at \$.init: 'weights_sha256' is a required property"):
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
    assert reproduce.verdict(then, now) == (0, f"identical: weights {then['weights_sha256']}")
    inside = Initial.load(str(first.weights))
    assert inside.facts() == then["init"], "the file of a run is of that run"


def test_other_weights_are_a_changed_input_and_so_are_none(first: Run, settings: Settings, tmp_path: Path) -> None:
    then = trained(settings, tmp_path)
    other = trained(dataclasses.replace(settings, init=str(Run.newest(tmp_path).directory)), tmp_path)
    code, said = reproduce.verdict(then, other)
    assert code == 1
    assert said.splitlines()[1:] == [
        f"  init.weights_sha256: {first.receipt['weights_sha256'][:12]} then, {then['weights_sha256'][:12]} now"
    ]
    fresh = trained(dataclasses.replace(settings, init=""), tmp_path)
    changed = [line.split(":")[0] for line in reproduce.verdict(then, fresh)[1].splitlines()[1:]]
    assert changed == ["  init.deviation", "  init.labels", "  init.mean", "  init.weights_sha256"]


def test_other_labels_of_the_same_weights_are_a_changed_input(first: Run, settings: Settings, tmp_path: Path) -> None:
    then = trained(settings, tmp_path)
    path = relabelled(first, tmp_path, data.LABELS[::-1])
    now = trained(dataclasses.replace(settings, init=str(path)), tmp_path)
    changed = [line.split(":")[0] for line in reproduce.verdict(then, now)[1].splitlines()[1:]]
    assert changed == ["  init.labels"]


class ProcessOfAnotherMachine(Group):
    """The second of two, whose leader has said what it starts from."""

    def tell(self, _value: Any) -> Any:
        return {"init": {"run": "a", "weights_sha256": "0" * 64}}

    def any(self, *answers: bool) -> list[bool]:
        return list(answers)


def test_processes_that_would_start_from_other_weights_do_not_start() -> None:
    second = ProcessOfAnotherMachine(rank=1, size=2)
    train.alike({"init": {"run": "of another name", "weights_sha256": "0" * 64}}, second)
    with pytest.raises(Refusal, match=r"init.weights_sha256: 0{12} for process 0, 1{12} for process 1"):
        train.alike({"init": {"weights_sha256": "1" * 64}}, second)


# ---- resuming ----


@pytest.fixture
def moved(first: Run, settings: Settings, tmp_path: Path) -> tuple[Settings, Path]:
    """A run to start from that a test can take away."""
    place = tmp_path / "initial"
    shutil.copytree(first.directory, place)
    return dataclasses.replace(settings, init=str(place)), place


def test_a_run_with_a_checkpoint_needs_its_initial_model_no_more(
    moved: tuple[Settings, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings, place = moved
    undisturbed = trained(settings, tmp_path / "undisturbed")
    for at in (2, 5):
        run = interrupt(settings, tmp_path / f"{at}", monkeypatch, at=at)
        place.rename(tmp_path / "away")
        resumed = train.train(settings, run=Run.open(run.directory))
        assert resumed.receipt["weights_sha256"] == undisturbed["weights_sha256"]
        assert Model.load(resumed.weights).preprocessing.mean == undisturbed["init"]["mean"]
        (tmp_path / "away").rename(place)


def test_before_its_first_checkpoint_it_does_and_says_so(
    moved: tuple[Settings, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings, place = moved
    undisturbed = trained(settings, tmp_path / "undisturbed")
    run = interrupt(settings, tmp_path / "runs", monkeypatch, at=1)
    shutil.rmtree(run.checkpoints)
    before = (run.directory / "receipt.json").read_bytes()
    place.rename(tmp_path / "away")
    weights = undisturbed["init"]["weights_sha256"][:12]
    wanted = f"wanted is the model of weights {weights}, from anywhere: INIT=<path>"
    with pytest.raises(Refusal, match=re.escape(f"{place}: not there; take another, or train first; {wanted}")):
        train.train(settings, run=Run.open(run.directory))
    place.mkdir()
    with pytest.raises(Refusal, match=re.escape(wanted)):
        train.train(settings, run=Run.open(run.directory))
    place.rmdir()
    shutil.copytree(tmp_path / "undisturbed" / undisturbed["run"], place)
    changed = rf"init.weights_sha256: {weights} then, {undisturbed['weights_sha256'][:12]} now; {wanted}"
    with pytest.raises(Refusal, match=changed):
        train.train(settings, run=Run.open(run.directory))
    assert (run.directory / "receipt.json").read_bytes() == before
    elsewhere = dataclasses.replace(settings, init=str(tmp_path / "away"))
    resumed = train.train(elsewhere, run=Run.open(run.directory))
    assert resumed.receipt["weights_sha256"] == undisturbed["weights_sha256"]


@pytest.mark.parametrize("at", [1, 4])
def test_it_does_not_go_on_from_another_model_than_it_began_with(
    at: int, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = trained(settings, tmp_path)
    run = interrupt(settings, tmp_path, monkeypatch, at=at)
    asked = dataclasses.replace(settings, init=str(tmp_path / other["run"]))
    with pytest.raises(Refusal, match=r"init.weights_sha256: \w{12} then, \w{12} now; leave it as it was"):
        train.train(asked, run=run)
    with pytest.raises(Refusal, match=r"init.weights_sha256: \w{12} then, nothing now; leave them as they were"):
        train.train(dataclasses.replace(settings, init=""), run=run)


def test_a_run_of_the_code_before_this_setting_resumes_and_is_reproduced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = dataclasses.replace(QUICK, data="dark")
    then = trained(settings, tmp_path)
    run = interrupt(settings, tmp_path, monkeypatch, at=4)
    told = {**run.receipt, "settings": without_init(run.receipt["settings"])}
    (run.directory / "receipt.json").write_text(json.dumps(told))
    for path in run.checkpoints.glob("*.safetensors"):
        tensors, facts = sealed.unpack(path, "checkpoint")
        facts = without_init(facts) | {"settings": without_init(facts["settings"])}
        path.write_bytes(sealed.pack("checkpoint", tensors, facts))
    old = Run.open(run.directory)
    assert checkpoint.newest(old)
    assert train.train(old.settings(), run=old).receipt["weights_sha256"] == then["weights_sha256"]
    verdict = reproduce.verdict({**then, "settings": without_init(then["settings"])}, then)
    assert verdict == (0, f"identical: weights {then['weights_sha256']}")


def without_init(facts: dict[str, Any]) -> dict[str, Any]:
    return {name: fact for name, fact in facts.items() if name != "init"}


# ---- what is refused ----


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
    Model("conv", networks.make("conv", seed=5), data.LABELS, Preprocessing(0.5, 0.5)).save(at / "model.safetensors")
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
        (swapped, r"weights \w{12}, and its receipt tells of \w{12}; take another run"),
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
    with pytest.raises(Refusal, match=said) as refused:
        train.train(asked, runs=tmp_path / "runs")
    assert "\n" not in str(refused.value)
    assert not (tmp_path / "runs").exists()


def test_the_best_so_far_of_a_run_that_is_not_done_can_be_taken_by_its_file(first: Run, tmp_path: Path) -> None:
    assert Initial.load(running(first, tmp_path / "given") + "/model.safetensors").run == first.name


def test_another_network_is_refused_by_name(settings: Settings, tmp_path: Path) -> None:
    said = r"its network is conv, and network=residual is asked for; take --network conv, or start from another model"
    with pytest.raises(Refusal, match=said):
        train.train(dataclasses.replace(settings, network="residual"), runs=tmp_path / "runs")
    assert not (tmp_path / "runs").exists()


def test_a_model_for_images_of_another_shape_is_refused(settings: Settings) -> None:
    coloured = Preparation("plain", 28, 3)
    network = fresh("conv", seed=0, labels=data.LABELS, preparation=coloured)
    model = Model("conv", network, data.LABELS, Preprocessing((0.5,) * 3, (0.5,) * 3), coloured)
    with pytest.raises(Refusal, match="x: it takes images of 3x28x28, the data's are 28x28; start from another model"):
        Initial("x", model, "").check(settings, DARK)


def test_a_trial_starts_from_it_as_a_run_does(settings: Settings, tmp_path: Path) -> None:
    assert trial.train(settings, DARK).model.digest() == trained(settings, tmp_path)["weights_sha256"]


# ---- the command ----

TRAIN = ("-m", "apparel.train", "--data", "synthetic", "--epochs", "1", "--batch-size", "64")


def receipts(at: Path) -> list[dict[str, Any]]:
    return [receipt.read(path) for path in sorted(at.glob("runs/*/receipt.json"))]


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a run, and another that was started from it by one process."""
    at = tmp_path_factory.mktemp("started")
    done = call(*TRAIN, "--network", "linear", at=at)
    assert done.returncode == 0, done.stderr
    (place,) = at.glob("runs/*")
    place.rename(at / "runs/0")  # so that it is the oldest by its name
    done = call(*TRAIN, "--init", "runs/0", at=at)
    assert done.returncode == 0, done.stderr
    return at


def test_the_network_is_that_of_the_initial_model_unless_another_is_asked_for(started: Path) -> None:
    assert [each["settings"]["network"] for each in receipts(started)] == ["linear", "linear"]
    done = call(*TRAIN, "--init", "runs/0", "--network", "conv", at=started)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "runs/0: its network is linear, and network=conv is asked for" in done.stderr


def test_two_processes_start_from_it_to_the_same_bits(started: Path, tmp_path: Path) -> None:
    (tmp_path / "runs").mkdir()
    shutil.copytree(started / "runs/0", tmp_path / "runs/0")
    done = call(*TRAIN, "--init", "runs/0", at=tmp_path, changes={"PROCS": "2"})
    assert (done.returncode, done.stderr) == (0, "")
    one, two = receipts(started)[1], receipts(tmp_path)[1]
    assert two["processes"]["count"] == 2
    assert two["weights_sha256"] == one["weights_sha256"]


@pytest.mark.soak
def test_two_processes_refuse_it_with_one_voice(started: Path, tmp_path: Path) -> None:
    shutil.copytree(started / "runs", tmp_path / "runs")
    refused = call(*TRAIN, "--init", "runs/0", "--network", "conv", at=tmp_path, changes={"PROCS": "2"})
    assert (refused.returncode, refused.stderr.count("\n")) == (2, 1)


def test_reproduce_trains_from_the_same_weights_or_says_in_one_line_which_are_wanted(
    started: Path, tmp_path: Path
) -> None:
    shutil.copytree(started / "runs", tmp_path / "runs")
    then = receipts(tmp_path)[1]
    words = ("-m", "apparel.reproduce", "--run", f"runs/{then['run']}")
    done = call(*words, at=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == f"identical: weights {then['weights_sha256']}"
    (tmp_path / "runs/0").rename(tmp_path / "elsewhere")
    count = len(receipts(tmp_path))
    gone = call(*words, at=tmp_path)
    assert (gone.returncode, gone.stderr.count("\n")) == (2, 1)
    assert f"wanted is the model of weights {then['init']['weights_sha256'][:12]}, from anywhere" in gone.stderr
    assert len(receipts(tmp_path)) == count
    found = call(*words, "--init", "elsewhere", at=tmp_path)
    assert found.returncode == 0, found.stderr
    assert found.stdout.splitlines()[-1] == f"identical: weights {then['weights_sha256']}"


def test_init_goes_to_training_and_reproducing_alone() -> None:
    for target in ("train", "reproduce", "export", "evaluate"):
        said = run_command(["make", "-n", target, "SAMEBENCH=1", "INIT=runs/my own"], cwd=SOURCE.parent).stdout
        assert ('--init "runs/my own"' in said) == (target in {"train", "reproduce"})


def test_no_init_is_asked_of_the_golden_run() -> None:
    with pytest.raises(Refusal, match="--quick with init=runs/a: the golden run's own settings stand; leave it out"):
        reproduce.main(["--quick", "--init", "runs/a"])


def test_where_it_lies_is_no_input() -> None:
    assert initial.PLACES < train.PLACES
