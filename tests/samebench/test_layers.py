"""What `make build CHECK=1` says of two images that should be one."""

import io
import tarfile
from pathlib import Path

import pytest

from samebench.core.command import UsageError
from samebench.shipping import image_layers


def exported(at: Path, *, mtime: int = 1, mode: int = 0o644, extra: str = "", content: bytes = b"as it was") -> Path:
    """An exported file system of a few files."""
    with tarfile.open(at, "w") as archive:
        for name in ["./usr/lib/a.py", "./usr/lib/b.py", ".dockerenv", "dev/console", *([extra] if extra else [])]:
            member = tarfile.TarInfo(name)
            member.size, member.mtime, member.mode = len(content), mtime, mode
            archive.addfile(member, io.BytesIO(content))
        link = tarfile.TarInfo("usr/lib/c.py")
        link.type, link.linkname = tarfile.SYMTYPE, extra or "a.py"
        archive.addfile(link)
    return at


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"mtime": 86400}, "usr/lib/a.py: time 1970-01-01 00:00:01, then 1970-01-02 00:00:00"),
        ({"mode": 0o600}, "usr/lib/a.py: mode 0o644, then 0o600"),
        ({"content": b"otherwise"}, "usr/lib/a.py: content "),
        ({"content": b"longer than it was"}, "usr/lib/a.py: size 9, then 18"),
        ({"extra": "usr/lib/d.py"}, "usr/lib/d.py: only in the second"),
        ({"extra": "usr/lib/d.py"}, "usr/lib/c.py: link a.py, then usr/lib/d.py"),
    ],
)
def test_what_differs_is_named_with_both_values(
    changes: dict[str, int], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = exported(tmp_path / "1.tar"), exported(tmp_path / "2.tar", **changes)  # type: ignore[arg-type]
    assert image_layers.main([str(first), str(second)]) == 1
    told = capsys.readouterr().out
    assert f"  {said}" in told
    assert "dev" not in told


def test_the_same_files_are_the_same(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert image_layers.main([str(exported(tmp_path / "1.tar")), str(exported(tmp_path / "2.tar"))]) == 0
    assert capsys.readouterr().out == ""


def test_of_many_the_first_are_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, mtime in (("1.tar", 1), ("2.tar", 2)):
        with tarfile.open(tmp_path / name, "w") as archive:
            for number in range(30):
                member = tarfile.TarInfo(f"{number:02}")
                member.mtime = mtime
                archive.addfile(member)
    image_layers.main([str(tmp_path / "1.tar"), str(tmp_path / "2.tar")])
    told = capsys.readouterr().out.splitlines()
    assert (len(told), told[-1]) == (image_layers.MAX_FILES + 1, "  and 10 more")


def test_no_archive_is_refused(tmp_path: Path) -> None:
    (tmp_path / "1.tar").write_text("no archive")
    with pytest.raises(UsageError, match="can't be read as an exported image"):
        image_layers.main([str(tmp_path / "1.tar"), str(tmp_path / "2.tar")])
