"""What teams add first, resolved on the real Python index: `make soak`."""

from pathlib import Path

import pytest

from samebench.core.command import RequirementError
from samebench.core.paths import ROOT
from samebench.environment import lock

pytestmark = pytest.mark.soak

FINE = (
    *("pandas", "scikit-learn", "transformers", "albumentations", "opencv-python-headless", "polars", "wandb"),
    *("ipywidgets", "jupyterlab-git", "lightning", "accelerate", "transformers[torch]"),
)
COMPILED = ("torchvision", "torchaudio", "timm")


def locks_with(package: str, folder: Path) -> dict[str, str]:
    """The locks' texts with one more package; nothing is written into the checkout."""
    text = (ROOT / "pyproject.toml").read_text()
    (folder / "pyproject.toml").write_text(text.replace("dependencies = [\n", f'dependencies = [\n  "{package}",\n', 1))
    return lock.locks(folder)


def names(text: str) -> set[str]:
    return {pin.split("=")[0] for pin, _ in lock.parse(text)}


@pytest.mark.parametrize("package", FINE)
def test_what_every_team_adds_leaves_cuda_in_the_gpu_lock(package: str, tmp_path: Path) -> None:
    before = {name: (ROOT / name).read_text() for name in (lock.SHARED, lock.CPU, lock.GPU)}
    after = locks_with(package, tmp_path)
    assert names(after[lock.SHARED]) >= names(before[lock.SHARED])
    assert names(after[lock.CPU]) == names(before[lock.CPU])
    assert names(after[lock.GPU]) == names(before[lock.GPU])


@pytest.mark.parametrize("package", COMPILED)
def test_what_is_compiled_against_torch_is_in_both_builds_or_refused(package: str, tmp_path: Path) -> None:
    after: dict[str, str] = {}
    refusal = ""
    try:
        after = locks_with(package, tmp_path)
    except RequirementError as error:
        refusal = str(error)
    if refusal:
        assert "+cpu can't be locked" in refusal
        return
    added = names(after[lock.CPU]) - {"torch"}
    assert added & {"torchvision", "torchaudio"}
    assert added <= names(after[lock.GPU])
    assert not any(name.startswith("nvidia-") for name in names(after[lock.SHARED]))
