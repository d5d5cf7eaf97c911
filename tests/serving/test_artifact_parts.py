"""Each fact of an artifact and of its card is held against the receipt, on its own."""

import hashlib
import json
from pathlib import Path

import pytest

from samebench.runs import run_files

RECEIPT = {"run": "one", "weights_sha256": "a" * 64, "data_version": "b" * 64}
SAMPLES = b"[]"


def write(folder: Path, *, card: str = "", **changed: str) -> None:
    """An artifact as its parts are read: facts as JSON inside of the model, a seal, samples, a card."""
    facts = {**RECEIPT, "samples_sha256": hashlib.sha256(SAMPLES).hexdigest(), **changed}
    model = b"\x08\x01 " + json.dumps(facts).encode() + b" \x00"
    lines = [f"# A model, run {RECEIPT['run']}", f"- weights: {'a' * 64}", f"- data: {'b' * 64}"]
    folder.mkdir()
    (folder / run_files.MODEL).write_bytes(model)
    (folder / run_files.SEAL).write_text(f"{hashlib.sha256(model).hexdigest()}  {run_files.MODEL}\n")
    (folder / run_files.SAMPLES).write_bytes(SAMPLES)
    (folder / run_files.CARD).write_text(card or "\n".join(lines))


def test_parts_that_belong_together_are_taken(tmp_path: Path) -> None:
    write(tmp_path / "artifact")
    assert run_files.find_artifact_problem(tmp_path, RECEIPT) == ""


@pytest.mark.parametrize(
    ("changed", "problem"),
    [
        ({"weights_sha256": "c" * 64}, "model.onnx is of other weights"),
        ({"data_version": "c" * 64}, "model.onnx tells of other data"),
        ({"run": "two"}, "model.onnx is of another run"),
        ({"samples_sha256": "c" * 64}, "samples.json is of another model"),
        ({"card": f"# A model, run two\n- weights: {'a' * 64}\n- data: {'b' * 64}"}, "card.md is of another run"),
        ({"card": f"# A model, run one\n- weights: {'c' * 64}\n- data: {'b' * 64}"}, "card.md is of other weights"),
        ({"card": f"# A model, run one\n- weights: {'a' * 64}\n- data: {'c' * 64}"}, "card.md is of other data"),
        ({"card": f"# A model, run one\n- weights: {'a' * 64}"}, "card.md is of other data"),
    ],
)
def test_a_part_that_contradicts_the_receipt_is_named(changed: dict[str, str], problem: str, tmp_path: Path) -> None:
    write(tmp_path / "artifact", **changed)
    assert run_files.find_artifact_problem(tmp_path, RECEIPT) == problem


def test_another_seal_another_export_and_missing_samples_are_named(tmp_path: Path) -> None:
    write(tmp_path / "artifact")
    assert run_files.find_artifact_problem(tmp_path, {**RECEIPT, "artifact_sha256": "0" * 64}).endswith("was exported")
    (tmp_path / "artifact" / run_files.SAMPLES).unlink()
    assert run_files.find_artifact_problem(tmp_path, RECEIPT) == "samples.json can't be read"
    (tmp_path / "artifact" / run_files.SEAL).write_text("0" * 64)
    assert run_files.find_artifact_problem(tmp_path, RECEIPT) == "model.onnx is not what its seal says"
