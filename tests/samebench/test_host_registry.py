"""The team's registry, with fakes for the engine: when an image is pulled, by which name, and when it is built."""

import re
from pathlib import Path

import pytest

from .checkout import run
from .fakes import SCRIPT, checkout, fake_engines, programs

__all__ = ["checkout", "programs"]  # fixtures

REGISTRY = "registry.example/team/bench"
DIGEST = "a" * 64

# Has no image until one is pulled, built or tagged; pulls what stands in `there`.
ENGINE = """
echo "$@" >>did
case $1 in
info) echo 26.1.5 ;;
image) case "$*" in *RepoDigests*) echo "%s@sha256:%s" ;; *) [ -e has ] && echo sha256:1 || exit 1 ;; esac ;;
pull) for last; do :; done; grep -qxF "$last" there 2>/dev/null && touch has ;;
buildx) [ "$2" = version ] || touch has ;;
esac
""" % (REGISTRY, DIGEST)  # noqa: UP031 - the braces are the shell's


@pytest.fixture
def team(checkout: Path, programs: Path) -> Path:
    """The checkout of a team with a registry."""
    pyproject = checkout / "pyproject.toml"
    heading = "[tool.samebench.image]\n"
    pyproject.write_text(pyproject.read_text().replace(heading, f'{heading}registry = "{REGISTRY}"\n'))
    fake_engines(programs, docker=ENGINE)
    return checkout


def tag_of(checkout: Path) -> str:
    return run([*SCRIPT, "--name"], cwd=checkout).stdout.strip().removeprefix("samebench:")


def did(checkout: Path, verb: str) -> list[str]:
    """What the engine was asked for by this verb."""
    lines = (checkout / "did").read_text().splitlines()
    return [line for line in lines if line.startswith(f"{verb} ")]


def test_an_image_of_these_inputs_is_pulled_by_its_tag_and_not_built(team: Path, programs: Path) -> None:
    tag = tag_of(team)
    (team / "there").write_text(f"{REGISTRY}:{tag}\n")
    done = run([*SCRIPT, "true"], cwd=team, path=programs)
    assert done.returncode == 0, done.stderr
    assert did(team, "tag") == [f"tag {REGISTRY}:{tag} samebench:{tag}", f"tag {REGISTRY}:{tag} samebench:cpu"]
    assert not did(team, "buildx")
    assert f"samebench:{tag}: docker/images.sha256 notes no digest of it" in done.stderr


def test_with_a_digest_in_git_it_is_pulled_by_that(team: Path, programs: Path) -> None:
    (team / "docker/images.sha256").write_text(f"{DIGEST}  {tag_of(team)}\n")
    (team / "there").write_text(f"{REGISTRY}@sha256:{DIGEST}\n")
    done = run([*SCRIPT, "true"], cwd=team, path=programs)
    assert done.returncode == 0, done.stderr
    assert did(team, "pull") == [f"pull --quiet {REGISTRY}@sha256:{DIGEST}"]
    assert not did(team, "buildx")


def test_where_the_registry_has_another_content_the_image_is_built(team: Path, programs: Path) -> None:
    tag = tag_of(team)
    (team / "docker/images.sha256").write_text(f"{'b' * 64}  {tag}\n")
    (team / "there").write_text(f"{REGISTRY}:{tag}\n{REGISTRY}@sha256:{DIGEST}\n")
    done = run([*SCRIPT, "true"], cwd=team, path=programs)
    assert done.returncode == 0, done.stderr
    assert did(team, "pull") == [f"pull --quiet {REGISTRY}@sha256:{'b' * 64}"]
    assert did(team, "buildx")
    assert f"{REGISTRY} has no image of these inputs, or does not answer" in done.stderr


def test_make_build_pulls_and_check_builds(team: Path, programs: Path) -> None:
    (team / "there").write_text(f"{REGISTRY}:{tag_of(team)}\n")
    assert run(["make", "build"], cwd=team, path=programs).returncode == 0
    assert not did(team, "buildx")
    assert run(["make", "build", "CHECK=1"], cwd=team, path=programs).returncode == 0
    assert len(did(team, "buildx build")) == 2


def test_without_a_registry_nothing_is_asked(checkout: Path, programs: Path) -> None:
    fake_engines(programs, docker=ENGINE)
    assert run([*SCRIPT, "true"], cwd=checkout, path=programs).returncode == 0
    assert not did(checkout, "pull")


def test_a_push_carries_the_image_and_notes_its_digest(team: Path, programs: Path) -> None:
    (team / "has").touch()
    tag = tag_of(team)
    (team / "docker/images.sha256").write_text(f"{'b' * 64}  cpu-000000000000\n")
    done = run(["make", "push"], cwd=team, path=programs)
    assert done.returncode == 0, done.stderr
    assert did(team, "push") == [f"push {REGISTRY}:{tag}"]
    noted = (team / "docker/images.sha256").read_text()
    assert sorted(noted.splitlines()) == sorted([f"{DIGEST}  {tag}", f"{'b' * 64}  cpu-000000000000"])
    assert done.stdout.startswith(f"{REGISTRY}@sha256:{DIGEST}: pushed; git add docker/images.sha256")


@pytest.mark.parametrize(
    ("to", "line"),
    [
        ("", "make push: to where? Give TO=registry.example/team/bench, or registry in [tool.samebench.image]"),
        ("bench", "TO=bench: no address of a repository; give one such as registry.example/team/bench"),
        ("-x/y", "TO=-x/y: no address of a repository; give one such as registry.example/team/bench"),
        ("https://a/b", "TO=https://a/b: no address of a repository; give one such as registry.example/team/bench"),
    ],
)
def test_what_is_no_registry_is_refused(checkout: Path, programs: Path, to: str, line: str) -> None:
    fake_engines(programs, docker=ENGINE)
    done = run(["make", "push", f"TO={to}"], cwd=checkout, path=programs)
    assert done.returncode == 2
    assert f"samebench: {line}\n" in done.stderr
    assert not did(checkout, "push")


def test_a_list_of_digests_that_is_none_is_refused(team: Path, programs: Path) -> None:
    (team / "docker/images.sha256").write_text("<<<<<<< ours\n")
    done = run([*SCRIPT, "true"], cwd=team, path=programs)
    assert done.returncode == 2
    assert re.search(r"^samebench: docker/images.sha256: <<<<<<< ours is no line of it", done.stderr, re.MULTILINE)
