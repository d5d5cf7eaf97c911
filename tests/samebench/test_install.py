"""`install.sh`: what it installs is what the locks say, to the byte, or nothing.

Runs the real script with the real uv on small wheels made here, from a wheelhouse and without a network.
"""

import shutil
import sys
from pathlib import Path

import pytest

from samebench.environment.lock import SHARED, parse

from . import tampered
from .checkout import ROOT, copy_checkout, run
from .tampered import WAYS, write_wheel

NOWHERE = "http://127.0.0.1:9"  # the discard port: nothing listens, so an index there never answers


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout that asks for one shared wheel and a torch of a dozen bytes, both in its wheelhouse."""
    path = copy_checkout(tmp_path / "my work")
    wheelhouse = path / "wheels"
    wheelhouse.mkdir()
    version = next(pin for pin, _ in parse((ROOT / SHARED).read_text()) if pin.startswith("uv==")).split("==")[1]
    # uv itself comes from an earlier environment, as when a stale one is made anew; this wheel only meets its line.
    lines = [write_wheel(wheelhouse, "uv", version, ""), write_wheel(wheelhouse, "shared", "1.0", "answer = 42\n")]
    (path / "requirements.lock").write_text("".join(lines))
    (path / "docker/cpu.lock").write_text(write_wheel(wheelhouse, "torch", "1.0+cpu", "__version__ = '1.0+cpu'\n"))
    (path / ".venv/bin").mkdir(parents=True)
    shutil.copy(Path(sys.executable).with_name("uv"), path / ".venv/bin/uv")
    return path


def install(checkout: Path, *, temporary: Path | None = None) -> tuple[int, str]:
    """Exit code and messages of the script, without an index and with a cache of its own."""
    variables = {"WHEELHOUSE": str(checkout / "wheels"), "PIP_INDEX_URL": NOWHERE, "TORCH_INDEX": f"{NOWHERE}/torch"}
    variables |= {"UV_CACHE_DIR": str(checkout / "cache"), "UV_HTTP_RETRIES": "0"}
    variables |= {"TMPDIR": str(temporary)} if temporary else {}
    command = [
        "sh",
        "src/samebench/environment/install.sh",
        sys.executable,
        f"{checkout}/.venv",
        "src",
        "requirements.lock",
        "docker/cpu.lock",
    ]
    done = run(command, cwd=checkout, variables=variables)
    return done.returncode, done.stderr


def imports(checkout: Path, statement: str) -> bool:
    return run([checkout / ".venv/bin/python", "-c", statement], cwd=checkout.parent).returncode == 0


def test_wheelhouse_alone_is_enough(checkout: Path) -> None:
    code, said = install(checkout)
    assert code == 0, said
    assert imports(checkout, "import shared; assert shared.answer == 42")
    assert imports(checkout, "import torch; assert torch.__version__ == '1.0+cpu'")


def test_what_nobody_opens_is_neither_there_nor_in_record(checkout: Path) -> None:
    extra = {
        "torch/test/big_test": "",
        "torch/bin/test_api": "",
        "torch/bin/torch_shm_manager": "",
        "torch/tests.py": "",
    }
    line = write_wheel(checkout / "wheels", "torch", "1.0+cpu", "", extra=extra)
    (checkout / "docker/cpu.lock").write_text(line)
    code, said = install(checkout)
    assert code != 3, said  # torch/ hides torch.py, so its import tells no version
    packages = next((checkout / ".venv/lib").glob("python3*/site-packages"))
    there = {str(path.relative_to(packages)) for path in (packages / "torch").rglob("*") if path.is_file()}
    assert there == {"torch/bin/torch_shm_manager", "torch/tests.py"}
    record = (packages / "torch-1.0+cpu.dist-info/RECORD").read_text()
    assert {line.split(",")[0] for line in record.splitlines() if line.startswith("torch/")} == there


@pytest.mark.parametrize("way", WAYS)
def test_a_tampered_wheel_is_refused_and_nothing_of_it_runs(checkout: Path, way: str) -> None:
    canary = checkout / "canary"
    WAYS[way](checkout, canary)
    code, said = install(checkout)
    assert code == (2 if way == "an extra dependency, the lock fixed up" else 3), said
    assert "requirements.lock could not be installed" in said or "the locks contradict each other" in said
    assert not canary.exists()


def test_each_tampered_wheel_would_run(checkout: Path) -> None:
    canary = checkout / "canary"
    tampered.other_content(checkout, canary)
    (checkout / "requirements.lock").write_text(tampered.relocked(checkout))
    code, said = install(checkout)
    assert code == 0, said
    assert canary.exists()


def test_nothing_tells_when_a_wheel_came_to_lie_in_the_wheelhouse(checkout: Path) -> None:
    assert install(checkout)[0] == 0
    packages = next((checkout / ".venv/lib").glob("python3*/site-packages"))
    record = (packages / "shared-1.0.dist-info/RECORD").read_text()
    listed = {line.split(",")[0] for line in record.splitlines()}
    there = {f"shared-1.0.dist-info/{path.name}" for path in (packages / "shared-1.0.dist-info").iterdir()}
    assert listed == there | {"shared.py"}
    assert not list(packages.glob("*/uv_cache.json"))


def test_index_that_does_not_answer_gets_one_last_line_and_code_3(checkout: Path) -> None:
    (checkout / "wheels/shared-1.0-py3-none-any.whl").unlink()
    code, said = install(checkout)
    assert code == 3
    assert said.splitlines()[-1] == (
        "samebench: requirements.lock could not be installed (see above);"
        " behind a mirror set PIP_INDEX_URL and TORCH_INDEX, without a network WHEELHOUSE"
    )


def test_an_index_with_a_token_is_asked_and_is_on_no_command_line(
    checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    uv, log = checkout / ".venv/bin/uv", checkout / "calls"
    real = uv.rename(checkout / "real-uv")
    uv.write_text(f'#!/bin/sh\necho "$UV_DEFAULT_INDEX | $*" >>"{log}"\nexec "{real}" "$@"\n')
    uv.chmod(0o755)
    monkeypatch.setattr(f"{__name__}.NOWHERE", NOWHERE.replace("//", "//me:s3cret@"))  # pragma: allowlist secret
    code, said = install(checkout)
    assert code == 0, said
    calls = [line.split(" | ") for line in log.read_text().splitlines()]
    assert not [words for _, words in calls if "s3cret" in words]
    torch = [index for index, words in calls if "docker/cpu.lock" in words]
    assert set(torch) == {"http://me:s3cret@127.0.0.1:9/torch"}  # pragma: allowlist secret


def test_a_users_own_settings_of_pip_do_not_keep_uv_from_coming(
    checkout: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PIP_REQUIRE_VIRTUALENV", "1")
    monkeypatch.setenv("PIP_USER", "1")
    monkeypatch.setenv("HOME", str(tmp_path))
    (checkout / ".venv/bin/uv").unlink()  # so that pip has to bring it: here a wheel with no program in it
    code, said = install(checkout)
    assert code != 0
    assert "could not be installed by hash" not in said
    assert "bin/uv: not found" in said or "No such file" in said


def test_no_temporary_files_are_left(checkout: Path, tmp_path: Path) -> None:
    (tmp_path / "temporary").mkdir()
    install(checkout, temporary=tmp_path / "temporary")
    assert list((tmp_path / "temporary").iterdir()) == []
