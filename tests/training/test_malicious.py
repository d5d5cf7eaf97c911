"""Files made with bad intentions, given to whoever reads weights: refused, and nothing in them ever runs."""

import dataclasses
import hashlib
import io
import math
import mmap
import pickle
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from samebench.core.command import UsageError
from samebench.data import checked_safetensors
from samebench.runs.run import Run
from samebench.serving import onnx_export
from samebench.training import checkpoint, train
from samebench.training.run_evaluation import evaluate_run
from tests import soak
from tiny.data import LABELS, PLAIN
from tiny.settings import Budgets, Settings

from .models import EVEN, make_model, make_network

LIMIT = 100 << 20  # bytes more than before
Weights = dict[str, torch.Tensor]
SPEC = {"labels": list(LABELS), "mean": 0.5, "deviation": 0.5, **PLAIN.to_dict()}


class Gadget:
    """Makes the canary's file when it is unpickled."""

    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return (Path.touch, (self.canary,))


def weights() -> Weights:
    return dict(make_network("linear", seed=0).state_dict())


def model(tensors: Weights | None = None, *, network: str = "linear", without: str = "", **changes: Any) -> bytes:
    spec = {name: value for name, value in (SPEC | changes).items() if name != without}
    facts = {"settings": {"network": network}, "spec": spec}
    return checked_safetensors.dumps("model", weights() if tensors is None else tensors, facts)


def resealed(content: bytes, old: bytes = b"", new: bytes = b"") -> bytes:
    """`content` with `old` in its header replaced, and a length and a hash that are right again."""
    forged = bytearray(content.replace(old, new))
    header = int.from_bytes(content[:8], "little") + len(forged) - len(content)
    forged[:8] = header.to_bytes(8, "little")
    forged[checked_safetensors.PLACE] = checked_safetensors.ZEROS
    forged[checked_safetensors.PLACE] = hashlib.sha256(forged).hexdigest().encode()
    return bytes(forged)


def saved(thing: object, **how: Any) -> bytes:
    content = io.BytesIO()
    torch.save(thing, content, **how)
    return content.getvalue()


def legacy_tar(gadget: Gadget) -> bytes:
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as tar:
        for name in ("sys_info", "pickle", "tensors", "storages"):
            inside = pickle.dumps(gadget)
            member = tarfile.TarInfo(name)
            member.size = len(inside)
            tar.addfile(member, io.BytesIO(inside))
    return content.getvalue()


def bomb(gadget: Gadget) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", pickle.dumps(gadget))
        archive.writestr("archive/data/0", bytes(400 << 20))
    return content.getvalue()


def exported(_gadget: Gadget) -> bytes:
    content = io.BytesIO()
    torch.export.save(torch.export.export(torch.nn.Linear(2, 2), (torch.zeros(1, 2),)), content)
    return content.getvalue()


def endless(content: bytes) -> bytes:
    """A tensor as large as the file says, and no file that large."""
    return resealed(
        content,
        b'"shape":[10,784],"data_offsets":[40,31400]',
        b'"shape":[10,784000000],"data_offsets":[40,31360000040]',
    )


FILES: dict[str, Callable[[Gadget], bytes]] = {
    "a pickle": pickle.dumps,
    "a pickle of protocol 0": lambda gadget: pickle.dumps(gadget, 0),
    "torch.save of a gadget": saved,
    "torch.save, legacy": lambda gadget: saved(gadget, _use_new_zipfile_serialization=False),
    "torch.save of weights and a gadget": lambda gadget: saved({"weights": weights(), "more": gadget}),
    "torch.save of honest weights": lambda _: saved(weights()),
    "a legacy tar": legacy_tar,
    "a zip bomb": bomb,
    "a .pt2": exported,
    "the seal of the version before": lambda gadget: b"samebench sha256 " + b"0" * 64 + b"\n" + saved(gadget),
    "a gadget behind our header": lambda gadget: resealed(model()[:400] + pickle.dumps(gadget)),
    "a huge header length": lambda _: resealed(b"\xff" * 7 + b"\x7f" + model()[8:]),
    "a header of its whole length": lambda _: (1 << 20).to_bytes(8, "little") + model()[8:],
    "a tensor larger than the file": lambda _: endless(model()),
    "a type that there is not": lambda _: resealed(model(), b'"dtype":"F32"', b'"dtype":"F99"'),
    "a network that there is not": lambda _: model(network="__import__('os').system"),
    "another network's weights": lambda _: model(dict(make_network("conv", seed=0).state_dict())),
    "a mean of channels that there are not": lambda _: model(mean=[0.5, 0.5]),
    "a mean that is a word": lambda _: model(mean="nan"),
    "a mean that is none": lambda _: model(mean=float("inf")),
    "a side without end": lambda _: model(side=1 << 40),
    "more channels than colours": lambda _: model(channels=1 << 40, preparation="plain"),
    "a preparation that there is not": lambda _: model(preparation="__import__('os').system"),
    "labels without end": lambda _: model(labels=["a"] * 1_000_000),
    "no labels": lambda _: model(without="labels"),
    "labels nested without end": lambda _: resealed(model(), b'[\\"circle\\"', b"[" * 50_000),
}


@pytest.fixture
def run(tmp_path: Path) -> Run:
    settings = Settings(data="synthetic", network="linear").__dict__
    run = Run.start(tmp_path / "runs", settings=settings)
    run.release()
    make_model("linear", make_network("linear", seed=0), LABELS, EVEN).save(run.weights)
    run.checkpoints.mkdir()
    return run


def peak(*, reset: bool = False) -> int:
    """The most bytes this process has held since the last reset."""
    if reset:
        Path("/proc/self/clear_refs").write_text("5")
    status = Path("/proc/self/status").read_text()
    return 1024 * int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1])


def test_an_honest_model_is_taken_so_that_the_others_are_refused_for_what_they_are(run: Run) -> None:
    run.weights.write_bytes(model())
    assert " on 200 test examples" in evaluate_run(run)


def refuse(name: str, run: Run, canary: Path) -> int:
    """See the file of this name refused by evaluate, export and resume; how many more bytes that took."""
    content = FILES[name](Gadget(canary))
    before = peak(reset=True)

    run.weights.write_bytes(content)
    with pytest.raises(UsageError, match=r"model\.safetensors: "):
        evaluate_run(run)
    with pytest.raises(UsageError, match=r"model\.safetensors: "):
        onnx_export.export(run, Budgets())
    (run.checkpoints / "step-00000001.safetensors").write_bytes(content)
    with pytest.raises(UsageError, match="no checkpoint in it is whole"):
        checkpoint.load_newest(run)

    assert not canary.exists()
    return peak() - before


@pytest.mark.parametrize("name", FILES)
def test_a_malicious_file_is_refused_by_evaluate_export_and_resume(name: str, run: Run, tmp_path: Path) -> None:
    assert refuse(name, run, tmp_path / "canary") < LIMIT


@pytest.mark.soak
def test_malicious_files(run: Run, tmp_path: Path) -> None:
    most = max(refuse(name, run, tmp_path / "canary") for name in FILES)
    assert most < LIMIT
    ways = "evaluate, export and resume"
    told = f"{len(FILES)} of {len(FILES)} refused by {ways}, no canary, at most {most / 1e6:.0f} MB more"
    soak.record("malicious_files", told)


@pytest.mark.parametrize(
    ("name", "refused_by"),
    [
        ("a tensor larger than the file", "incomplete metadata, file not fully covered"),
        ("a type that there is not", "unknown variant `F99`"),
        ("labels nested without end", "maximum recursion depth exceeded"),
    ],
)
def test_a_forged_file_is_refused_for_what_it_is_named_for(name: str, refused_by: str, run: Run) -> None:
    run.weights.write_bytes(FILES[name](Gadget(run.directory / "canary")))
    with pytest.raises(UsageError) as refusal:
        checked_safetensors.load(run.weights, "model")
    assert refused_by in str(refusal.value.__cause__)


def test_the_gadgets_would_run_if_they_were_let(tmp_path: Path) -> None:
    pickle.loads(FILES["a pickle"](Gadget(tmp_path / "canary")))  # noqa: S301 - to see that the canary can sing
    assert (tmp_path / "canary").exists()


def test_the_measure_of_memory_sees_what_is_held_for_a_moment() -> None:
    before = peak(reset=True)
    # New pages: bytes may be given memory that is free, but still the process's.
    with mmap.mmap(-1, LIMIT) as pages:
        for start in range(0, LIMIT, mmap.PAGESIZE):
            pages[start] = 1
    assert peak() - before >= LIMIT * 0.9


IMPOSSIBLE: list[dict[str, Any]] = [
    {"step": None},
    {"step": math.inf},
    {"settings": 5},
    {"history": 5},
    {"history": [5]},
    {"history": [{"validation_loss": "x"}]},
    {"seconds": "x"},
]


@pytest.mark.parametrize("change", IMPOSSIBLE, ids=str)
def test_a_checkpoint_with_impossible_facts_is_refused_and_the_one_before_used(
    change: dict[str, Any], run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = {"settings": {}, "data_version": "", "device": "cpu", "history": [], "seconds": 0.5}
    for step, more in enumerate([{}, change], start=1):
        facts = {"run": run.name, "step": step} | whole | more
        (run.checkpoints / f"step-{step:08}.safetensors").write_bytes(
            checked_safetensors.dumps("checkpoint", {}, facts)
        )
    found = checkpoint.load_newest(run)
    assert found
    assert found.step == 1
    assert "step-00000002.safetensors: a checkpoint of other code" in capsys.readouterr().out


def test_a_checkpoint_without_its_tensors_is_refused(tmp_path: Path) -> None:
    settings = Settings(data="synthetic", network="linear", epochs=1)
    run = train.train(settings, runs=tmp_path)
    kept = checkpoint.load_newest(run)
    assert kept
    checkpoint.save(run, dataclasses.replace(kept, tensors={"losses": torch.zeros(0)}, step=99))
    with pytest.raises(UsageError, match="a checkpoint of other code"):
        train.train(dataclasses.replace(settings, epochs=2), run=run)
