"""The same weights, whatever else is different: user, folder, host, time, cores, load, and the CPU's model."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from samebench.environment import determinism
from tests import soak
from tests.commands import AS_STRANGER, environment, lacking, open_to_others, source, stranger_may_start
from tests.samebench.checkout import ROOT, run

pytestmark = [pytest.mark.soak, pytest.mark.timeout(3600)]

PROGRAM = """
from samebench.environment import determinism
determinism.pin()
from tiny import data
from samebench.training import trial
from tiny.settings import Settings
settings = Settings(epochs=2, batch_size=32, shards=2)
print(trial.train(settings, data.synthetic(0, training=144, test=40)).model.digest())
"""
# From the oldest with AVX2 to the newest of both makers that the emulator of Debian 12 knows.
MODELS = ["Haswell", "Skylake-Server", "Icelake-Server", "EPYC", "EPYC-Rome", "EPYC-Milan"]
PINNED = dict(determinism.CPU_LEVEL)


def weights(
    *before: str,
    program: tuple[str, ...] = (sys.executable,),
    at: Path = ROOT,
    loose: bool = False,
    changes: Mapping[str, str | None] | None = None,
) -> str:
    """The weights hash of a short training; `loose` leaves the CPU level to the variables."""
    words = [*before, *program, "-c", PROGRAM.replace("determinism.pin()", "") if loose else PROGRAM]
    variables = environment({**PINNED, **(changes or {})})
    done = subprocess.run(words, cwd=at, env=variables, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout.split()[-1]


@contextmanager
def load(count: int) -> Iterator[None]:
    """As many other programs that take all they get."""
    busy = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
    try:
        yield
    finally:
        for each in busy:
            each.kill()
            each.wait()


def test_user_folder_host_time_cores_and_load_change_nothing(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("another user and another host name take root")
    elsewhere = tmp_path / "a b"
    elsewhere.mkdir()
    open_to_others(elsewhere)
    found = {
        "as it is": weights(),
        "another folder, time zone and language": weights(at=elsewhere, changes={"TZ": "Asia/Tokyo", "LC_ALL": "C"}),
        "another host": weights("unshare", "--uts", "sh", "-c", 'hostname elsewhere; exec "$@"', "sh"),
        "one core": weights("taskset", "--cpu-list", "0"),
        "another order of sets": weights(changes={"PYTHONHASHSEED": "7"}),
    }
    missing = []
    if stranger_may_start():
        found["another user"] = weights(*AS_STRANGER, at=elsewhere, changes={"HOME": "/nowhere"})
    else:
        missing.append("another user (may not enter the folders of our Python and our sources)")
    if len(cpus := sorted(os.sched_getaffinity(0))) >= 8:
        found["eight cores"] = weights("taskset", "--cpu-list", ",".join(map(str, cpus[:8])))
    else:
        missing.append(f"eight cores (there are {len(cpus)})")
    if shutil.which("faketime"):
        found["another time"] = weights("faketime", "+400 days")
    else:
        missing.append("another time (no faketime)")
    with load(4):
        found["loaded"] = weights()
    assert set(found.values()) == {found["as it is"]}, found
    told = f"{len(found)} of {len(found)} equal: {', '.join(found)}"
    told += f"; not to be had here: {', '.join(missing)}" if missing else ""
    soak.record("user_folder_host_time_cores_and_load_change_nothing", told)


def test_each_variable_of_the_cpu_level_is_needed() -> None:
    if "avx512f" not in Path("/proc/cpuinfo").read_text():
        pytest.skip("this chip has nothing above AVX2 to fall back to")
    found = {"": weights()} | {name: weights(loose=True, changes={name: None}) for name in PINNED}
    assert len(set(found.values())) == len(found), found
    soak.record("each_variable_of_the_cpu_level_is_needed", f"{len(PINNED)} of {len(PINNED)} change the weights")


def test_other_cpus_give_the_same_weights() -> None:
    emulator = shutil.which("qemu-x86_64-static") or lacking("no qemu-x86_64-static here to be another CPU")
    # The emulator loads the interpreter itself; the name it is called by is that of the virtual environment.
    interpreter = str(Path(sys.executable).resolve())
    native = weights()
    for model in MODELS:
        words = (emulator, "-cpu", model, "-0", sys.executable, interpreter)
        assert weights(program=words) == native, model
    soak.record("other_cpus_give_the_same_weights", f"{len(MODELS)} of {len(MODELS)} equal: {', '.join(MODELS)}")


def test_the_container_gives_the_weights_of_the_local_runtime(tmp_path: Path) -> None:
    if not shutil.which("docker") or run(["docker", "info"], cwd=ROOT).returncode:
        lacking("no Docker engine answers here")
    done = run(["make", "build", "RUNTIME=docker"], cwd=ROOT, timeout=900)
    assert done.returncode == 0, done.stderr[-2000:]
    image = done.stdout.split()[1]
    inside = ["docker", "run", "--rm", "--volume", f"{source()}:/workspace/src:ro", "--user", "1234:1234"]
    more = ["--hostname", "elsewhere", "--cpus", "1", "--env", "HOME=/tmp"]
    words = (*inside, *more, image, "python")
    assert weights(program=words) == weights()
    soak.record("the_container_gives_the_weights_of_the_local_runtime", "equal, with one core and as another user")
