"""`verify.sh`: what it refuses before anything is loaded. The engine is a fake that notes what it is asked."""

import json
import random
import re
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from samebench.core import files
from samebench.shipping import bundle

from . import bundles
from .checkout import ROOT, run
from .fakes import write_program

TAG = f"tiny:{bundle.version()}"
CHANGES: dict[str, Callable[[bytes], bytes]] = {
    "truncated": lambda content: content[:-1],
    "emptied": lambda _: b"",
    "appended to": lambda content: content + b"\n",
}


@pytest.fixture(scope="module")
def public(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sender's public key."""
    return bundles.make_key(tmp_path_factory.mktemp("keys"), "sender")


@pytest.fixture(scope="module")
def original(public: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return bundles.make(tmp_path_factory.mktemp("made") / "bundle", public)


@pytest.fixture
def folder(original: Path, tmp_path: Path) -> Path:
    """A copy of the bundle, to do harm to."""
    return Path(shutil.copytree(original, tmp_path / "a bundle"))


@pytest.fixture
def calls(original: Path, tmp_path: Path) -> Path:
    """What the engine was asked; it loads what is in the bundle."""
    return bundles.engine(tmp_path / "bin", says=bundles.identities(original)[0])


def check_refused(folder: Path, public: Path, calls: Path, said: str) -> None:
    """It ends with 1 and one line of plain text, and the engine has not been asked for anything."""
    done = bundles.verify(public, folder, path=calls.parent)
    assert (done.returncode, done.stdout) == (1, ""), done.stderr
    assert done.stderr[:-1].isascii()
    assert done.stderr[:-1].isprintable()
    assert done.stderr.startswith("refused: ")
    assert said in done.stderr
    assert done.stderr.count("\n") == 1
    assert "nothing is loaded, ask the sender for it anew" in done.stderr
    assert not calls.exists()


# ---- accepted ----


@pytest.mark.parametrize("which", [0, 1], ids=["by its config", "by its manifest"])
def test_the_untouched_one_is_loaded_whatever_the_engine_calls_it(
    folder: Path, public: Path, calls: Path, which: int
) -> None:
    bundles.engine(calls.parent, says=bundles.identities(folder)[which])
    for _ in range(3):
        calls.unlink(missing_ok=True)
        done = bundles.verify(public, folder, path=calls.parent)
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.startswith("ok: tiny:")
        assert f"config sha256:{bundles.identities(folder)[0]}" in done.stdout
        assert f"docker run --rm --network none --read-only --cap-drop ALL {TAG} verify" in done.stdout
        assert f"load --quiet --input {folder}/image.tar" in calls.read_text()


def test_its_own_verify_sh_checks_the_folder_it_lies_in(folder: Path, public: Path, calls: Path) -> None:
    done = run(["sh", "./verify.sh", public], cwd=folder, path=calls.parent, variables={"LOAD": "0"})
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.endswith("not loaded\n")
    assert not calls.exists()


def test_podman_loads_it_where_docker_does_not_answer(folder: Path, public: Path, calls: Path) -> None:
    bundles.engine(calls.parent, says=bundles.identities(folder)[0], name="podman")
    write_program(calls.parent / "docker", "exit 1")
    done = bundles.verify(public, folder, path=calls.parent)
    assert done.returncode == 0
    assert "podman has loaded it" in done.stdout


def test_what_was_loaded_and_is_another_is_removed_again(folder: Path, public: Path, calls: Path) -> None:
    bundles.engine(calls.parent, says="0" * 64)
    done = bundles.verify(public, folder, path=calls.parent)
    assert (done.returncode, done.stdout) == (1, "")
    assert f"docker has loaded {'0' * 64} as {TAG}, signed was" in done.stderr
    assert f"image rm --force {TAG}" in calls.read_text()
    assert not (calls.parent / "loaded").exists()


PAGES = ("README.md", "docs/shipping.md", "{bundle}/README.md")  # what tells a partner how to check a bundle


@pytest.mark.parametrize("page", PAGES)
def test_the_lines_that_a_page_prints_for_the_partner_work_in_the_bundles_folder(
    folder: Path, public: Path, calls: Path, page: str
) -> None:
    shutil.copy(public, folder.parent / "samebench.pub")
    text = (ROOT / page.format(bundle=folder)).read_text()
    blocks = "\n".join(re.findall(r"^```\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL))
    lines = re.findall(r"^(?:sh verify\.sh|openssl|sha256sum) .*", blocks, flags=re.MULTILINE)
    assert any(line.startswith("sh verify.sh") for line in lines)
    for line in lines:
        done = run(["sh", "-c", line], cwd=folder, path=calls.parent)
        assert done.returncode == 0, f"{line}: {done.stderr}"


# ---- refused ----


def test_a_flipped_byte_is_found_wherever_it_is(folder: Path, public: Path, calls: Path) -> None:
    for path in sorted(folder.iterdir()):
        content = path.read_bytes()
        for place in range(0, len(content), len(content) // 5 + 1):
            path.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
            check_refused(folder, public, calls, "SHA256SUMS" if path.name.startswith("SHA256SUMS") else path.name)
        path.write_bytes(content)
    assert bundles.verify(public, folder, variables={"LOAD": "0"}).returncode == 0


@pytest.mark.parametrize("change", CHANGES)
def test_a_file_of_another_length_is_found(folder: Path, public: Path, calls: Path, change: str) -> None:
    for path in sorted(folder.iterdir()):
        content = path.read_bytes()
        path.write_bytes(CHANGES[change](content))
        check_refused(folder, public, calls, "SHA256SUMS" if path.name.startswith("SHA256SUMS") else path.name)
        path.write_bytes(content)


def test_a_missing_file_is_found(folder: Path, public: Path, calls: Path) -> None:
    for path in sorted(folder.iterdir()):
        path.rename(folder.parent / "away")
        check_refused(folder, public, calls, f"{path.name}: missing, or not a plain file")
        (folder.parent / "away").rename(path)


@pytest.mark.parametrize("name", ["more", ".hidden", "two words", "README.md card.md", "-rf"])
def test_a_file_more_is_found(folder: Path, public: Path, calls: Path, name: str) -> None:
    (folder / name).write_text("more")
    check_refused(folder, public, calls, f"{name}: not in SHA256SUMS")


GREEN = "\x1b[2K\r\x1b[32mok: tiny, signed by"
HOSTILE = {
    GREEN: "?[2K??[32mok: tiny, signed by",
    f"{GREEN}\n": "?[2K??[32mok: tiny, signed by?",
    "more\nok: tiny:1": "more?ok: tiny:1",
    "\x9b2Kok": "??2Kok",
    "\u202egnp.kcart": "???gnp.kcart",
    ".*": ".*",
    "*": "*",
    "..more": "..more",
    "--help": "--help",
    "readme.md": "readme.md",
    "m" * 255: "m" * 255,
    "\\": "\\",
    "$(touch more)": "$(touch more)",
}


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize("kind", ["file", "folder", "link"])
def test_a_name_that_could_steer_a_terminal_or_a_shell_is_refused_and_cleaned(
    folder: Path, public: Path, calls: Path, name: str, kind: str
) -> None:
    path = folder / name
    if kind == "file":
        path.write_text("more")
    elif kind == "folder":
        path.mkdir()
    else:
        path.symlink_to("nowhere")
    check_refused(folder, public, calls, f"refused: {HOSTILE[name]}: not in SHA256SUMS")


@pytest.mark.parametrize("name", ["card.md", "CARD.md", "sha256sums"])
def test_a_name_that_is_listed_twice_is_refused_though_signed(
    folder: Path, public: Path, calls: Path, name: str
) -> None:
    if not (folder / name).exists():
        shutil.copy(folder / "card.md", folder / name)
    with (folder / "SHA256SUMS").open("a") as listed:
        listed.write(f"{files.digest(folder / name)}  {name}\n")
    bundles.sign(folder, public)
    check_refused(folder, public, calls, f"SHA256SUMS: has twice: {name}")


@pytest.mark.parametrize("line", [b"\0", b"\x1b[2K", b"\xff", b"\r\n"])
def test_a_list_with_other_than_plain_text_is_refused_though_signed(
    folder: Path, public: Path, calls: Path, line: bytes
) -> None:
    with (folder / "SHA256SUMS").open("ab") as listed:
        listed.write(line)
    bundles.sign(folder, public)
    check_refused(folder, public, calls, "SHA256SUMS: not plain text")


# ---- parts that don't belong together ----


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"run": "20261126-130000-abcd"}, "card.md: is of run 20261126-130000-abcd, and receipt.json says 20261126"),
        ({"run": GREEN}, "card.md: is of run not told, and receipt.json says 20261126-120000-abcd"),
        ({"weights": "3" * 64}, f"card.md: is of weights {'3' * 64}, and receipt.json says {'2' * 64}"),
        ({"data": "3" * 64}, f"card.md: is of data {'3' * 64}, and receipt.json says {'d' * 64}"),
        ({"model": "3" * 64}, f"card.md: is of the model {'3' * 64}, and receipt.json says {'0' * 64}"),
    ],
    ids=["run", "an escape", "weights", "data", "model"],
)
def test_a_card_of_another_run_is_refused_though_signed(
    folder: Path, public: Path, calls: Path, changes: dict[str, str], said: str
) -> None:
    (folder / "card.md").write_text(bundles.card(**changes))
    bundles.sums(folder, public)
    check_refused(folder, public, calls, said)


@pytest.mark.parametrize("content", ["{}", "[]", "", "\x1b[2K", '{"run": "a", "weights_sha256": "b"}'])
def test_a_receipt_that_says_nothing_is_refused_though_signed(
    folder: Path, public: Path, calls: Path, content: str
) -> None:
    (folder / "receipt.json").write_text(content)
    bundles.sums(folder, public)
    check_refused(folder, public, calls, "receipt.json: does not say which run, weights and data it is of")


def test_a_model_that_is_not_the_one_of_the_receipt_is_refused_though_signed(
    folder: Path, public: Path, calls: Path
) -> None:
    listed = folder / "sbom.cdx.json"
    listed.write_text(listed.read_text().replace("0" * 64, "4" * 64))
    bundles.sums(folder, public)
    check_refused(folder, public, calls, f"has the model {'4' * 64}, and receipt.json says {'0' * 64}")


def test_an_image_that_is_not_the_one_of_the_list_of_contents_is_refused_though_signed(
    folder: Path, public: Path, calls: Path, tmp_path: Path
) -> None:
    other = bundles.make(tmp_path / "other", public, text="another")
    shutil.copy(other / "image.tar", folder)
    bundles.sums(folder, public)
    check_refused(folder, public, calls, "sbom.cdx.json: of another image than image.tar, which has config")


def test_a_receipt_of_an_older_version_that_does_not_name_the_model_is_taken(
    folder: Path, public: Path, calls: Path
) -> None:
    told = {name: fact for name, fact in bundles.RECEIPT.items() if name != "artifact_sha256"}
    (folder / "receipt.json").write_text(json.dumps(told, indent=2))
    card = bundles.card().replace(f"- model: {'0' * 64}\n", "")
    (folder / "card.md").write_text(card)
    bundles.sums(folder, public)
    assert bundles.verify(public, folder, path=calls.parent, variables={"LOAD": "0"}).returncode == 0


@pytest.mark.soak
def test_two_hundred_hostile_bundles_are_refused_in_one_plain_line(
    original: Path, public: Path, calls: Path, tmp_path: Path
) -> None:
    numbers = random.Random(44)
    letters = "\x1b\r\n\t\a\b\x7f\x9b\u202e\u2066é*?[]$`'\"\\-. ~;|&<>(){}!#%aA0"
    for place in range(200):
        folder = Path(shutil.copytree(original, tmp_path / f"bundle {place}"))
        name = "".join(numbers.choice(letters) for _ in range(numbers.randint(1, 60)))
        if name in {".", ".."}:
            name = "..."
        if place % 2:
            (folder / name).write_text("more")
        else:
            with (folder / "SHA256SUMS").open("a") as listed:
                listed.write(f"{'0' * 64}  {name}\n")
            bundles.sign(folder, public)
        check_refused(folder, public, calls, "")
        shutil.rmtree(folder)


def test_a_folder_more_is_found(folder: Path, public: Path, calls: Path) -> None:
    (folder / "more").mkdir()
    check_refused(folder, public, calls, "more: not in SHA256SUMS")


def test_a_link_is_found_though_its_content_is_right(folder: Path, public: Path, calls: Path) -> None:
    for path in sorted(folder.iterdir()):
        away = folder.parent / "away"
        path.rename(away)
        path.symlink_to(away)
        check_refused(folder, public, calls, f"{path.name}: a link")
        path.unlink()
        away.rename(path)


def test_a_foreign_signature_is_refused(folder: Path, public: Path, calls: Path, tmp_path: Path) -> None:
    bundles.sums(folder, bundles.make_key(tmp_path, "foreign"))
    check_refused(folder, public, calls, f"SHA256SUMS.sig: not the signature of this SHA256SUMS by {public}")


def test_the_signature_of_another_bundle_is_refused(folder: Path, public: Path, calls: Path, tmp_path: Path) -> None:
    other = bundles.make(tmp_path / "other", public, text="another")
    shutil.copy(other / "SHA256SUMS.sig", folder)
    check_refused(folder, public, calls, "SHA256SUMS.sig: not the signature")


def test_a_layer_swapped_consistently_is_refused(folder: Path, public: Path, calls: Path, tmp_path: Path) -> None:
    other = bundles.make(tmp_path / "other", public, text="another")  # with its config and manifests to it
    shutil.copy(other / "image.tar", folder)
    check_refused(folder, public, calls, "image.tar: changed, its sha256 is")
    (folder / "SHA256SUMS.sig").rename(tmp_path / "signature")
    (folder / "SHA256SUMS").unlink()
    (folder / "SHA256SUMS").write_text(bundle.sums(folder))
    (tmp_path / "signature").rename(folder / "SHA256SUMS.sig")
    check_refused(folder, public, calls, "SHA256SUMS.sig: not the signature")


@pytest.mark.parametrize("name", ["../card.md", "/etc/passwd", "..", ".hidden", "-rf", "a b", ""])
def test_a_name_that_leaves_the_folder_is_refused_though_signed(
    folder: Path, public: Path, calls: Path, name: str
) -> None:
    shutil.copy(folder / "card.md", folder.parent / "card.md")
    with (folder / "SHA256SUMS").open("a") as listed:
        listed.write(f"{files.digest(folder / 'card.md')}  {name}\n")
    bundles.sign(folder, public)
    check_refused(folder, public, calls, "SHA256SUMS: a name that no bundle has")


def test_a_bundle_without_an_image_is_refused(folder: Path, public: Path, calls: Path) -> None:
    (folder / "image.tar").unlink()
    bundles.sums(folder, public)
    check_refused(folder, public, calls, "image.tar: not in SHA256SUMS")


# ---- what is in the archive ----


def tars() -> list[str]:
    """Programs that list archives: GNU's, and bsdtar and busybox where they are there."""
    return [name for name in ("tar", "bsdtar", "busybox") if shutil.which(name)]


def member(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    made = tarfile.TarInfo(name)
    made.type, made.linkname = kind, link
    return made


BLOB = f"blobs/sha256/{'a' * 64}"
MEMBERS = {
    "beside": member("more"),
    "above": member("../more"),
    "above, later": member(f"{BLOB}/../../../../more"),
    "absolute": member("/etc/more"),
    "absolute, of a blob's name": member(f"/{BLOB}"),
    "two names": member(f"more\n{BLOB}"),
    "a name with a space": member(f"more {BLOB}"),
    "a link": member(BLOB, tarfile.SYMTYPE, "/etc"),
    "a hard link": member(BLOB, tarfile.LNKTYPE, "index.json"),
    "a hard link out": member(BLOB, tarfile.LNKTYPE, "/etc/passwd"),
    "a character device": member(BLOB, tarfile.CHRTYPE),
    "a block device": member(BLOB, tarfile.BLKTYPE),
    "a pipe": member(BLOB, tarfile.FIFOTYPE),
    "a name that comes twice": member("manifest.json"),
    "a long name": member("more/" * 60),
}


@pytest.mark.parametrize("program", tars())
@pytest.mark.parametrize("kind", MEMBERS)
def test_a_member_that_no_image_has_is_refused_though_signed(
    folder: Path, public: Path, calls: Path, kind: str, program: str
) -> None:
    with tarfile.open(folder / "image.tar", "a") as archive:
        archive.addfile(MEMBERS[kind])
    bundles.sums(folder, public)
    if program != "tar":
        write_program(calls.parent / "tar", f'exec {program} {"tar" if program == "busybox" else ""} "$@"')
    check_refused(folder, public, calls, "image.tar: has ")


@pytest.mark.parametrize("content", [b"", b"no archive at all", b"\0" * 10240])
def test_what_is_no_archive_is_refused_though_signed(folder: Path, public: Path, calls: Path, content: bytes) -> None:
    (folder / "image.tar").write_bytes(content)
    bundles.sums(folder, public)
    check_refused(folder, public, calls, "image.tar: ")


# ---- wrong use ----


@pytest.mark.parametrize(
    ("words", "variables", "code", "said"),
    [
        ([], {}, 2, "usage: sh verify.sh KEY [FOLDER], with the sender's public key, which did not come in the bundle"),
        (["nowhere.pub"], {}, 2, "nowhere.pub: no such file; give the sender's public key"),
        (["sender.pub", "nowhere"], {}, 2, "nowhere: no such folder; give the bundle's"),
        (["sender.key", "bundle"], {}, 2, "sender.key: a private key; give the public one, and tell the sender"),
        (["bundle/card.md", "bundle"], {}, 2, "bundle/card.md: lies in the bundle, where it proves nothing"),
        (["card.md", "bundle"], {}, 2, "card.md: not a public RSA key in PEM; give the sender's"),
        (["sender.pub", "bundle"], {"LOAD": "no"}, 2, "LOAD=no: give 0 to check only, or leave it out"),
        (["sender.pub", "bundle"], {"RUNTIME": "local"}, 2, "RUNTIME=local: give docker or podman, or leave it out"),
        (["sender.pub", "bundle"], {}, 3, "the bundle is right, and no engine answers that could load it"),
    ],
)
def test_wrong_use_gets_one_line(
    folder: Path, public: Path, tmp_path: Path, words: list[str], variables: dict[str, str], code: int, said: str
) -> None:
    for name in ("docker", "podman"):
        (tmp_path / "bin").mkdir(exist_ok=True)
        write_program(tmp_path / "bin" / name, "exit 1")
    folder.rename(tmp_path / "bundle")
    for path in (public, public.with_suffix(".key"), tmp_path / "bundle/card.md"):
        shutil.copy(path, tmp_path)
    done = bundles.verify(*words, at=tmp_path, path=tmp_path / "bin", variables=variables)
    assert (done.returncode, done.stderr.count("\n")) == (code, 1)
    assert done.stderr.startswith(said)


def test_without_openssl_nothing_is_believed(folder: Path, public: Path, calls: Path) -> None:
    for name in ("sh", "dirname", "tar", "grep", "sha256sum", "cut", "tr"):
        (calls.parent / name).symlink_to(shutil.which(name) or "")
    done = bundles.verify(public, folder, variables={"PATH": str(calls.parent)})
    assert (done.returncode, done.stderr) == (3, "no openssl on this machine; install it\n")
    assert not calls.exists()
