"""The host's side: how the local runtime is set up, and when again."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from samebench.environment.lock import declared_requirements
from tests.commands import open_to_others

from .checkout import run
from .fakes import FAKE_INSTALL, SCRIPT, checkout, installs, programs, write_program

__all__ = ["checkout", "programs"]  # fixtures


def test_local_environment_is_made_once(checkout: Path) -> None:
    for _ in range(2):
        assert run([*SCRIPT, "true"], cwd=checkout, variables={"RUNTIME": "local"}).returncode == 0
    assert installs(checkout) == 1


def test_changed_lock_is_noticed_and_mended(checkout: Path) -> None:
    run([*SCRIPT, "true"], cwd=checkout, variables={"RUNTIME": "local"})
    with (checkout / "docker/cpu.lock").open("a") as lock:
        lock.write("# changed\n")
    run([*SCRIPT, "true"], cwd=checkout, variables={"RUNTIME": "local"})
    assert installs(checkout) == 2


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="no /proc here that says what runs")
def test_what_runs_keeps_its_environment_when_the_locks_change(checkout: Path) -> None:
    copy = 'cp "$(command -v sleep)" "$2/bin/python"\n'  # a program whose file is mapped, as an interpreter's is
    (checkout / "src/samebench/environment/install.sh").write_text(FAKE_INSTALL + copy)

    def environment() -> Path:
        done = run([*SCRIPT, "true"], cwd=checkout, variables={"RUNTIME": "local"})
        assert done.returncode == 0, done.stderr
        return (checkout / ".venv").resolve()

    def change_locks() -> None:
        with (checkout / "docker/cpu.lock").open("a") as lock:
            lock.write("# changed\n")

    first = environment()
    with subprocess.Popen([first / "bin/python", "60"]) as running:
        try:
            change_locks()
            second = environment()
            assert second != first
            assert (first / "bin/python").exists(), "something runs from it"
        finally:
            running.kill()
    change_locks()
    third = environment()
    assert third != second
    assert not first.exists()
    assert not second.exists()
    assert installs(checkout) == 3


def test_interrupted_setup_is_finished_by_the_next_call(checkout: Path) -> None:
    (checkout / "die").touch()
    assert run([*SCRIPT, "echo", "hello"], cwd=checkout, variables={"RUNTIME": "local"}).stdout == ""
    (checkout / "die").unlink()
    assert run([*SCRIPT, "echo", "hello"], cwd=checkout, variables={"RUNTIME": "local"}).stdout == "hello\n"
    assert installs(checkout) == 2


def test_moved_checkout_gets_a_new_environment(checkout: Path, tmp_path: Path) -> None:
    run([*SCRIPT, "true"], cwd=checkout, variables={"RUNTIME": "local"})
    moved = checkout.rename(tmp_path / "moved")
    run([*SCRIPT, "true"], cwd=moved, variables={"RUNTIME": "local"})
    assert installs(moved) == 2


@pytest.mark.skipif(not shutil.which("flock"), reason="no flock here: set-ups at once are not guarded")
def test_two_commands_at_once_set_up_once(checkout: Path) -> None:
    (checkout / "src/samebench/environment/install.sh").write_text("sleep 1\n" + FAKE_INSTALL)
    environment = {k: v for k, v in os.environ.items() if k != "SAMEBENCH"} | {"RUNTIME": "local"}
    both = [
        subprocess.Popen([*SCRIPT, "echo", "done"], cwd=checkout, env=environment, stdout=-1, stderr=-1) for _ in "ab"
    ]
    assert [process.communicate(timeout=60)[0] for process in both] == [b"done\n", b"done\n"]
    assert installs(checkout) == 1


def test_python_of_the_right_version_is_looked_for_and_else_left_to_uv(checkout: Path, programs: Path) -> None:
    version = declared_requirements()[0]
    for name in (f"python{version}", "python3"):
        write_program(programs / name, "echo 3.4 /usr/bin/python3.4")
    run([*SCRIPT, "true"], cwd=checkout, path=programs, variables={"RUNTIME": "local"})
    assert (checkout / "installed").read_text().split()[0] == version


def test_stale_environment_that_is_active_is_not_made_from_itself(checkout: Path) -> None:
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", checkout / ".venv"], check=True)
    run([*SCRIPT, "true"], cwd=checkout, path=checkout / ".venv/bin", variables={"RUNTIME": "local"})
    python = (checkout / "installed").read_text().split()[0]
    assert Path(python).is_file()
    assert not python.startswith(str(checkout))


def test_local_runtime_sets_what_the_image_sets(checkout: Path) -> None:
    line = 'echo "$ATEN_CPU_CAPABILITY $MKL_CBWR $ONEDNN_MAX_CPU_ISA $CUBLAS_WORKSPACE_CONFIG"'
    line += "; echo $JUPYTER_SERVER_ALLOW_UNAUTHENTICATED_ACCESS"
    done = run([*SCRIPT, "sh", "-c", line], cwd=checkout, variables={"RUNTIME": "local"})
    assert done.stdout == "avx2 COMPATIBLE AVX2 :4096:8\nfalse\n"


def test_a_checkout_with_a_colon_in_its_path_is_refused_before_any_work(checkout: Path) -> None:
    moved = checkout.rename(checkout.with_name("a:b"))
    done = run([*SCRIPT, "true"], cwd=moved, variables={"RUNTIME": "local"})
    remedy = "move the checkout, or use docker or podman"
    said = f'{moved}: ":" separates folders in PATH, so no environment works in there; {remedy}'
    assert (done.returncode, done.stderr.splitlines()[1:]) == (2, [f"samebench: {said}"])
    assert not (moved / "installed").exists()


def test_unwritable_checkout_gets_one_line_and_code_3(checkout: Path) -> None:
    for folder in (checkout / "data", checkout):
        folder.chmod(0o555)
    command = SCRIPT
    if os.access(checkout, os.W_OK):  # root may write everywhere, but for one without capabilities
        open_to_others(checkout.parent)
        command = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", *SCRIPT]
    done = run([*command, "true"], cwd=checkout, variables={"RUNTIME": "local"})
    checkout.chmod(0o755)
    assert done.returncode == 3
    remedy = "make it yours (chown), then run the same command again"
    assert done.stderr.splitlines()[1:] == [f"samebench: {checkout}/data: not writable; {remedy}"]
