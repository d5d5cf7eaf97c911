"""Files and names that other people wrote stay inside of their folder, and print nothing but text."""

import os
import random
from pathlib import Path

import pytest

from samebench.core.command import UsageError
from samebench.core.text import printable
from samebench.core.untrusted import check_relative_path, parse_json, path_inside, read_bytes, read_json
from tests.commands import call

PARTS = [
    "..", ".", "", "/", "a", "b.png", "C:", "c:\\x", "\\", "\0", "\n", "\r", "\x1b[31m", "\u202e",
    "\uff0e\uff0e", "\uff0f", "\u2025",
    "x" * 256, "é", "e\u0301", "\ud800", " ", "-rf", "~", "$(id)", "data", "link", "con", "\u200b..", "..\u200b",
]  # fmt: skip


def test_no_name_leads_out_of_its_folder(tmp_path: Path) -> None:
    outside, folder = tmp_path / "outside", tmp_path / "folder"
    outside.mkdir()
    folder.mkdir()
    (folder / "link").symlink_to(outside)
    (folder / "data").mkdir()
    chance = random.Random(7)
    accepted = 0
    refusals: list[str] = []
    for _ in range(10_000):
        name = "/".join(chance.choices(PARTS, k=chance.randint(1, 4))) + chance.choice(["", "", chance.choice(PARTS)])
        try:
            path = path_inside(folder, name, where="a listing")
        except UsageError as refusal:
            refusals.append(str(refusal))
            continue
        accepted += 1
        assert Path(os.path.realpath(path)).is_relative_to(folder)
        assert path != folder
    assert 100 < accepted < 9_900
    assert all(map(str.isprintable, refusals))


@pytest.mark.parametrize(
    "name",
    ["../x", "a/../../x", "/etc/passwd", "C:/x", "c:x", "a\\b", "a\0b", "a\nb", "a//b", "./a", "a/", "",
     "\uff0e\uff0e/x",
     "y" * 300, "a/" * 3000 + "a", "\u202egnp.exe", "\ud800", None, 7, ["a"]],
)  # fmt: skip
def test_a_name_that_could_lead_out_or_deceive_is_refused(name: object) -> None:
    with pytest.raises(UsageError, match="refused"):
        check_relative_path(name, where="data/x.sha256, line 3")


@pytest.mark.parametrize("name", ["a", "a/b.png", "Äpfel/é.png", "..a", "a..b", "a b", "日本/靴.jpg", "-a", "~a"])
def test_an_ordinary_name_is_taken(name: str) -> None:
    assert check_relative_path(name, where="x") == name


def test_a_folder_that_is_a_link_is_refused(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "lnk").symlink_to(tmp_path / "real")
    with pytest.raises(UsageError, match="symbolic link"):
        path_inside(tmp_path / "lnk", "a", where="x")


def test_links_devices_and_large_files_are_not_read(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("{}")
    (tmp_path / "link").symlink_to(tmp_path / "secret")
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "large").write_bytes(b" " * 101)
    for name in ("link", "pipe", "large", "."):
        with pytest.raises(UsageError):
            read_bytes(tmp_path / name, max_bytes=100)
    assert read_json(tmp_path / "secret") == {}


@pytest.mark.parametrize("content", [b"", b"[1]", b"{", b"\xff", b'"a"', b"[" * 100_000, b'{"a":' + b"1" * 5000 + b"}"])
def test_what_is_no_json_object_is_refused_in_one_line(content: bytes) -> None:
    with pytest.raises(UsageError) as refused:
        parse_json(content, where="receipt.json")
    assert str(refused.value).isprintable()


def test_a_command_prints_no_escapes_whatever_it_was_given(tmp_path: Path) -> None:
    code = (
        "from samebench.core import command\n"
        "from samebench.core.command import UsageError\n"
        "def main(argv):\n"
        "    print('name: \\x1b[31mred\\x07 \\u202e \\ud800\\ttab')\n"
        "    raise UsageError('in \\x1b]0;title\\x07\\nok: signed')\n"
        "command.run(main)\n"
    )
    done = call("-c", code, at=tmp_path)
    assert done.returncode == 2
    assert done.stdout == "name: �[31mred� � �\ttab\n"
    assert done.stderr == "error: in �]0;title� ok: signed\n"


def test_a_long_text_is_cut() -> None:
    assert printable("abcdef", longest=4) == "abc…"
