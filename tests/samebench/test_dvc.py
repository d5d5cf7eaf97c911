"""DVC's environment of its own, and what is left when whoever carries data is killed or not alone."""

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

from samebench.core import file_lock
from samebench.core.command import RequirementError
from samebench.data import dvc
from tests import soak
from tests.commands import environment

from .tampered import write_wheel
from .team_checkouts import NAME, Member, directory, init_checkout, remote, with_dvc

__all__ = ["directory", "remote", "with_dvc"]  # fixtures

NOWHERE = {"UV_DEFAULT_INDEX": "http://127.0.0.1:9", "UV_HTTP_RETRIES": "0", "UV_NO_CACHE": "1"}

# Each in a process of its own, on the checkout that it is given.
BRING = f"""
import sys
from pathlib import Path
from samebench.data import checkout, versions
root = Path(sys.argv[1])
checkout.check_out(versions.load_version({NAME!r}, root=root), root / "data/{NAME}", root=root)
"""
PUSH = f"""
import sys
from pathlib import Path
from samebench.data import versions
versions.push({NAME!r}, root=Path(sys.argv[1]))
"""
INSTALL = """
import sys
from pathlib import Path
from samebench.data import dvc
from samebench.core import file_lock
dvc.HOME, dvc.LOCK = Path(sys.argv[1]), Path(sys.argv[2])
print(dvc.python())
"""


def begin(program: str, *words: str | Path) -> subprocess.Popen[str]:
    """In a process group of its own, as a container's are, so that all of it can be killed at once."""
    command = [sys.executable, "-c", program, *map(str, words)]
    return subprocess.Popen(
        command,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def end(process: subprocess.Popen[str]) -> str:
    out, err = process.communicate(timeout=200)
    assert process.returncode == 0, err
    return out


@pytest.fixture
def tiny(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    """A home and a lock of one wheel, which is in the wheelhouse; no index answers."""
    wheels = tmp_path / "the wheels"
    wheels.mkdir()
    lock = tmp_path / "tiny.lock"
    lock.write_text(write_wheel(wheels, "tiny", "1.0", "answer = 42\n"))
    for name, value in {**NOWHERE, "WHEELHOUSE": str(wheels)}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(dvc, "HOME", tmp_path / "home")
    monkeypatch.setattr(dvc, "LOCK", lock)
    monkeypatch.setattr(dvc, "ROOT", tmp_path)
    return tmp_path / "home", lock


def answer(python: Path) -> bool:
    return subprocess.run([python, "-I", "-c", "import tiny; assert tiny.answer == 42"]).returncode == 0


def test_a_wheelhouse_is_enough_and_the_second_call_installs_nothing(tiny: tuple[Path, Path]) -> None:
    python = dvc.python()
    assert answer(python)
    before = python.parent.parent.stat().st_mtime_ns
    shutil.rmtree(os.environ["WHEELHOUSE"])
    assert dvc.python() == python
    assert python.parent.parent.stat().st_mtime_ns == before


def test_it_sees_its_own_packages_and_none_of_the_workspace(with_dvc: Path) -> None:
    program = "import importlib.util as u; print([u.find_spec(n) is not None for n in ('dvc', 'torch', 'samebench')])"
    done = subprocess.run([with_dvc, "-I", "-c", program], env=environment(), capture_output=True, text=True)
    assert done.stdout.strip() == "[True, False, False]"


def test_a_wheel_with_other_bytes_is_refused_in_one_line_and_nothing_is_left(tiny: tuple[Path, Path]) -> None:
    home, _ = tiny
    write_wheel(Path(os.environ["WHEELHOUSE"]), "tiny", "1.0", "answer = 43\n")
    with pytest.raises(
        RequirementError, match=r"^DVC could not be installed from tiny.lock .*; behind a mirror set PIP_INDEX"
    ):
        dvc.python()
    assert list(home.iterdir()) == []


def test_two_that_start_at_once_install_once(tiny: tuple[Path, Path]) -> None:
    processes = [begin(INSTALL, *tiny) for _ in range(3)]
    assert len({end(process) for process in processes}) == 1
    (only,) = tiny[0].iterdir()
    assert answer(only / "bin/python")


def test_whoever_comes_second_waits_for_the_first(tiny: tuple[Path, Path]) -> None:
    home, _ = tiny
    home.mkdir()
    with file_lock.exclusive(home):
        process = begin(INSTALL, *tiny)
        time.sleep(2)  # it would be done, or at work, by then
        assert process.poll() is None
        assert list(home.iterdir()) == []
    assert answer(Path(end(process).strip()))


def test_what_a_killed_installation_has_left_is_swept_by_the_next(tiny: tuple[Path, Path]) -> None:
    home, _ = tiny
    process = begin(INSTALL, *tiny)
    while not list(home.glob("*.new-*/bin")):
        assert process.poll() is None
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    assert answer(dvc.python())
    assert not list(home.glob("*.new-*"))


# ---- killed ----


def contents(seed: int) -> dict[str, bytes]:
    return {f"part {number}": random.Random(seed + number).randbytes(200_000 * (1 + number)) for number in range(6)}


@pytest.fixture
def member(tmp_path: Path, with_dvc: Path) -> Member:
    """A checkout with a version of 4 MB."""
    member = init_checkout(tmp_path / "one of us")
    member.record(contents(0))
    return member


def kill_after(number: int, *places: Path, program: str, root: Path) -> None:
    """Start it, and kill all of it as soon as this many files, whole or begun, have come to the places."""
    process = begin(program, root)
    while process.poll() is None and len(there(*places)) < number:
        time.sleep(0.001)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.communicate()


def there(*places: Path) -> list[Path]:
    with suppress(FileNotFoundError):  # a temporary file that has been renamed while we looked
        return [path for place in places for path in place.rglob("*") if path.is_file()]
    return []


def kill_pulls(member: Member, at: Path, *, times: int) -> int:
    """Kill pulls of fresh checkouts at this many points, from the first file to the last; how many were halfway."""
    member.push()
    known, halfway = contents(0), 0
    for number in range(times):
        teammate = member.clone(at / f"pull {number}")
        places = teammate.root / ".dvc/cache", teammate.folder
        kill_after(1 + number * 13 // times, *places, program=BRING, root=teammate.root)
        came = {path.name: path.read_bytes() for path in teammate.folder.glob("[!.]*")}
        assert came.items() <= known.items(), "each file is whole or absent"
        halfway += came != known and bool(there(*places))
        end(begin(BRING, teammate.root))
        assert teammate.contents() == known
        assert teammate.is_clean()
    return halfway


def kill_pushes(member: Member, at: Path, remote: Path, *, times: int) -> int:
    """Kill pushes to an empty remote at this many points; how many had brought something there, and not all."""
    halfway = 0
    for number in range(times):
        kill_after(1 + number * 7 // times, remote, program=PUSH, root=member.root)
        halfway += bool(there(remote)) and not list(remote.rglob("*.dir"))
        end(begin(PUSH, member.root))
        assert member.is_clean()
        teammate = member.clone(at / f"push {number}")
        teammate.bring()
        assert teammate.contents() == contents(0)
        for path in remote.iterdir():
            shutil.rmtree(path)
    return halfway


def test_a_killed_pull_leaves_whole_files_or_none_and_the_next_completes(
    member: Member, tmp_path: Path, directory: Path
) -> None:
    kill_pulls(member, tmp_path, times=2)


def test_a_killed_push_leaves_nothing_wrong_and_the_next_completes(
    member: Member, tmp_path: Path, directory: Path
) -> None:
    kill_pushes(member, tmp_path, directory, times=2)


@pytest.mark.soak
@pytest.mark.timeout(1800)
def test_pulls_and_pushes_killed_at_many_instants(
    member: Member, tmp_path: Path, remote: Path, request: pytest.FixtureRequest
) -> None:
    times = 26
    pulls = kill_pulls(member, tmp_path, times=times)
    pushes = kill_pushes(member, tmp_path, remote, times=times)
    assert pulls
    assert pushes
    figure = f"{times} pulls and {times} pushes, {pulls} and {pushes} of them halfway, all completed by the next"
    where = request.node.callspec.id
    soak.record(f"test_pulls_and_pushes_killed_at_many_instants, {where}", f"{figure}; {soak.busy()}")


def pull_together(member: Member, at: Path, *, rounds: int, checkouts: int) -> None:
    """Have several checkouts that share one cache bring a version at once, with nothing of it in the cache."""
    member.push()
    for number in range(rounds):
        shutil.rmtree(at / "cache", ignore_errors=True)
        together = [member.clone(at / f"together {number} {each}") for each in range(checkouts)]
        for teammate in together:
            (teammate.root / ".dvc/config.local").write_text(f"[cache]\n    dir = {at}/cache\n    shared = group\n")
        for process in [begin(BRING, teammate.root) for teammate in together]:
            end(process)
        assert all(teammate.contents() == contents(0) and teammate.is_clean() for teammate in together)


def test_checkouts_that_share_a_cache_can_pull_at_once(member: Member, tmp_path: Path, directory: Path) -> None:
    pull_together(member, tmp_path, rounds=2, checkouts=2)


def test_one_checkout_can_be_asked_twice_at_once(member: Member, tmp_path: Path, directory: Path) -> None:
    member.push()
    teammate = member.clone(tmp_path / "twice")
    for process in [begin(BRING, teammate.root) for _ in range(3)]:
        end(process)
    assert teammate.contents() == contents(0)
    assert teammate.is_clean()


@pytest.mark.soak
@pytest.mark.timeout(1800)
def test_many_checkouts_that_share_a_cache_pull_at_once(member: Member, tmp_path: Path, directory: Path) -> None:
    pull_together(member, tmp_path, rounds=15, checkouts=4)
    soak.record("test_many_checkouts_that_share_a_cache_pull_at_once", "15 rounds of 4 at once, all whole")
