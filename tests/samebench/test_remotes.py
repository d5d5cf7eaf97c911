"""The team's remote and cache: damaged, full, out of reach; and set as plain DVC reads it."""

import os
import re
import subprocess
from pathlib import Path

import pytest

from samebench.core.command import RequirementError, UsageError
from samebench.data import dvc
from tests.samebench.disks import small_disk

from .team_checkouts import FIRST, NAME, Member, directory, flip, member, remote, ssh_server, with_dvc

__all__ = ["directory", "member", "remote", "with_dvc"]  # fixtures


@pytest.mark.parametrize(
    ("remote", "which"), [("a directory", "a file"), ("over SSH", "the list of the files")], indirect=["remote"]
)
def test_a_flipped_bit_on_the_remote_is_named_and_its_remedy_works(
    member: Member, remote: Path, tmp_path: Path, which: str
) -> None:
    member.record(FIRST)
    member.push()
    teammate = member.clone(tmp_path / "teammate")
    (damaged,) = [
        path
        for path in remote.rglob("*")
        if path.is_file()
        and (path.suffix == ".dir" if which != "a file" else path.stat().st_size == len(FIRST["images"]))
    ]
    flip(damaged)
    with pytest.raises(UsageError, match=rf"is damaged; delete {damaged.relative_to(remote)}") as refusal:
        teammate.bring()
    assert "\n" not in str(refusal.value)
    assert teammate.contents().keys() <= {"labels"}, "nothing damaged gets as far as the data"
    for named in re.findall("files/md5/[0-9a-f/]+(?:.dir)?", str(refusal.value)):
        (remote / named).unlink()
    member.push()
    assert teammate.bring()
    assert teammate.contents() == FIRST


def test_a_flipped_bit_in_the_cache_is_mended_from_the_remote(member: Member, directory: Path) -> None:
    member.record(FIRST)
    member.push()
    for path in member.objects():
        flip(path)
    for path in member.folder.iterdir():
        path.unlink()
    assert member.bring()
    assert member.contents() == FIRST


def test_a_remote_that_is_full_gets_one_line_and_is_whole_once_there_is_room(
    member: Member, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    big = {"images": os.urandom(300_000), "labels": b"few"}
    member.record(big)
    with small_disk(tmp_path, size=1 << 20) as disk:
        (disk.place / "remote").mkdir()
        monkeypatch.setenv("DATA_REMOTE", str(disk.place / "remote"))
        disk.fill(but=100_000)
        with pytest.raises(RequirementError, match="remote: No space left on device; see that") as lacking:
            member.push()
        assert "\n" not in str(lacking.value)
        with pytest.raises(RequirementError):
            member.clone(tmp_path / "too early").bring()
        (disk.place / "filler").unlink()
        member.push()
        teammate = member.clone(tmp_path / "teammate")
        teammate.bring()
        assert teammate.contents() == big


def test_a_directory_that_is_not_there_is_refused_and_never_made(
    member: Member, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    member.record(FIRST)
    monkeypatch.setenv("DATA_REMOTE", f"{tmp_path}/typo")
    with pytest.raises(UsageError, match=r"/typo: no such directory; make it first, or give ssh://user@host/path$"):
        member.push()
    assert not (tmp_path / "typo").exists()


@pytest.mark.parametrize("address", ["ssh://me@127.0.0.1:9/data", "ssh://me@no-such-host.invalid/data", "/proc"])
def test_a_remote_that_cannot_be_reached_gets_one_line(
    member: Member, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, address: str
) -> None:
    member.record(FIRST)
    teammate = member.clone(tmp_path / "teammate")
    monkeypatch.setenv("DATA_REMOTE", address)
    for action in (member.push, teammate.bring):
        with pytest.raises(RequirementError, match=f"^.*{address}[:;].*$"):
            action()
    assert teammate.contents() == {}


def test_a_host_whose_key_is_unknown_is_not_given_the_data(
    member: Member, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    member.record(FIRST)
    with ssh_server(tmp_path / "home") as address:
        monkeypatch.setenv("HOME", str(tmp_path / "home"))
        monkeypatch.setenv("DATA_REMOTE", address)
        (tmp_path / "home/.ssh/known_hosts").write_text("")
        with pytest.raises(RequirementError, match=r"[Hh]ost key"):
            member.push()
    assert not (tmp_path / "home/remote").exists()


def test_the_teams_remote_and_a_shared_cache_stand_in_the_checkout(
    member: Member, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DATA_REMOTE", raising=False)
    config = member.root / ".dvc/config"
    text = config.read_text().replace("# remote", "remote").replace("# ['", "['").replace("#     url", "    url")
    config.write_text(text.replace("ssh://data@host/srv/data", "../../team's remote"))
    member.record(FIRST)
    (tmp_path / "team's remote").mkdir()
    assert member.push() == str(tmp_path / "team's remote")
    teammate = member.clone(tmp_path / "teammate")
    (teammate.root / ".dvc/config.local").write_text(f"[cache]\n    dir = {tmp_path}/cache\n    shared = group\n")
    teammate.bring()
    assert teammate.contents() == FIRST
    assert (tmp_path / "cache/files").is_dir()
    assert not (teammate.root / ".dvc/cache").exists()


def test_a_directory_of_a_group_can_be_written_by_all_of_it_whatever_the_umask(member: Member, directory: Path) -> None:
    (member.root / ".dvc/config.local").write_text("[cache]\n    shared = group\n")
    member.record(FIRST)
    umask = os.umask(0o022)
    try:
        member.push()
    finally:
        os.umask(umask)
    folders = [path for path in directory.rglob("*") if path.is_dir()]
    assert {oct(path.stat().st_mode & 0o7777) for path in folders} == {"0o2775"}


@pytest.mark.parametrize(
    ("value", "url"),
    [
        ("/x  # ours", "/x"),
        ("/x# ours", "/x"),
        ("'/x # y'", "/x # y"),
        ('"/x # y"  # ours', "/x # y"),
        ("/it's", "/it's"),
        ("ssh://me@host/x", "ssh://me@host/x"),
    ],
)
def test_a_setting_is_read_as_plain_dvc_reads_it(value: str, url: str, tmp_path: Path, with_dvc: Path) -> None:
    (tmp_path / ".dvc").mkdir()
    config = tmp_path / ".dvc/config"
    config.write_text(f"[core]\n    remote = x\n['remote \"x\"']\n    url = {value}\n")
    assert dvc.settings(tmp_path).url == url
    program = "import sys; from configobj import ConfigObj; print(ConfigObj(sys.argv[1])['remote \"x\"']['url'])"
    done = subprocess.run([str(with_dvc), "-I", "-c", program, str(config)], capture_output=True, text=True)
    assert done.stdout == f"{url}\n", done.stderr


def test_plain_dvc_finds_the_same(member: Member, directory: Path, tmp_path: Path, with_dvc: Path) -> None:
    member.record(FIRST)
    member.push()
    teammate = member.clone(tmp_path / "teammate")
    (teammate.root / ".dvc/config.local").write_text(f"['remote \"x\"']\n    url = {directory}\n")
    quiet = {"DVC_NO_ANALYTICS": "1", "DVC_SITE_CACHE_DIR": str(tmp_path / "site")}
    words = [str(with_dvc), "-I", "-m", "dvc", "pull", "--remote", "x", f"data/{NAME}.dvc"]
    subprocess.run(words, cwd=teammate.root, env=os.environ | quiet, check=True, capture_output=True)
    assert teammate.contents() == FIRST
