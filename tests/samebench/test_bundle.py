"""How a bundle is made: the same each time, of nothing but the image, and by a key that stays where it is."""

import shutil
import tarfile
from pathlib import Path

import pytest

from samebench.core.command import UsageError
from samebench.shipping import sbom
from samebench.shipping.image_archive import PackedImage, repack

from . import bundles
from .checkout import copy_checkout, run
from .fakes import SCRIPT, write_program

FILES = "README.md SHA256SUMS SHA256SUMS.sig card.md image.tar receipt.json sbom.cdx.json verify.sh"


@pytest.fixture(scope="module")
def public(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sender's public key."""
    return bundles.make_key(tmp_path_factory.mktemp("keys"), "sender")


def test_the_same_image_and_run_make_the_same_bundle(public: Path, tmp_path: Path) -> None:
    made = [bundles.make(tmp_path / name, public) for name in ("once", "again")]
    once, again = ({path.name: path.read_bytes() for path in folder.iterdir()} for folder in made)
    assert once == again
    assert " ".join(sorted(once)) == FILES


def test_an_image_saved_in_another_order_at_another_time_gives_the_same_archive(tmp_path: Path) -> None:
    written = []
    for place, changes in enumerate([{}, {"mtime": 12345}, {"notes": True}]):
        bundles.saved(tmp_path / "saved.tar", **changes)  # type: ignore[arg-type]
        repack(tmp_path / "saved.tar", tmp_path / f"{place}.tar", "tiny:1")
        written.append((tmp_path / f"{place}.tar").read_bytes())
    assert written[0] == written[1] == written[2]
    with tarfile.open(tmp_path / "0.tar") as archive:
        assert {(each.mtime, each.uid, each.gid, each.uname) for each in archive} == {(0, 0, 0, "")}
        assert len(archive.getnames()) == len(set(archive.getnames()))


def test_a_blob_that_is_not_what_it_is_named_by_is_not_shipped(tmp_path: Path) -> None:
    bundles.saved(tmp_path / "saved.tar")
    content = (tmp_path / "saved.tar").read_bytes()
    (tmp_path / "saved.tar").write_bytes(content.replace(b"hello", b"jello"))
    with pytest.raises(UsageError, match=r"blob .* has sha256"):
        repack(tmp_path / "saved.tar", tmp_path / "image.tar", "tiny:1")


def test_the_list_of_contents_has_each_part_once_and_no_clock() -> None:
    told = sbom.document(bundles.INSIDE, PackedImage("amd64", "1" * 64, "2" * 64), "tiny", "1")
    assert [each["purl"] for each in told["components"] if "purl" in each] == [
        "pkg:deb/debian/dpkg@1:1.21?arch=amd64&distro=debian-12",
        "pkg:deb/debian/tar@1.34%2Bdfsg-1?arch=amd64&distro=debian-12",
        "pkg:pypi/some-wheel@1.0%2Bcpu",
    ]
    assert not {"serialNumber", "timestamp"} & {*told, *told["metadata"]}
    assert len({each["bom-ref"] for each in told["components"]}) == len(told["components"])


# ---- the key ----


ENGINE = 'case $1 in info) echo 26.1.5 ;; image) ;; run) echo "no artifact"; exit 7 ;; esac'


def ship(checkout: Path, programs: Path, *, engine: str = ENGINE, **variables: str) -> tuple[int, str]:
    """Code and last line of a ship that gets no further than its artifact."""
    programs.mkdir(exist_ok=True)
    write_program(programs / "docker", engine)
    write_program(programs / "podman", "exit 1")
    words = [*SCRIPT, "--ship", "true"]
    done = run(words, cwd=checkout, path=programs, variables=variables)
    return done.returncode, done.stderr.splitlines()[-1].removeprefix("samebench: ")


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    return copy_checkout(tmp_path / "my work")


def test_the_first_ship_makes_a_key_that_only_its_owner_reads(checkout: Path, tmp_path: Path) -> None:
    key = tmp_path / "a key.key"
    assert ship(checkout, tmp_path / "bin", KEY=str(key))[0] == 7, "the artifact's"
    assert key.stat().st_mode & 0o777 == 0o600
    made = key.read_text()
    assert ship(checkout, tmp_path / "bin", KEY="~/a key.key", HOME=str(tmp_path))[0] == 7
    assert "PRIVATE" in made
    assert "PUBLIC" in (tmp_path / "a key.pub").read_text()
    assert ship(checkout, tmp_path / "bin", KEY=str(key))[0] == 7
    assert key.read_text() == made
    assert [path for path in checkout.rglob("*") if path.is_file() and b"PRIVATE KEY" in path.read_bytes()] == []


def test_a_key_is_refused_where_it_could_get_out(checkout: Path, tmp_path: Path) -> None:
    (checkout / "keys").mkdir()
    (tmp_path / "shortcut").symlink_to(checkout / "keys")
    for place in (checkout / "samebench.key", checkout / "keys/a.key", tmp_path / "shortcut/a.key", Path("a.key")):
        code, said = ship(checkout, tmp_path / "bin", KEY=str(place))
        assert (code, f"in {checkout}, which goes into containers, an image or git" in said) == (2, True)
    for name in ("DATA", "RUN", "WHEELHOUSE"):
        code, said = ship(checkout, tmp_path / "bin", KEY=str(tmp_path / "a.key"), **{name: str(tmp_path)})
        assert (code, f"in {tmp_path}, which goes" in said) == (2, True)
    assert not (tmp_path / "a.key").exists()
    assert list(checkout.rglob("*.key")) == list(checkout.rglob("*.pub")) == []


def test_wrong_keys_are_refused(checkout: Path, tmp_path: Path, public: Path) -> None:
    def refused(key: Path | str, said: str) -> None:
        code, told = ship(checkout, tmp_path / "bin", KEY=str(key))
        assert (code, said in told) == (2, True), told

    keys = tmp_path / "keys"
    keys.mkdir()
    refused("", "signed with which key? Give KEY=/a/folder/outside/samebench.key; it is made the first time")
    refused(keys / "nowhere/a.key", "no folder")
    refused(keys, "a folder; give a file in it")
    (keys / "text.key").write_text("no key")
    refused(keys / "text.key", "others may read it; chmod 600 it")
    (keys / "text.key").chmod(0o600)
    refused(keys / "text.key", "not a private RSA key that openssl reads")
    (keys / "link.key").symlink_to(public.with_suffix(".key"))
    refused(keys / "link.key", "a link; give the file itself")
    shutil.copy(public.with_suffix(".key"), keys / "own.key")
    (keys / "own.pub").write_text("somebody else's")
    refused(keys / "own.key", "belongs to another key")
    assert (keys / "own.pub").read_text() == "somebody else's"


def test_without_an_engine_nothing_is_shipped(checkout: Path, tmp_path: Path) -> None:
    code, said = ship(checkout, tmp_path / "bin", KEY=str(tmp_path / "a.key"), RUNTIME="local")
    remedy = "leave RUNTIME out, or give docker or podman"
    assert (code, said) == (2, f"make ship: RUNTIME=local makes no images, and a bundle holds one; {remedy}")
    code, said = ship(checkout, tmp_path / "bin", engine="exit 1", KEY=str(tmp_path / "a.key"), RUNTIME="auto")
    assert (code, said) == (3, "make ship: no engine answers, and a bundle holds an image; install docker or podman")
    assert not (tmp_path / "a.key").exists()
    code, said = ship(checkout, tmp_path / "bin", KEY=str(tmp_path / "a.key"), SAMEBENCH="1")
    assert (code, "run it on the host" in said) == (3, True)
