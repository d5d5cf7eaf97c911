"""Names and settings that strangers have written: nothing outside of a set's own folder is read, written or deleted."""

import hashlib
import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from samebench.core.command import RequirementError, UsageError
from samebench.data import dvc, listing, versions
from samebench.data.pointer import Pointer

from .hostile import CANARY, World, pointer, watched
from .team_checkouts import FIRST, NAME, SECOND, directory, forbid_dvc, with_dvc

__all__ = ["directory", "with_dvc"]  # fixtures

SHA = hashlib.sha256(CANARY).hexdigest()
HIDDEN = [".git/config", "a/.git/hooks/x", ".lock"]
OUTSIDE = [
    "../../GNUmakefile",
    "../other/a",
    "/etc/x",
    "a/../../../x",
    "C:/x",
    "a\\..\\b",
    "\uff0e\uff0e/x",
    "a\x1b[31m",
]


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.delenv("DATA_REMOTE", raising=False)
    return World(tmp_path / "outside")


# ---- listings ----


@pytest.mark.parametrize("name", [*OUTSIDE, *HIDDEN])
def test_a_name_that_leads_out_of_a_set_is_refused_by_its_line(
    name: str, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.publish({"good.txt": b"good\n", name: b"all:\n\techo ran\n"})
    before = world.snapshot()
    forbid_dvc(monkeypatch)
    with (
        watched() as paths,
        pytest.raises(UsageError, match=rf"data/{NAME}\.sha256, line 2: the file name .* is refused"),
    ):
        world.bring()
    assert world.snapshot() == before
    assert not world.touches(paths)
    assert not (world.root / f"data/{NAME}").exists()


def test_a_listing_of_another_branch_deletes_nothing_outside(world: World) -> None:
    world.publish({"a.txt": b"1\n"})
    victims = [world.outside / "victim.txt", world.root / "README.md", world.root / "data/other/a"]
    lines = "".join(f"{SHA}  {name}\n" for name in (victims[0], "../../README.md", "../other/a", "../../../victim.txt"))
    world.write((world.root / f"data/{NAME}.sha256").read_text() + lines, pointer("0" * 32 + ".dir"))
    world.commit()
    world.publish({"b.txt": b"2\n"})
    world.commit()
    world.member.write({"a.txt": b"1\n"})
    before = world.snapshot()
    assert world.bring()
    assert world.member.contents() == {"b.txt": b"2\n"}, "what only the other version has goes"
    assert world.snapshot() == before


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (["a", "a"], "stands there twice"),
        (["A.png", "a.png"], "only in its letters' form"),
        (["\u00e9", "e\u0301"], "only in its letters' form"),
        (["a/b", "a"], "is a file, and a folder in"),
    ],
)
def test_names_that_no_folder_can_have_together_are_refused(names: list[str], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        listing.parse("".join(f"{number:064x}  {name}\n" for number, name in enumerate(names)), where="data/x.sha256")


def test_a_listing_that_is_a_link_no_text_or_endless_is_refused(world: World) -> None:
    world.publish({"a": b"1"})
    path = world.root / f"data/{NAME}.sha256"
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(UsageError, match="not UTF-8"):
        world.bring()
    for target in ("../../victim.txt", "/dev/zero"):
        path.unlink()
        path.symlink_to(target)
        with pytest.raises(UsageError, match=r"a symbolic link, .*; remove it \(rm "):
            world.bring()


# ---- links ----


def test_links_are_refused_in_place_of_a_set_and_in_it_and_the_remedy_works(world: World) -> None:
    world.publish({"a/b.txt": b"through a link\n"})
    folder = world.root / f"data/{NAME}"
    places = {
        folder: "../..",
        folder / "a": "../../..",
        folder / "a/b.txt": "../../../README.md",
        folder / "x": "/dev/zero",
    }
    for place, target in places.items():
        shutil.rmtree(folder, ignore_errors=True)
        place.parent.mkdir(parents=True, exist_ok=True)
        place.symlink_to(target)
        before = world.snapshot()
        for verb in (world.bring, lambda: versions.add(NAME, root=world.root)):
            with watched() as paths, pytest.raises(UsageError, match="a symbolic link") as refused:
                verb()
            assert not world.touches(paths)
        assert world.snapshot() == before
        assert os.system(str(refused.value).split("(")[1].split(")")[0]) == 0  # noqa: S605 - the remedy, as it is printed
        assert not place.is_symlink()
    assert world.bring()
    assert (folder / "a/b.txt").read_bytes() == b"through a link\n"


def test_a_link_in_place_of_data_or_of_dvcs_folders_is_refused(world: World) -> None:
    world.publish({"a": b"1"})
    (world.outside / "elsewhere/dvc-x").mkdir(parents=True)
    (world.outside / "elsewhere/files").mkdir()
    for place in (".dvc/tmp", ".dvc/cache/files", ".dvc/cache", "data"):
        path = world.root / place
        if path.is_dir():
            shutil.copytree(path, aside := world.outside / place.replace("/", "-"))
            shutil.rmtree(path)
        path.symlink_to(world.outside / "elsewhere")
        before = world.snapshot()
        with pytest.raises(UsageError):
            world.bring() if place != "data" else versions.folder_of(NAME, root=world.root)
        assert world.snapshot() == before
        path.unlink()
        if place != ".dvc/tmp":
            shutil.copytree(aside, path)


# ---- pointers ----

KEYS = [
    "deps:\n- repo:\n    url: https://example.org/x\n  path: data\n",
    "frozen: true\n",
    "cmd: touch /tmp/x\n",
    "wdir: ../..\n",
]
FIELDS = ["cache: false", "push: false", "persist: true", "remote: evil", "isexec: true", "files: []", "cloud: {}"]


@pytest.mark.parametrize("extra", [*KEYS, *FIELDS])
def test_a_pointer_that_says_more_than_where_a_folder_is_is_refused_before_dvc(
    extra: str, world: World, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.publish({"a": b"1"})
    path = world.root / f"data/{NAME}.dvc"
    text = path.read_text()
    forbid_dvc(monkeypatch)
    changed = (
        [text + extra, extra + text]
        if extra in KEYS
        else [f"{text}  {extra}\n", text.replace("  size", f"  {extra}\n  size")]
    )
    for each in changed:
        path.write_text(each)
        for verb in (world.bring, lambda: versions.push(NAME, root=world.root)):
            with pytest.raises(
                UsageError, match=rf"^data/{NAME}\.dvc: .*{extra.partition(':')[0]}.* is refused: only outs: with"
            ):
                verb()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "outs: []\n",
        pointer("0" * 32),
        pointer("../../../etc/passwd.dir"),
        pointer("0" * 32 + ".dir", path="../other"),
        pointer("0" * 32 + ".dir", path=".."),
        pointer("0" * 32 + ".dir") + pointer("1" * 32 + ".dir").removeprefix("outs:\n"),
        pointer("0" * 32 + ".dir").replace("md5:", "md5: &a"),
        pointer("0" * 32 + ".dir").replace("hash: md5", "hash: sha256"),
        pointer("0" * 32 + ".dir").replace("\n", "\x85"),
    ],
)
def test_a_pointer_of_another_form_is_refused(text: str, world: World) -> None:
    world.publish({"a": b"1"})
    (world.root / f"data/{NAME}.dvc").write_text(text)
    if text:
        with pytest.raises(UsageError, match=rf"^data/{NAME}\.dvc: "):
            world.bring()
    else:
        with pytest.raises(RequirementError, match="not in the cache"):
            world.bring()


@pytest.mark.parametrize("name", ["shoes", "123", "null", "3d-shoes", "\u00c4pfel", "a.b_c"])
def test_a_pointer_reads_back_as_what_was_written(name: str) -> None:
    made = Pointer("0" * 32 + ".dir", 5, 2)
    assert Pointer.parse(made.text(name), name=name, where="") == made


# ---- lists of files in the cache and on a remote ----

TREES = [
    [{"md5": "0" * 32, "relpath": "../../x"}],
    [{"md5": "0" * 32, "relpath": "/etc/x"}],
    [{"md5": "../../../../../../victim.txt", "relpath": "a"}],
    [{"sha256": "../../../../../../victim.txt", "relpath": "a"}],
    [{"md5": "0" * 32, "relpath": "a"}, {"md5": "1" * 32, "relpath": "a"}],
    [{"md5": "0" * 32}],
    [1],
    {"a": "b"},
    [{"md5": None, "relpath": None}],
]


@pytest.mark.parametrize("tree", TREES, ids=str)
def test_a_list_of_files_with_a_name_that_leads_out_is_refused(tree: object, world: World) -> None:
    world.write(f"{SHA}  a\n", pointer(world.put(json.dumps(tree).encode(), ".dir")))
    before = world.snapshot()
    with watched() as paths, pytest.raises(UsageError):
        world.bring()
    assert world.snapshot() == before
    assert not world.touches(paths)


@pytest.mark.parametrize("key", ["md5", "sha256"])
def test_such_a_list_on_a_remote_makes_dvc_write_nothing_outside(
    key: str, world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, with_dvc: Path
) -> None:
    remote = tmp_path / "outside/a/b/c/remote"
    remote.mkdir(parents=True)
    monkeypatch.setenv("DATA_REMOTE", str(remote))
    # What DVC would read from c/written, as the object of that name, and write to the checkout's root.
    (remote.parent / "written").write_bytes(CANARY)
    entries = [
        {key: "abcd/../../../../../../written", "relpath": "a"},
        {"md5": world.put(CANARY, store=remote), "relpath": "b"},
    ]
    for place in (remote, world.cache):
        (place / "files/md5/ab/cd").mkdir(parents=True)
    world.write(f"{SHA}  a\n{SHA}  b\n", pointer(world.put(json.dumps(entries).encode(), ".dir", store=remote)))
    before = world.snapshot()
    with pytest.raises(UsageError, match="not a list of files"):
        world.bring()
    assert world.snapshot() == before


# ---- DVC's configuration ----


def configure(world: World, text: str, name: str = "config") -> None:
    (world.root / f".dvc/{name}").write_text(text)


def test_a_cache_outside_of_the_checkout_counts_from_this_machines_file_only(world: World) -> None:
    world.publish({"a": b"1"})
    for place in ("../../elsewhere", f"{world.outside}/sub", "../../checkout-too", "~", "../src", ".", ".."):
        configure(world, f"[cache]\n    dir = {place}\n    shared = group\n")
        before = world.snapshot()
        with pytest.raises(
            UsageError, match=r"^\.dvc/config: cache\.dir leads out of \.dvc/, .* name it in \.dvc/config"
        ):
            world.bring()
        assert world.snapshot() == before
    shutil.copytree(world.cache, world.outside / "cache")
    configure(world, f"[cache]\n    dir = {world.outside}/cache\n", "config.local")
    assert world.bring()
    world.member.git("add", "--force", ".dvc/config.local")
    shutil.rmtree(world.member.folder)
    with pytest.raises(UsageError, match=r"\.dvc/config\.local: is in git, .*; git rm --cached \.dvc/config\.local"):
        world.bring()


@pytest.mark.parametrize(
    "option", ["keyfile", "ask_password", "gdrive_client_secret", "type", "credentialpath", "version_aware"]
)
def test_an_option_of_a_remote_that_is_none_of_a_teams_is_refused_by_its_name(option: str, world: World) -> None:
    world.publish({"a": b"1"})
    configure(world, f"[core]\n remote = x\n['remote \"x\"']\n url = ssh://a@host/b\n {option} = /etc/passwd\n")
    with pytest.raises(UsageError, match=rf"^\.dvc/config: the option {option} of a remote is refused; "):
        world.bring()


@pytest.mark.parametrize("url", ["gdrive://x", "s3://x", "file:///etc", "remote://x/y", "ext::sh"])
def test_a_remote_of_another_kind_is_refused(url: str, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.publish({"a": b"1"})
    configure(world, f"[core]\n remote = x\n['remote \"x\"']\n url = {url}\n")
    forbid_dvc(monkeypatch)
    if "://" in url:
        with pytest.raises(UsageError, match="is refused as a remote; give a directory, or ssh://"):
            dvc.settings(world.root)
    else:
        assert dvc.settings(world.root).url == str(world.root / ".dvc" / url)


def test_no_value_adds_a_line_or_an_option_to_what_dvc_is_given(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for value in ('ssh://h/x"\nkeyfile = /etc/passwd', "ssh://h/x\nurl = y", "/a'b\"c", "/a\x1b[31m"):
        monkeypatch.setenv("DATA_REMOTE", value)
        with pytest.raises(UsageError, match="is refused: control characters, or both kinds of quotes"):
            dvc.settings(world.root)
    monkeypatch.setenv("DATA_REMOTE", '/it is "so"')
    settings = dvc.settings(world.root)
    with dvc.locked_workspace(world.root, settings) as work, dvc._repository(settings, work) as place:
        assert "url = '/it is \"so\"'\n" in (place / ".dvc/config").read_text()


# ---- names of sets ----


@pytest.mark.parametrize(
    "name", ["-x", "a b", "x;rm", "$(id)", "a\nb", "a\x1b[31m", "x" * 201, "a'b", 'a"b', "a\\b", "\ud800"]
)
def test_a_set_has_a_name_that_every_shell_and_file_system_can_have(name: str, world: World) -> None:
    for verb in (versions.add, versions.push, versions.load_version, versions.folder_of):
        with pytest.raises(UsageError, match=r"^DATASET=.*: refused; rename the set: letters, digits") as refused:
            verb(name, root=world.root)
        assert str(refused.value).isprintable()


def test_a_set_of_such_a_name_in_a_commit_is_refused_by_its_name(world: World) -> None:
    (world.root / "data/-x\n.sha256").write_text(f"{SHA}  a\n")
    world.member.git("add", "--all")
    world.member.git("commit", "--quiet", "--message", "names")
    assert versions.dataset_names_in("HEAD", root=world.root) == ["-x\n"]
    with pytest.raises(UsageError, match="refused; rename the set"):
        versions.load_version("-x\n", revision="HEAD", root=world.root)


@pytest.mark.parametrize("revision", ["--output=x", "-x", "a b", "HEAD\0", "a\x1b[31m", ""])
def test_a_revision_that_is_none_is_refused(revision: str, world: World) -> None:
    world.member.git("commit", "--quiet", "--allow-empty", "--message", "x")
    with pytest.raises(UsageError, match="no revision that git knows here") as refused:
        versions.dataset_names_in(revision, root=world.root)
    assert str(refused.value).isprintable()


# ---- what is in the folder ----


@pytest.mark.parametrize("name", ["new\nline.png", "back\\slash.png", "a\x1b[31m.png", b"\xff.png"])
def test_a_file_that_no_listing_can_name_is_named_and_nothing_is_recorded(name: str | bytes, world: World) -> None:
    world.member.write({"good": b"1"})
    (world.member.folder / os.fsdecode(name)).write_bytes(b"2")
    with pytest.raises(UsageError, match=rf"^data/{NAME}: the file name .*png.* is refused") as refused:
        versions.add(NAME, root=world.root)
    assert str(refused.value).isprintable()
    assert not (world.root / f"data/{NAME}.sha256").exists()


def test_a_folder_can_become_a_file_and_a_file_a_folder(world: World) -> None:
    world.member.record({"a": b"a file"})
    (world.member.folder / "a").unlink()
    (world.member.folder / "a").mkdir()
    second = world.member.record({"a/b": b"a file in a folder"})
    for commit, expected in (("HEAD~1", {"a": b"a file"}), (second, {"a/b": b"a file in a folder"})):
        world.member.git("checkout", "--quiet", commit)
        assert world.bring()
        for name, content in expected.items():
            assert (world.member.folder / name).read_bytes() == content


def test_work_in_the_way_of_a_version_is_never_lost(world: World) -> None:
    world.publish({"a/b": b"1", "c": b"2"})
    world.member.write({"a": b"an afternoon's work"})
    with pytest.raises(
        UsageError, match=rf"/a: expected sha256 .*, which no version has; mv .* && make data DATASET={NAME}"
    ):
        world.bring()
    assert world.member.contents() == {"a": b"an afternoon's work"}
    (world.member.folder / "a").unlink()
    (world.member.folder / "c").mkdir()
    world.member.write({"c/mine": b"an afternoon's work"})
    with pytest.raises(UsageError, match="/c/mine: expected sha256"):
        world.bring()
    (world.member.folder / "c/mine").unlink()
    os.mkfifo(world.member.folder / "c/pipe")
    with pytest.raises(UsageError, match="/c/pipe: no ordinary file"):
        world.bring()


# ---- git ----


def test_a_push_whose_git_does_not_answer_fails_and_says_so(
    world: World, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.member.record(FIRST)
    forbid_dvc(monkeypatch)
    gone = world.outside / "gone"
    (world.root / ".git").rename(gone)
    (world.root / ".git").write_text("gitdir: /not/there\n")
    with pytest.raises(RequirementError, match=r"git .* failed"):
        versions.push(NAME, root=world.root)
    world.member.write(SECOND)
    with pytest.raises(RequirementError, match=r"git .* failed"):
        world.bring()
    (world.root / ".git").unlink()
    gone.rename(world.root / ".git")
    monkeypatch.setenv("PATH", "/nowhere")
    for verb in (
        lambda: versions.push(NAME, root=world.root),
        lambda: versions.dataset_names_in("HEAD", root=world.root),
    ):
        with pytest.raises(RequirementError, match="git: not installed here"):
            verb()


def test_a_push_counts_what_it_has_carried_and_what_was_not_here(
    world: World, directory: Path, with_dvc: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    world.member.record(FIRST)
    world.member.record(SECOND)
    pushed = versions.push(NAME, root=world.root)
    assert (pushed.versions, pushed.objects, pushed.absent) == (2, 5, 0)
    assert len([path for path in directory.rglob("*") if path.is_file()]) == 5
    shutil.rmtree(world.cache)
    pushed = versions.push(NAME, root=world.root)
    assert (pushed.versions, pushed.objects, pushed.absent) == (1, 3, 1)
    monkeypatch = pytest.MonkeyPatch()
    with monkeypatch.context() as patch:
        patch.setattr(versions, "push", lambda _: pushed)
        versions.main(["push", NAME])
    assert capsys.readouterr().out == (
        f"data/{NAME}: on {directory}, 1 version, 3 objects; not 1 earlier version: not in this cache\n"
    )


def test_versions_of_a_branch_that_was_merged_go_along(world: World, directory: Path, with_dvc: Path) -> None:
    world.member.record(FIRST)
    world.member.git("switch", "--quiet", "--create", "side")
    world.member.record(SECOND)
    world.member.git("switch", "--quiet", "main")
    world.member.git("commit", "--quiet", "--allow-empty", "--message", "meanwhile")
    world.member.git("merge", "--quiet", "--strategy", "ours", "side")
    assert world.bring()
    assert versions.push(NAME, root=world.root).versions == 2


@pytest.mark.parametrize("name", [NAME, "123", "3d-shoes"])
def test_a_version_is_added_without_dvc_as_dvc_would_add_it(
    name: str, world: World, tmp_path: Path, with_dvc: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    contents = {"b.png": b"2", "a/\u00e9.png": b"1", "a.png": b"\r\n", "Z": b"", "a b": b"1"}
    for place in (world.root / "data", tmp_path / "plain"):
        for each, content in contents.items():
            (place / name / each).parent.mkdir(parents=True, exist_ok=True)
            (place / name / each).write_bytes(content)
    quiet = {"DVC_NO_ANALYTICS": "1", "DVC_SITE_CACHE_DIR": str(tmp_path / "site")}
    for words in (["init", "--no-scm", "--quiet"], ["add", "--quiet", name]):
        subprocess.run(
            [with_dvc, "-I", "-m", "dvc", *words], cwd=tmp_path / "plain", env=os.environ | quiet, check=True
        )
    forbid_dvc(monkeypatch)
    assert versions.add(name, root=world.root)
    plain, ours = tmp_path / f"plain/{name}.dvc", world.root / f"data/{name}.dvc"
    assert [line.replace("'", "") for line in ours.read_text().splitlines()] == [
        line.replace("'", "") for line in plain.read_text().splitlines()
    ]
    ours.write_text(plain.read_text())
    assert not versions.add(name, root=world.root), "whatever the quotes"
    kept = {path.relative_to(world.cache): path.read_bytes() for path in world.cache.rglob("*") if path.is_file()}
    cache = tmp_path / "plain/.dvc/cache"
    assert kept == {path.relative_to(cache): path.read_bytes() for path in cache.rglob("*") if path.is_file()}
