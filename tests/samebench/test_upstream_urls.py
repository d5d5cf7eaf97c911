"""Data sets that come from where they were published."""

import hashlib
from pathlib import Path

import pytest

from samebench.core.command import UsageError
from samebench.data import download, upstream_urls, versions

from .team_checkouts import NAME, Member, init_checkout
from .test_download import CONTENT, SHA256, Source, source

__all__ = ["source"]  # fixtures


@pytest.fixture
def member(tmp_path: Path) -> Member:
    """A checkout that names a version of one file, without its bytes."""
    made = init_checkout(tmp_path / "checkout")
    made.folder.parent.mkdir()
    (made.root / f"data/{NAME}.sha256").write_text(f"{SHA256}  a file\n")
    return made


def publish(member: Member, *lines: str) -> None:
    (member.root / f"data/{NAME}.urls").write_text("".join(f"{line}\n" for line in lines))


def test_a_file_comes_from_the_first_address_that_has_it(member: Member, source: Source) -> None:
    source.faults = [404]
    publish(member, "# a comment", f"{source.address}/{{name}}", "", f"{source.address}/by-hash/{{sha256}}")
    assert member.bring() is True
    assert member.contents() == {"a file": CONTENT}
    assert source.asked == [None, None]
    assert member.bring() is False


def test_other_bytes_than_the_listing_says_are_refused(member: Member, source: Source) -> None:
    source.content = CONTENT[::-1]
    publish(member, f"{source.address}/{{name}}")
    with pytest.raises(UsageError, match=f"expected sha256 {SHA256}, got {hashlib.sha256(CONTENT[::-1]).hexdigest()}"):
        member.bring()
    assert not member.contents()


def test_the_name_and_the_hash_are_put_into_the_address(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    seen: list[str] = []
    monkeypatch.setattr(download, "fetch", lambda *_, sources, **__: seen.extend(sources))
    upstream_urls.fetch(["https://host/{sha256}/{name}"], tmp_path, {"a file?": SHA256})
    assert seen == [f"https://host/{SHA256}/a%20file%3F"]


@pytest.mark.parametrize(
    "line", ["file:///etc/passwd", "ftp://host/file", "data/file", "https://host/a b", "https://\x1b[2J"]
)
def test_a_line_that_is_no_address_is_refused(line: str, member: Member) -> None:
    publish(member, line)
    with pytest.raises(UsageError, match=f"data/{NAME}.urls: .* is no address") as refusal:
        member.bring()
    assert str(refusal.value).isprintable()


def test_without_addresses_nothing_is_published(member: Member) -> None:
    assert upstream_urls.read(NAME, root=member.root) == []
    assert versions.dataset_names(member.root) == [NAME]
