import json
import platform
import sys
from pathlib import Path

import pytest

from samebench.core.command import RequirementError
from samebench.environment import determinism
from tests.commands import call

UNSET = dict.fromkeys(determinism.CPU_LEVEL)
TELL = "import json, os; names = ['ATEN_CPU_CAPABILITY', 'ONEDNN_MAX_CPU_ISA', 'MKL_CBWR']\n"
pytestmark = pytest.mark.skipif(platform.machine() != "x86_64", reason="the CPU level is pinned on x86-64 only")


@pytest.mark.parametrize("missing", determinism.CPU_LEVEL)
def test_a_command_started_without_a_variable_starts_again_with_all_three(missing: str, tmp_path: Path) -> None:
    program = tmp_path / "a program.py"
    program.write_text(
        TELL + "import sys, torch\nfrom samebench.environment import determinism\n"
        "determinism.reexecute(fast=False)\n"
        "print(json.dumps([sys.argv[1:], [os.environ.get(name) for name in names], determinism.level()]))\n"
    )
    done = call(str(program), "--seed", "3 4", at=tmp_path, changes={missing: None})
    expected = [["--seed", "3 4"], list(determinism.CPU_LEVEL.values()), "AVX2"]
    assert json.loads(done.stdout) == expected, done.stderr


def test_a_fast_command_starts_again_without_the_variables(tmp_path: Path) -> None:
    program = (
        TELL + "from samebench.environment import determinism\ndeterminism.reexecute(fast=True)\n"
        "print([os.environ.get(name) for name in names])\n"
    )
    done = call("-c", program, at=tmp_path, changes=dict(determinism.CPU_LEVEL))
    assert done.stdout == "[None, None, None]\n", done.stderr


@pytest.mark.parametrize("fast", [False, True])
def test_float32_is_float32_on_a_gpu_but_for_fast(fast: bool, tmp_path: Path) -> None:
    program = (
        "from torch import backends, cuda\nfrom samebench.environment import determinism\n"
        f"determinism.pin(fast={fast})\n"
        "switches = [backends.cudnn.allow_tf32, backends.cuda.matmul.allow_tf32, backends.cudnn.benchmark]\n"
        "print(switches, cuda.is_initialized())"
    )
    done = call("-c", program, at=tmp_path)
    assert done.stdout == f"{[fast] * 3} False\n", done.stderr


def test_a_command_that_has_what_it_needs_is_not_started_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.execve", lambda *_: pytest.fail("started again"))
    determinism.reexecute(fast=False)


@pytest.mark.parametrize(("name", "value"), determinism.CPU_LEVEL.items())
def test_a_process_that_has_torch_under_other_settings_refuses(name: str, value: str, tmp_path: Path) -> None:
    program = (
        "import os, torch\n"
        f"os.environ.update({determinism.CPU_LEVEL!r})\n"  # too late, and no proof
        "from samebench.environment import determinism\n"
        "try: determinism.pin()\n"
        "except ValueError as refusal: print(refusal)\n"
    )
    done = call("-c", program, at=tmp_path, changes={**determinism.CPU_LEVEL, name: None})
    assert f"{name}=(unset)" in done.stdout, done.stderr
    assert f"{name}={value}" in done.stdout
    assert done.stdout.count("\n") == 1


def test_a_process_without_torch_is_pinned_in_place(tmp_path: Path) -> None:
    program = "from samebench.environment import determinism\ndeterminism.pin()\n"
    program += "determinism.pin()\nprint(determinism.level())"
    done = call("-c", program, at=tmp_path, changes=UNSET)
    assert done.stdout == "AVX2\n", done.stderr


@pytest.mark.parametrize("fast", [False, True])
def test_only_fast_lifts_the_deterministic_algorithms(fast: bool, tmp_path: Path) -> None:
    program = (
        f"from samebench.environment import determinism\ndeterminism.pin(fast={fast})\n"
        "import torch\nprint(torch.are_deterministic_algorithms_enabled())"
    )
    done = call("-c", program, at=tmp_path, changes=UNSET)
    assert done.stdout == f"{not fast}\n", done.stderr


def test_a_chip_without_avx2_is_lacking(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(determinism, "_chip_flags", lambda: {"sse4_2"})
    with pytest.raises(RequirementError, match="no AVX2"):
        determinism.pin()


def test_no_variable_is_wanted_on_other_chips(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "aarch64")
    assert determinism.cpu_level_variables(fast=False) == {}


def test_importing_the_kit_does_not_load_torch(tmp_path: Path) -> None:
    program = (
        "import sys\nfrom samebench.core import files, flags\nfrom samebench.environment import cores, determinism\n"
    )
    program += "print('torch' in sys.modules)"
    assert call("-c", program, at=tmp_path).stdout == "False\n"


def test_the_bench_knows_nothing_of_what_lies_on_it() -> None:
    bench = Path(sys.modules["samebench"].__path__[0])
    assert [path.name for path in bench.glob("*.py") if "apparel" in path.read_text()] == []
