"""The upstream of published data sets is the project's: the bench fetches from it what neither cache nor remote has."""

import hashlib
from collections.abc import Mapping
from pathlib import Path

import pytest

from samebench import project
from samebench.core.command import RequirementError
from samebench.data import fetch

from .team_checkouts import NAME, Member, init_checkout


@pytest.fixture
def member(tmp_path: Path) -> Member:
    """A checkout that names a version of which no byte is here."""
    member = init_checkout(tmp_path / "checkout")
    (member.root / "data").mkdir()
    (member.root / f"data/{NAME}.sha256").write_text(f"{hashlib.sha256(b'1').hexdigest()}  a\n")
    return member


def test_a_published_set_is_fetched_as_the_project_says(member: Member, monkeypatch: pytest.MonkeyPatch) -> None:
    def upstream(folder: Path, missing: Mapping[str, str]) -> None:
        for name in missing:
            (folder / name).write_bytes(b"1")

    monkeypatch.setattr(project, "upstream_fetchers", lambda: {NAME: upstream})
    assert fetch.fetch_dataset(NAME, root=member.root)
    assert member.contents() == {"a": b"1"}
    assert not fetch.fetch_dataset(NAME, root=member.root)


def test_a_project_without_published_data_has_the_cache_and_the_remote_alone(
    member: Member, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(project, "name", lambda: "prices")
    monkeypatch.setattr(project, "ROOT", tmp_path)
    assert project.upstream_fetchers() == {}
    with pytest.raises(RequirementError, match=r"not in the cache .*, and no remote is set; give DATA_REMOTE="):
        fetch.fetch_dataset(NAME, root=member.root)
