"""The verdict on a run that was trained again, and the golden run, whose hash is in git."""

import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from samebench import project
from samebench.core import command
from samebench.core.command import RequirementError
from samebench.core.paths import ROOT
from samebench.core.text import printable
from samebench.data import listing
from samebench.data.source import Source
from samebench.environment import accelerator
from samebench.runs import receipt
from samebench.settings import TrainingSettings
from samebench.training import initial_models, operators, trial
from samebench.training.train import PLACES, train

GOLDEN = "golden.sha256"  # a file of the project: the hash for each architecture and each model of GPU
PROMISES = {
    operators.THIS_MACHINE: "; its receipt promises the same bits on one model of machine",
    operators.NONE: "; its receipt promises no same bits",
}
GOLDEN_EPOCHS, GOLDEN_PART = 2, 5  # it is trained on one example in five


def verdict(old: Mapping[str, Any], new: Mapping[str, Any]) -> tuple[int, str]:
    """The exit code and the message for a receipt and that of its repetition."""
    old_weights, new_weights = old["weights_sha256"], new["weights_sha256"]
    # --fast changes the CPU level itself: one line is enough.
    levels = ("cpu_level",) if old["settings"].get("fast") != new["settings"]["fast"] else ()
    changed = receipt.diff(old, new, exclude=[*PLACES, *levels])
    for entry in old.get("resumed", []):
        changed += [f"in its middle, after step {entry['step']}: {printable(line)}" for line in entry["changed"]]
    if old_weights == new_weights:
        harmless = "".join(f"\n  changed without effect: {line}" for line in changed)
        return command.DONE, f"identical: weights {new_weights}{harmless}"
    title = f"not identical: weights {old_weights} then, {new_weights} now"
    if changed:
        return command.NO, "\n  ".join([f"{title}; changed since:", *changed])
    promise = "; --fast promises no more" if new["settings"]["fast"] else PROMISES.get(old.get("same_bits", ""), "")
    machines = receipt.diff(old, new, fields=receipt.MACHINE) or ["nothing that the receipt tells"]
    return command.NO, "\n  ".join([f"{title}; no input has changed{promise}; the machines differ in:", *machines])


def train_again(settings: TrainingSettings, old: Mapping[str, Any]) -> tuple[int, str]:
    """Train with these settings, and return the exit code and the message for the receipt `old` and the new one."""
    if (init := old.get("init")) and settings.init == old["settings"]["init"]:
        initial_models.reload_init_model(settings.init, init)
    data_listing = f"listings.data/{Source.of(settings.data).name}.sha256"
    new = {"listings": receipt.listings() if "listings" in old else None}
    for line in receipt.diff(old, new, fields=[data_listing]):
        print(f"{line}: the weights will be others; it trains nevertheless", flush=True)
    return verdict(old, train(settings, reproduces=old["run"]).receipt)


def reproduce_golden(data_name: str) -> tuple[int, str]:
    """Train the golden run, and return the exit code and the message: git has its hash for each architecture."""
    task, settings = project.task(), project.settings_class()(epochs=GOLDEN_EPOCHS)
    gpu = accelerator.facts(accelerator.choose(settings.device)).get("gpu")
    architecture = "+".join([platform.machine(), *([gpu["model"].replace(" ", "-")] if gpu else [])])
    path = golden_path()
    expected = listing.read(path).get(architecture) if path.is_file() else None
    data = task.load_data(data_name)
    part = task.subset(data, len(data.training) // GOLDEN_PART)
    actual = trial.train(settings, part).model.digest()
    if not expected:
        raise RequirementError(f"{path.name}: no golden hash for {architecture} yet; this machine's is {actual}")
    if actual == expected:
        return command.DONE, f"identical: golden weights {actual}"
    return command.NO, f"not identical: golden weights {expected} for {architecture} in {path.name}, {actual} here"


def golden_path() -> Path:
    """The file in git with the hash of the project's golden run on each architecture."""
    return ROOT / "src" / project.name() / GOLDEN
