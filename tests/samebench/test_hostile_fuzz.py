"""Generated listings, pointers, lists of files, settings and receipts: each refused in one line or harmless."""

import hashlib
import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from samebench.core.command import RequirementError, UsageError
from samebench.data import dvc, versions
from samebench.data.source import Source

from .hostile import World, pointer, watched
from .team_checkouts import NAME, forbid_dvc

PARTS = [
    "a", "b.png", "data", "link", "..", ".", "", "/", "\\", "C:", "\0", "\n", "\r", "\t", "\x1b[31m", "\u202e",
    "\u2028",
    "\uff0e\uff0e", "\uff0f", "\u2025", "\u200b", "x" * 256, "y" * 5000, "\u00e9", "e\u0301", "\ud800", " ", "-rf",
    "~", "$(id)", ".git", "README.md", "victim.txt", "other", "*", "'", '"', "#", "con", "A", "\x85", "..\u200b", "&x",
]  # fmt: skip
CONTENT = b"what a stranger's set has\n"


def name(chance: random.Random, world: World) -> str:
    if chance.random() < 0.2:
        return chance.choice([str(world.outside / "victim.txt"), "../../README.md", "../other/a", "link/victim.txt"])
    if chance.random() < 0.4:
        return chance.choice(["good", "folder/good.png", "\u00c4pfel/1.png"])
    return "/".join(chance.choices(PARTS, k=chance.randint(1, 5)))


def spoiled(chance: random.Random, text: str) -> str:
    """`text` with some of it taken out, put in twice, or in place of other parts."""
    for _ in range(chance.choice([0, 1, 1, 2, 4])):
        at, end = sorted(chance.choices(range(len(text) + 1), k=2))
        end = min(end, at + 40)
        text = text[:at] + chance.choice(["", text[at:end] * 2, *PARTS]) + text[end:]
    return text


def a_listing(chance: random.Random, world: World) -> None:
    names = [name(chance, world) for _ in range(chance.randint(1, 4))]
    world.publish(dict.fromkeys(names, CONTENT))
    path = world.root / f"data/{NAME}.sha256"
    path.write_bytes(spoiled(chance, path.read_text(errors="surrogateescape")).encode("utf-8", "replace"))


def a_pointer(chance: random.Random, world: World) -> None:
    world.publish({"good": CONTENT})
    extra = [
        "deps:\n- repo:\n    url: https://example.org\n",
        "frozen: true\n",
        "  remote: x\n",
        "- md5: x\n",
        "  cache: false\n",
    ]
    path = world.root / f"data/{NAME}.dvc"
    path.write_bytes((spoiled(chance, path.read_text()) + chance.choice(["", *extra])).encode("utf-8", "replace"))


def a_list_of_files(chance: random.Random, world: World) -> None:
    md5 = world.put(CONTENT)
    values = [md5, "../../../../victim.txt", "", None, 7, [md5], md5 + ".dir", "0" * 32]
    entries: list[object] = [
        {"md5": chance.choice([md5, md5, *values]), "relpath": chance.choice([name(chance, world), "good"])}
        for _ in range(3)
    ]
    entries += chance.choice([[], [], [None], [[]], [{}], [1e999]])
    text = spoiled(chance, json.dumps(entries)) if chance.random() < 0.3 else json.dumps(entries)
    tree = world.put(text.encode("utf-8", "replace"), ".dir")
    names = [
        "good",
        "folder/x",
        *(entry["relpath"] for entry in entries if isinstance(entry, dict) and "relpath" in entry),
    ]
    world.write(f"{hashlib.sha256(CONTENT).hexdigest()}  {chance.choice(names)}\n", pointer(tree))


def settings(chance: random.Random, world: World) -> None:
    world.publish({"good": CONTENT})
    places = [
        "cache",
        "../../elsewhere",
        str(world.outside / "sub"),
        "~",
        "~nobody",
        "a\x1b[31m",
        "../src",
        "../data/link",
        "\0",
    ]
    options = [
        "keyfile = x",
        "ask_password = true",
        "type = symlink",
        "user = a",
        'url = x"y',
        "password = z",
        "cmd = id",
    ]
    url = chance.choice(["ssh://h/x", "gdrive://x", "s3://x", "../remote", "/nowhere", "ext::id", "'x", ""])
    text = (
        f"[core]\n remote = r\n[cache]\n dir = {chance.choice(places)}\n shared = group\n"
        f"['remote \"r\"']\n url = {url}\n {chance.choice(options)}\n"
    )
    (world.root / ".dvc/config").write_bytes(spoiled(chance, text).encode("utf-8", "replace"))


def a_receipt(chance: random.Random, world: World) -> None:
    world.publish({"good": CONTENT})
    data = chance.choice([name(chance, world), *PARTS])
    values: list[object] = [None, 7, [], "x" * 64, {"a": 1}]
    source = Source.of(data)
    listings: object = chance.choice(
        [None, [], "x", {f"data/{data}.sha256": chance.choice(values)}, {name(chance, world): values}]
    )
    source.matches_checkout({"listings": listings})
    source.is_known()
    source.listed()


def links(chance: random.Random, world: World) -> None:
    world.publish({"folder/good": CONTENT, "good": CONTENT})
    place = world.member.folder / chance.choice([".", "folder", "folder/good", "good", "good.part", "deep/x/link"])
    place.parent.mkdir(parents=True, exist_ok=True)
    if place != world.member.folder:
        world.member.folder.mkdir(exist_ok=True)
    place.symlink_to(
        chance.choice(["../..", "../../..", str(world.outside), "../../README.md", "/dev/zero", "loop", "/nowhere"])
    )


KINDS: list[Callable[[random.Random, World], None]] = [
    a_listing,
    a_pointer,
    a_list_of_files,
    settings,
    a_receipt,
    links,
]


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.delenv("DATA_REMOTE", raising=False)
    forbid_dvc(monkeypatch)
    world = World(tmp_path / "outside")
    world.member.git("commit", "--quiet", "--allow-empty", "--message", "begin")
    return world


def outcome(world: World, kind: Callable[[random.Random, World], None], chance: random.Random) -> str:
    """How a case of this kind ends; anything but one clean line is raised."""
    try:
        kind(chance, world)
        if kind is links and chance.random() < 0.3:
            versions.add(NAME, root=world.root)
        else:
            world.bring()
    except (UsageError, RequirementError) as reason:
        if str(reason).isprintable():
            return type(reason).__name__
        raise
    except AssertionError as reason:
        if "DVC was asked" not in str(reason):  # which would go to the remote, by a pointer and settings of ours
            raise
    return "done"


def attack(world: World, count: int, seed: int) -> dict[str, int]:
    """So many cases of each kind; how they ended. Each leaves the canaries alone, unread too."""
    ended = dict.fromkeys(("done", "UsageError", "RequirementError"), 0)
    clean, config = world.snapshot(), (world.root / ".dvc/config").read_bytes()
    chance = random.Random(seed)
    for number in range(count):
        for kind in KINDS:
            with watched() as paths:
                ended[outcome(world, kind, chance)] += 1
            assert not world.touches(paths), (kind, seed, number)
            for leftover in (world.member.folder, world.cache):
                if leftover.is_symlink():
                    leftover.unlink()
                shutil.rmtree(leftover, ignore_errors=True)
            (world.root / ".dvc/config").write_bytes(config)
        if number % 20 == 0 or number == count - 1:
            assert world.snapshot() == clean, (seed, number)
    return ended


def test_nothing_generated_reads_writes_or_deletes_outside(world: World) -> None:
    ended = attack(world, 60, seed=1)
    assert ended["done"] > 30
    assert ended["UsageError"] > 90


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_nothing_of_ten_thousand_generated_cases_reads_writes_or_deletes_outside(world: World) -> None:
    ended = attack(world, 1_667, seed=2)
    assert sum(ended.values()) == 10_002
    assert ended["done"] > 500


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_five_hundred_listings_of_other_branches_read_write_or_delete_nothing_outside(world: World) -> None:
    clean, chance = world.snapshot(), random.Random(3)
    for number in range(500):
        a_listing(chance, world)
        world.commit()
        if number % 10:
            continue
        world.publish({"mine": CONTENT})
        world.member.write({"theirs": CONTENT})
        with watched() as paths:
            world.bring()
        assert not world.touches(paths)
        assert world.snapshot() == clean
        assert set(world.member.contents()) == {"mine", "theirs"}
    assert dvc.settings(world.root).cache == world.cache
