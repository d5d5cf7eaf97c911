import copy
import dataclasses
import re
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

from samebench.core.command import UsageError
from samebench.runs import receipt
from samebench.tasks.image_classification.image_data import Data, Split
from samebench.training import reproduce, reproduction, train
from tests.commands import call
from tests.samebench.checkout import copy_checkout, run
from tests.samebench.stored import store
from tiny import data
from tiny.settings import Settings

QUICK = Settings(data="tiny", epochs=1, batch_size=32, shards=2, network="linear")
KNOWN = data.synthetic(0, training=144, test=40)


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data, "load", lambda _: KNOWN)


def trained(home: Path, **changes: Any) -> dict[str, Any]:
    """The receipt of a training, as it stands in its file."""
    done = train.train(dataclasses.replace(QUICK, **changes), runs=home)
    return receipt.read(done.directory / "receipt.json")


@pytest.mark.usefixtures("tiny")
def test_a_receipt_is_as_its_schema_says_from_the_start_to_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []

    def test_images(known: Data) -> Split:
        (path,) = tmp_path.glob("*/receipt.json")
        seen.append(receipt.read(path))
        return KNOWN.validation

    monkeypatch.setattr(Data, "test", test_images)
    seen.append(trained(tmp_path))
    assert [each["state"] for each in seen] == ["running", "done"]
    for each in seen:
        receipt.check(each, tmp_path)


@pytest.mark.usefixtures("tiny")
def test_a_receipt_of_a_training_on_a_gpu_tells_of_it(tmp_path: Path) -> None:
    of_gpu = trained(tmp_path) | {"device": "cuda"}
    with pytest.raises(UsageError, match="'gpu' is a required property"):
        receipt.check(of_gpu, tmp_path)
    gpu: dict[str, Any] = {"model": "H100", "sm_count": 132, "compute_capability": "9.0"}
    gpu |= {"driver": "580.65.06", "cuda": "13.0", "cudnn": "9.20.0"}
    then, now = of_gpu | {"gpu": gpu}, of_gpu | {"gpu": gpu | {"model": "H200"}, "weights_sha256": "0" * 64}
    receipt.check(then, tmp_path)
    assert reproduction.verdict(then, now)[1].splitlines()[1:] == ["  gpu.model: H100 then, H200 now"]


@pytest.mark.usefixtures("tiny")
def test_the_same_again_is_identical(tmp_path: Path) -> None:
    then, now = trained(tmp_path), trained(tmp_path)
    assert reproduction.verdict(then, now) == (0, f"identical: weights {then['weights_sha256']}")


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"lr": 0.1}, "settings.lr: 0.25 then, 0.1 now"),
        ({"seed": 1}, "settings.seed: 0 then, 1 now"),
        ({"shards": 4, "network": "conv"}, "settings.shards: 2 then, 4 now"),
        ({"fast": True, "network": "conv"}, "settings.fast: False then, True now"),
    ],
)
@pytest.mark.usefixtures("tiny")
def test_a_changed_setting_is_named_and_nothing_else(change: dict[str, Any], line: str, tmp_path: Path) -> None:
    then = trained(tmp_path, network=change.get("network", "linear"))
    # This process holds the CPU level, so --fast alone would change no weights here; it always changes the receipt.
    now = trained(tmp_path, **change) | ({"weights_sha256": "0" * 64} if "fast" in change else {})
    code, message = reproduction.verdict(then, now)
    assert code == 1
    assert message.splitlines()[0].startswith(f"not identical: weights {then['weights_sha256']} then, ")
    assert message.splitlines()[1:] == [f"  {line}"]


@pytest.mark.usefixtures("tiny")
def test_where_no_input_has_changed_it_says_so_and_how_the_machines_differ(tmp_path: Path) -> None:
    then = trained(tmp_path)
    now = then | {"weights_sha256": "0" * 64, "machine": then["machine"] | {"cpu": "another"}}
    code, message = reproduction.verdict(then, now)
    assert code == 1
    assert "no input has changed; the machines differ in:" in message
    now["precision"] = "bf16"
    assert reproduction.verdict(then, now)[1].splitlines()[2:] == ["  precision: float32 then, bf16 now"]
    assert message.splitlines()[1:] == [f"  machine.cpu: {then['machine']['cpu']} then, another now"]


@pytest.mark.usefixtures("tiny")
def test_a_data_set_of_ones_own_chooses_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reproduce, "RUNS", tmp_path)
    monkeypatch.setattr("samebench.data.source.LISTINGS", tmp_path)
    monkeypatch.setattr("samebench.data.source.LISTINGS", tmp_path)
    (tmp_path / "shoes.sha256").touch()
    trained(tmp_path, data="shoes")
    trained(tmp_path)
    for source, name in {"shoes": "shoes", "blots": "tiny", "": "tiny"}.items():
        assert reproduce.find_receipt("", source=source)["settings"]["data"] == name


@pytest.mark.usefixtures("tiny")
def test_what_changed_without_effect_is_told_beside_identical(tmp_path: Path) -> None:
    then = trained(tmp_path)
    then["locks"]["requirements.lock"] = "0" * 64
    code, message = reproduction.verdict(then, trained(tmp_path))
    assert code == 0
    assert message.splitlines()[1].startswith("  changed without effect: locks.requirements.lock: 000000000000 then, ")


@pytest.mark.usefixtures("tiny")
def test_an_input_that_changed_in_the_middle_of_a_run_is_named(tmp_path: Path) -> None:
    then = trained(tmp_path)
    then["resumed"] = [{"at": then["started"], "step": 2, "changed": ["settings.epochs: 1 then, 2 now"]}]
    code, message = reproduction.verdict(then, trained(tmp_path, lr=0.1))
    assert code == 1
    assert message.splitlines()[-1] == "  in its middle, after step 2: settings.epochs: 1 then, 2 now"


# ---- the command, in a checkout of its own ----

TRAIN = ["-m", "samebench.training", "--network", "linear", "--epochs", "1", "--batch-size", "32"]


@dataclasses.dataclass(frozen=True)
class Bench:
    """A checkout with a data set of its own and a run."""

    tree: Path

    def python(self, *words: str) -> tuple[int, list[str]]:
        done = run([sys.executable, *words], cwd=self.tree, variables={"PYTHONPATH": str(self.tree / "src")})
        return done.returncode, (done.stdout + done.stderr).splitlines()

    def reproduce(self, *words: str) -> tuple[int, list[str]]:
        """The exit code, and the lines from the verdict on."""
        code, lines = self.python("-m", "samebench.training.reproduce", "--data", "images", *words)
        start = next((i for i, line in enumerate(lines) if "identical" in line or line.startswith("error")), 0)
        return code, lines[start:]


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    bench = Bench(copy_checkout(tmp_path / "tree"))
    write_images(bench.tree)
    code, lines = bench.python(*TRAIN, "--data", "images")
    assert code == 0, lines
    return bench


def write_images(tree: Path, known: Data = KNOWN) -> None:
    """A small data set in a folder, and its hashes where those of the default one are."""
    store(tree / "images", known, listing=tree / "data/blots.sha256")


def test_reproduce_ends_with_identical_and_after_one_change_with_its_name_alone(bench: Bench) -> None:
    assert bench.reproduce()[0] == 0
    receipts = list((bench.tree / "runs").glob("*/receipt.json"))
    sent = bench.tree / "sent by a teammate.json"
    sent.write_bytes(receipts[0].read_bytes())

    source = bench.tree / "src/samebench/tasks/image_classification/augmentation.py"
    kept = source.read_text()
    source.write_text(kept.replace("SHIFT = 1", "SHIFT = 2"))
    code, lines = bench.reproduce("--run", str(sent))
    assert code == 1
    assert [line.split(":")[0] for line in lines[1:]] == [
        "  code.source.src/samebench/tasks/image_classification/augmentation.py"
    ]
    source.write_text(kept)

    known = copy.deepcopy(KNOWN)
    known.training.images[-1, -1, -1, -1] ^= 0xFF
    write_images(bench.tree, known)
    code, lines = bench.python("-m", "samebench.training.reproduce", "--data", "images", "--run", str(sent))
    assert code == 1
    assert lines[-1].startswith("  data_version: ")
    assert lines[-2].startswith("not identical: ")
    assert lines[0].startswith("listings.data/blots.sha256: "), "before it trains"
    assert lines[0].endswith(" now: the weights will be others; it trains nevertheless")


def git(tree: Path, *words: str) -> str:
    return run(["git", "-c", "user.name=a", "-c", "user.email=a@b", *words], cwd=tree).stdout


def make(tree: Path, *words: str) -> list[str]:
    """What it says of `make` with these words in a checkout, where all is installed already."""
    variables = {"SAMEBENCH": "1", "PYTHONPATH": str(tree / "src")}
    done = run(["make", *words], cwd=tree, path=Path(sys.executable).parent, variables=variables)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.splitlines()


def test_a_second_clone_with_nothing_but_the_receipt_gives_the_same_weights(tmp_path: Path) -> None:
    first, second, images = copy_checkout(tmp_path / "first"), tmp_path / "second", tmp_path / "the images"
    write_images(first)
    (first / "images").rename(images)
    for words in (["init", "--quiet"], ["add", "."], ["commit", "--quiet", "--message", "all"]):
        git(first, *words)
    make(first, "train", f"DATA={images}", f"ARGS={' '.join(TRAIN[2:])}")
    (path,) = first.glob("runs/*/receipt.json")
    then = receipt.read(path)
    assert then["code"]["commit"] == git(first, "rev-parse", "HEAD").strip()
    sent = tmp_path / "sent by a teammate.json"
    path.rename(sent)
    shutil.rmtree(first / "runs")

    git(tmp_path, "clone", "--quiet", str(first), str(second))
    make(second, "data", f"DATA={images}")
    assert (
        make(second, "reproduce", f"RUN={sent}", f"DATA={images}")[-1] == f"identical: weights {then['weights_sha256']}"
    )


def test_a_data_byte_that_is_not_as_git_says_is_named_before_any_training(bench: Bench) -> None:
    path = bench.tree / "images/dataset.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"\xff")
    code, lines = bench.reproduce()
    assert code == 2
    assert len(lines) == 1
    assert lines[0].startswith("error: images/dataset.safetensors: expected sha256 ")


def test_a_run_at_another_cpu_level_is_named_by_its_variables(tmp_path: Path) -> None:
    level = {"ATEN_CPU_CAPABILITY": "default", "ONEDNN_MAX_CPU_ISA": "SSE41", "MKL_CBWR": "COMPATIBLE"}
    teammate = f"""
from samebench.environment import determinism
determinism.CPU_LEVEL = {level}
determinism._check_loaded = lambda target: None
from samebench.training.__main__ import main
main(["--data", "synthetic", "--epochs", "1"])
"""
    done = call("-c", teammate, at=tmp_path, changes=level)
    assert done.returncode == 0, done.stderr
    again = call("-m", "samebench.training.reproduce", at=tmp_path)
    assert again.returncode == 1
    lines = again.stdout.splitlines()
    verdict = next(place for place, line in enumerate(lines) if line.startswith("not identical"))
    assert lines[verdict + 1 :] == [
        "  cpu_level.ATEN_CPU_CAPABILITY: default then, avx2 now",
        "  cpu_level.ONEDNN_MAX_CPU_ISA: SSE41 then, AVX2 now",
        "  cpu_level.torch: DEFAULT then, AVX2 now",
    ]


@pytest.mark.parametrize(
    ("content", "message"),
    [("{}", "not a whole receipt, at $: "), ("", "not JSON"), (None, "not there; give RUN=runs/<id> or RUN=<receipt>")],
)
def test_what_is_no_receipt_is_refused_in_one_line(content: str | None, message: str, tmp_path: Path) -> None:
    path = tmp_path / "receipt.json"
    if content is not None:
        path.write_text(content)
    done = call("-m", "samebench.training.reproduce", "--run", str(path), at=tmp_path)
    assert done.returncode == 2
    assert message in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--lr", "0.1", "--fast"], "lr=0.1, fast=True: the golden run's own settings stand; leave them out"),
        (["--run", "runs/a"], "run=runs/a: the golden run's own settings stand; leave it out"),
        (["--data", "synthetic"], "data=synthetic: the golden run's own settings stand; leave it out"),
    ],
)
def test_the_golden_run_takes_no_other_settings(words: list[str], message: str) -> None:
    with pytest.raises(UsageError, match=re.escape(f"--quick with {message}")):
        reproduce.main(["--quick", *words])


def test_the_golden_run_takes_its_data_from_where_it_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def load(source: str) -> Data:
        asked.append(source)
        raise UsageError("seen")

    monkeypatch.setattr(data, "load", load)
    with pytest.raises(UsageError, match="seen"):
        reproduce.main(["--quick", "--data", "elsewhere"])
    assert asked == ["elsewhere"]
