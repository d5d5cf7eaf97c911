"""How the host builds, with fakes for the engine: what an image's bits and its name depend on."""

import re
from pathlib import Path

import pytest

from .checkout import run
from .fakes import SCRIPT, SERVER, checkout, fake_engines, programs

__all__ = ["checkout", "programs"]  # fixtures

BUILDER = """
case $1 in
info) echo 26.1.5 ;;
buildx) echo "$@" >>built ;;
image) [ -e built ] && echo sha256:1 || exit 1 ;;
run) printf '%s\\n' "$@" ;;
esac
"""


def dated(checkout: Path, moment: str) -> Path:
    """The checkout with locks of that moment."""
    pyproject = checkout / "pyproject.toml"
    pyproject.write_text(re.sub('exclude-newer = "[^"]*"', f'exclude-newer = "{moment}"', pyproject.read_text()))
    (checkout / "built").unlink(missing_ok=True)
    return checkout


def test_every_build_bears_the_moment_of_the_locks_with_git_or_without(checkout: Path, programs: Path) -> None:
    fake_engines(programs, docker=BUILDER)
    dated(checkout, "2001-09-09T01:46:40Z")
    done = run([*SCRIPT, "true"], cwd=checkout, path=programs, variables={"TZ": "Asia/Tokyo", "BASE_IMAGE": ""})
    assert done.returncode == 0, done.stderr
    assert " --build-arg SOURCE_DATE_EPOCH=1000000000 " in (checkout / "built").read_text()
    told = done.stdout.splitlines()
    assert "SAMEBENCH_BUILDER=docker 26.1.5" in told
    (base,) = re.findall(r"BASE_IMAGE:-(debian:.*@sha256:\w{64})}", (checkout / "docker/cpu.Dockerfile").read_text())
    assert f"SAMEBENCH_BASE={base}" in told


def test_another_base_is_told_by_name_and_digest(checkout: Path, programs: Path) -> None:
    fake_engines(programs, docker=BUILDER)
    done = run([*SCRIPT, "true"], cwd=checkout, path=programs, variables={"BASE_IMAGE": "ours"})
    assert "SAMEBENCH_BASE=ours sha256:1" in done.stdout.splitlines()


def test_another_moment_is_another_image(checkout: Path, programs: Path) -> None:
    fake_engines(programs, docker=BUILDER)
    moments = ("2001-09-09T01:46:40Z", "2001-09-09T01:46:41Z")
    said = [run([*SCRIPT, "true"], cwd=dated(checkout, each), path=programs).stderr for each in moments]
    names = [re.findall(r"building (\S+):", each) for each in said]
    assert names[0] != names[1]


HARD = "s3cr%27t'x"  # a quote, as it is and as an address writes it
ADDRESS = f"http://reader:{HARD}@127.0.0.1:9/simple"
PROXY = f"http://me:{'p4ss'}@proxy.example:3128"

# Reads the secret as the Dockerfile's step does, and says what a failed installation says.
INSTALLS = """
case $1 in
info) echo 28.5 ;;
buildx)
    echo "$@" >>words
    for word; do case $word in id=indexes,src=*) file=${word#*src=} ;; esac; done
    [ -n "${file:-}" ] || exit 0
    sh -euxc '. "$0"; env | grep ^PIP_INDEX >read; env | sed -n "s/^PIP.*=/no answer from /p"; exit 7' "$file"
    ;;
image) exit 1 ;;
esac
"""


def test_an_index_with_a_token_is_used_and_not_shown(checkout: Path, programs: Path) -> None:
    fake_engines(programs, docker=INSTALLS)
    variables = {"PIP_INDEX_URL": ADDRESS, "TORCH_INDEX": ADDRESS, "https_proxy": PROXY}
    done = run(["make", "build"], cwd=checkout, path=programs, variables=variables)
    assert done.returncode == 2, "the engine's refusal is ours"
    assert (checkout / "read").read_text() == f"PIP_INDEX_URL={ADDRESS}\n"
    assert "no answer from http://****@127.0.0.1:9/simple" in done.stderr
    words = (checkout / "words").read_text()
    for secret in ("s3cr", "p4ss"):
        assert secret not in done.stdout + done.stderr
        assert secret not in words, "seen by everybody who lists the processes"
    assert "--build-arg https_proxy " in words


def test_an_index_with_a_token_is_not_shown_when_the_local_environment_is_made(checkout: Path) -> None:
    (checkout / "src/samebench/environment/install.sh").write_text('echo "no answer from $PIP_INDEX_URL" >&2; exit 3\n')
    variables = {"RUNTIME": "local", "PIP_INDEX_URL": ADDRESS}
    done = run(["make", "shell"], cwd=checkout, variables=variables)
    assert "no answer from http://****@127.0.0.1:9/simple" in done.stderr
    assert "Error 3" in done.stderr
    assert "s3cr" not in done.stdout + done.stderr


def test_no_server_gets_the_address_of_an_index(checkout: Path, programs: Path) -> None:
    fake_engines(programs, docker=SERVER)
    done = run(["make", "notebook"], cwd=checkout, path=programs, variables={"PIP_INDEX_URL": ADDRESS})
    assert done.returncode == 0, done.stderr
    assert "PIP_INDEX_URL" not in (checkout / "asked").read_text()


def with_packages(checkout: Path, names: str) -> Path:
    """The checkout with this list of Debian packages."""
    pyproject = checkout / "pyproject.toml"
    text, count = re.subn(r"(?ms)^apt = \[.*?^\]$", lambda _: f"apt = {names}", pyproject.read_text())
    assert count == 1
    pyproject.write_text(text)
    (checkout / "built").unlink(missing_ok=True)
    return checkout


def test_debian_packages_of_pyproject_reach_the_build_and_the_images_name(checkout: Path, programs: Path) -> None:
    fake_engines(programs, docker=BUILDER)
    lists = {"[]": None, '["libgl1"]': "libgl1", "[ # both\n 'g++',\n \"libgl1\",\n]": "g++ libgl1"}
    images = set()
    for names, wanted in lists.items():
        done = run([*SCRIPT, "true"], cwd=with_packages(checkout, names), path=programs)
        built = (checkout / "built").read_text()
        assert (f"--build-arg DEBIAN_PACKAGES={wanted} " in built) == bool(wanted)
        assert wanted or "DEBIAN_PACKAGES" not in built
        images |= set(re.findall(r"building (\S+):", done.stderr))
    assert len(images) == len(lists)


@pytest.mark.parametrize(
    "names",
    ['["libgl1", "$(touch evil)"]', '["lib gl1"]', '["-o=x"]', '["Libgl1"]', '"libgl1"', "[libgl1]", '["x", , "y1"]'],
)
def test_what_is_no_name_of_a_debian_package_is_refused(checkout: Path, programs: Path, names: str) -> None:
    fake_engines(programs, docker=BUILDER)
    done = run([*SCRIPT, "true"], cwd=with_packages(checkout, names), path=programs)
    assert done.returncode == 2
    assert "pyproject.toml, [tool.samebench.image]: apt: " in done.stderr
    assert len(done.stderr.splitlines()) == 2, "which runtime it is, and what is wrong"
    assert not (checkout / "built").exists()
    assert not (checkout / "evil").exists()
