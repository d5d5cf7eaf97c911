"""How runtime.sh builds, with fakes for the engine: what an image's bits and its name depend on."""

import re
from pathlib import Path

from .checkout import run
from .fakes import SCRIPT, checkout, fake_engines, programs

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
