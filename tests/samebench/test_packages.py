"""`make add`, `make remove` and `make lock`, with the real uv, on indexes of small wheels on loopback."""

import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from samebench.core.paths import ROOT
from samebench.environment import lock

from . import indexes
from .checkout import copy_checkout, run
from .fakes import SCRIPT, fake_engines

LOCKS = (lock.SHARED, lock.CPU, lock.GPU, lock.SERVE, lock.REFERENCE, lock.VERSIONS)
UV = next(pin for pin, _ in lock.parse((ROOT / lock.SHARED).read_text()) if pin.startswith("uv==")).split("==")[1]
PYTHON, NOWHERE = "3.11", "http://127.0.0.1:9"
PROJECT = f"""[project]
name = "small"
version = "1"
requires-python = "=={PYTHON}.*"
dependencies = [
  "shared", # a remark
  "torch==1.0",
  "uv=={UV}",
]

[dependency-groups]
serve = ["shared"]
reference = ["shared"]
versions = ["shared"]

[tool.uv]
exclude-newer = "2026-11-20T00:00:00Z"
package = false
"""


class Bench:
    """A checkout whose packages come from two indexes on loopback."""

    def __init__(self, path: Path, variables: dict[str, str]) -> None:
        self.path = path
        self.variables = variables

    def make(self, *words: str, **variables: str) -> subprocess.CompletedProcess[str]:
        return run(["make", *words], cwd=self.path, variables={**self.variables, **variables})

    def pins(self, name: str) -> list[str]:
        text = (self.path / name).read_text()
        return [line.split(" \\")[0] for line in text.splitlines() if line[:1].isalpha()]

    def content(self) -> dict[str, bytes]:
        files = [each for each in self.path.rglob("*") if each.is_file() and ".samebench" not in each.parts]
        return {
            str(each.relative_to(self.path)): each.read_bytes() for each in files if "__pycache__" not in each.parts
        }

    def dependencies(self) -> list[str]:
        found: list[str] = tomllib.loads((self.path / "pyproject.toml").read_text())["project"]["dependencies"]
        return found


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """The addresses of the Python index and of torch's."""
    python, cpu = (tmp_path_factory.mktemp("index") / name for name in ("python", "cpu"))
    for folder, local in ((python, ""), (cpu, "+cpu")):
        for_cuda = ("nvidia-thing; sys_platform == 'linux'",) if folder == python else ()
        indexes.publish(folder, "torch", f"1.0{local}", needs=("shared", *for_cuda), compiled=True)
        indexes.publish(folder, "torchvision", f"0.1{local}", needs=("torch==1.0", "shared"), compiled=True)
    indexes.publish(python, "uv", UV)
    for name in ("shared", "nvidia-thing", "extra"):
        indexes.publish(python, name, "1.0")
    for version in ("1.0", "2.0", "3.0"):
        indexes.publish(python, "plain", version)
    indexes.publish(python, "withextra", "1.0", needs=("extra; extra == 'more'\nProvides-Extra: more",))
    indexes.publish(python, "pure", "1.0", needs=("torch",))
    indexes.publish(python, "pictures", "1.0", needs=("torch", "torchvision"))
    indexes.publish(python, "lonely", "1.0", needs=("torch",), compiled=True)  # without a build for the CPU
    with indexes.serve(python, as_json=True) as first, indexes.serve(cpu, as_json=False) as second:
        yield first, second


@pytest.fixture(scope="module")
def locked(published: tuple[str, str], tmp_path_factory: pytest.TempPathFactory) -> Bench:
    """A checkout with the locks of PROJECT, made by `make lock`."""
    python, torch = published
    folder = tmp_path_factory.mktemp("locked")
    path = copy_checkout(folder / "my work")
    (path / "pyproject.toml").write_text(PROJECT)
    (path / lock.SHARED).write_text(f"uv=={UV}\n")  # names the uv that is there already
    for name in LOCKS[1:]:
        (path / name).unlink(missing_ok=True)
    (path / "tests").mkdir()
    variables = {"RUNTIME": "local", "PIP_INDEX_URL": python, "TORCH_INDEX": torch, "WHEELHOUSE": ""}
    variables |= {"UV_CACHE_DIR": str(folder / "cache"), "UV_HTTP_RETRIES": "0", "PIP_FIND_LINKS": ""}
    bench = Bench(path, variables)
    done = bench.make("lock")
    assert done.returncode == 0, done.stderr
    return bench


@pytest.fixture
def bench(locked: Bench, tmp_path: Path) -> Bench:
    shutil.copytree(locked.path, tmp_path / "my work")
    return Bench(tmp_path / "my work", locked.variables)


def test_cuda_is_in_the_gpu_lock_alone(bench: Bench) -> None:
    assert bench.pins(lock.SHARED) == ["shared==1.0", f"uv=={UV}"]
    assert bench.pins(lock.GPU) == ["nvidia-thing==1.0", "torch===1.0"]
    assert bench.pins(lock.CPU) == [
        "torch==1.0+cpu ; sys_platform == 'linux'",
        "torch===1.0 ; sys_platform == 'darwin'",
    ]


def test_make_lock_repeats(bench: Bench) -> None:
    before = bench.content()
    assert bench.make("lock").returncode == 0
    assert bench.content() == before


def test_an_index_that_tells_no_upload_times_is_refused_with_the_remedy(bench: Bench, tmp_path: Path) -> None:
    before = bench.content()
    indexes.publish(tmp_path / "index", "torch", "1.0", compiled=True)
    with indexes.serve(tmp_path / "index", as_json=False) as address:
        done = bench.make("lock", PIP_INDEX_URL=address)
    assert done.returncode == 2
    assert "nothing was changed: " in done.stderr
    assert "needs an index that tells upload times, as PEP 700 asks: name one in PIP_INDEX_URL" in done.stderr
    assert bench.content() == before


def test_what_is_compiled_against_torch_goes_into_each_flavour_in_its_own_build(bench: Bench) -> None:
    done = bench.make("add", "PKG=pictures")
    assert done.returncode == 0, done.stderr
    assert bench.pins(lock.SHARED) == ["pictures==1.0", "shared==1.0", f"uv=={UV}"]
    assert bench.pins(lock.GPU) == ["nvidia-thing==1.0", "torch===1.0", "torchvision===0.1"]
    assert [pin for pin in bench.pins(lock.CPU) if pin.startswith("torchvision")] == [
        "torchvision==0.1+cpu ; sys_platform == 'linux'",
        "torchvision===0.1 ; sys_platform == 'darwin'",
    ]
    said = done.stdout.splitlines()
    assert [line.split()[:3] for line in said[:-2]] == [
        ["+", "pictures==1.0", lock.SHARED],
        ["+", "torchvision==0.1+cpu", lock.CPU],
        ["+", "torchvision==0.1", lock.GPU],
    ]
    assert "MB" in said[-2]
    assert "make build" in said[-1]


@pytest.mark.skipif(sys.platform != "linux", reason="the CPU builds are for Linux")
def test_a_cpu_lock_of_two_packages_installs_by_hash_and_imports(bench: Bench) -> None:
    assert bench.make("add", "PKG=pictures").returncode == 0
    (bench.path / ".venv/bin").mkdir(parents=True)  # of an earlier state: the index has no real uv
    shutil.copy(Path(sys.executable).with_name("uv"), bench.path / ".venv/bin/uv")
    show = "import pictures, torch, torchvision; print(torch.__version__, torchvision.__version__)"
    done = run([*SCRIPT, "python", "-c", show], cwd=bench.path, variables=bench.variables)
    assert done.stdout == "1.0+cpu 0.1+cpu\n", done.stderr


def test_pure_python_that_needs_torch_goes_into_the_shared_lock_without_cuda(bench: Bench) -> None:
    before = bench.pins(lock.GPU), bench.pins(lock.CPU)
    assert bench.make("add", "PKG=pure").returncode == 0
    assert bench.pins(lock.SHARED) == ["pure==1.0", "shared==1.0", f"uv=={UV}"]
    assert (bench.pins(lock.GPU), bench.pins(lock.CPU)) == before


@pytest.mark.parametrize(
    ("package", "variables", "code", "words"),
    [
        (
            "pictures",
            {"TORCH_INDEX": NOWHERE},
            3,
            ["torchvision==0.1+cpu", "needed by pictures", NOWHERE, "TORCH_INDEX"],
        ),
        ("lonely", {}, 2, ["lonely==1.0+cpu", "0 Linux wheels"]),
        ("plain>=9", {}, 2, ["plain>=9"]),
        ("nosuch", {"PIP_INDEX_URL": NOWHERE}, 2, ["nothing was changed"]),
        (
            "git+https://me:hidden@host/x.git",  # pragma: allowlist secret
            {},
            2,
            ["has no hash"],
        ),
        ("name@https://host/x.whl", {}, 2, ["has no hash"]),
        ("./folder", {}, 2, ["has no hash"]),
        ("--index-url=http://x", {}, 2, ["not a package"]),
        ("$(touch made) `touch made`;touch made", {}, 2, ["not a package"]),
        ("", {}, 2, ["PKG is empty"]),
    ],
)
def test_what_cannot_be_added_gets_one_line_and_nothing_is_written(
    bench: Bench, package: str, variables: dict[str, str], code: int, words: list[str]
) -> None:
    before = bench.content()
    done = bench.make("add", f"PKG={package}", **variables)
    assert f"Error {code}" in done.stderr
    (line,) = [each for each in done.stderr.splitlines() if not each.startswith(("samebench:", "make:"))]
    assert [word for word in words if word not in line] == []
    assert "hidden" not in line
    assert bench.content() == before


def test_wheelhouse_gives_the_builds_for_the_cpu(bench: Bench, tmp_path: Path) -> None:
    indexes.publish(tmp_path / "wheels", "torchvision", "0.1+cpu", needs=("torch==1.0", "shared"), compiled=True)
    done = bench.make("add", "PKG=torchvision", TORCH_INDEX=NOWHERE, WHEELHOUSE=str(tmp_path / "wheels"))
    assert done.returncode == 0, done.stderr
    assert "torchvision==0.1+cpu ; sys_platform == 'linux'" in bench.pins(lock.CPU)


def test_bounds_extras_and_several_packages_are_added_as_they_are_given(bench: Bench) -> None:
    done = bench.make("add", "PKG=plain>=2,<3  withextra[more]")
    assert done.returncode == 0, done.stderr
    assert bench.dependencies() == ["plain>=2,<3", "shared", "torch==1.0", f"uv=={UV}", "withextra[more]"]
    assert "# a remark" in (bench.path / "pyproject.toml").read_text()
    assert {"plain==2.0", "withextra==1.0", "extra==1.0"} <= set(bench.pins(lock.SHARED))
    assert not (bench.path / "=2,").exists()


def test_what_is_added_and_removed_leaves_everything_as_it_was(bench: Bench) -> None:
    before = bench.content()
    assert bench.make("add", "PKG=plain pictures").returncode == 0
    done = bench.make("remove", "PKG=plain pictures")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0].startswith("- pictures==1.0")
    assert bench.content() == before


@pytest.mark.parametrize(("package", "words"), [("torch", "leave it in"), ("nosuch", "not in the dependencies")])
def test_what_cannot_be_removed_gets_one_line_and_nothing_is_written(bench: Bench, package: str, words: str) -> None:
    before = bench.content()
    done = bench.make("remove", f"PKG={package}")
    assert "Error 2" in done.stderr
    assert words in done.stderr
    assert bench.content() == before


def test_locks_that_cannot_be_installed_are_mended_by_make_lock(bench: Bench) -> None:
    good = bench.content()
    for name in (lock.CPU, lock.GPU, lock.VERSIONS):
        (bench.path / name).write_text("<<<<<<< HEAD\nno lock\n")
    with (bench.path / lock.SHARED).open("a") as shared:
        shared.write("nosuch==1.0 --hash=sha256:00\n")
    done = bench.make("lock")
    assert done.returncode == 0, done.stderr
    assert bench.content() == good
    assert not list(bench.path.glob(".venv*")), "no environment was made"


def test_make_lock_builds_no_image_of_the_locks(bench: Bench, tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    engine = 'case $1 in info) echo 28.5 ;; buildx) echo "$@" >>built ;; image) exit 1 ;; run) echo "$@" >>ran ;; esac'
    fake_engines(tmp_path / "bin", docker=engine)
    done = run(
        ["make", "lock"], cwd=bench.path, path=tmp_path / "bin", variables={**bench.variables, "RUNTIME": "docker"}
    )
    assert done.returncode == 0, done.stderr
    assert "--target system" in (bench.path / "built").read_text()
    assert (
        "samebench:system python3 -I src/samebench/host --inside python -m samebench.environment.lock"
        in (bench.path / "ran").read_text()
    )


def test_uv_is_put_beside_the_checkout_where_the_path_has_none(bench: Bench) -> None:
    (bench.path / ".venv/bin").mkdir(parents=True)  # of an older state of the locks, as far as it matters
    shutil.copy(Path(sys.executable).with_name("uv"), bench.path / ".venv/bin/uv")
    done = bench.make("lock", PATH="/usr/bin:/bin")
    assert done.returncode == 0, done.stderr
    (there,) = (bench.path / ".samebench").glob(f"uv-{UV}-*/uv")
    assert there.stat().st_mode & 0o111
