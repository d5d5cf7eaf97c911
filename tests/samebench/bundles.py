"""Small bundles, made by our own code around a hand-made image and signed by the real openssl."""

import hashlib
import io
import json
import shutil
import subprocess
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from samebench.shipping import bundle
from samebench.shipping.image_archive import INDEX, MANIFEST
from tests.commands import lacking

from .checkout import ROOT, run
from .fakes import write_program

VERIFY = ROOT / "src/samebench/shipping/verify.sh"
INSIDE = {
    "system": {"ID": "debian", "VERSION_ID": "12"},
    "packages": [
        {"name": "tar", "version": "1.34+dfsg-1", "architecture": "amd64", "source": "tar", "source_version": "1.34"},
        {"name": "dpkg", "version": "1:1.21", "architecture": "amd64", "source": "dpkg", "source_version": "1:1.21"},
    ],
    "wheels": [{"name": "Some_Wheel", "version": "1.0+cpu"}],
    "artifact": [{"path": "/srv/artifact/model.onnx", "sha256": "0" * 64}],
}

RECEIPT = {
    "run": "20261126-120000-abcd",
    "data_version": "d" * 64,
    "init": {"run": "20261125-120000-abcd", "weights_sha256": "1" * 64},
    "weights_sha256": "2" * 64,
    "artifact_sha256": "0" * 64,
}

# An engine that notes in `calls` what it is asked, and says of what it has loaded that it is `id`.
ENGINE = """
cd "$(dirname "$0")"
echo "$@" >>calls
case "$1 $2" in
"image inspect") [ ! -e loaded ] || cat id ;;
"image rm") rm loaded ;;
"load "*) touch loaded ;;
esac
"""


def blob(content: bytes) -> tuple[str, bytes]:
    return hashlib.sha256(content).hexdigest(), content


def described(media: str, content: bytes) -> dict[str, Any]:
    return {"mediaType": media, "digest": f"sha256:{blob(content)[0]}", "size": len(content)}


def layer(text: str) -> bytes:
    """A layer of one file that says `text`."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        member = tarfile.TarInfo("file")
        member.size = len(text)
        archive.addfile(member, io.BytesIO(text.encode()))
    return packed.getvalue()


def saved(path: Path, *, text: str = "hello", mtime: int = 0, notes: bool = False) -> None:
    """What an engine saves of an image that has one layer twice; `notes` as buildx keeps them beside it."""
    content = layer(text)
    about = {"architecture": "amd64", "os": "linux", "config": {}}
    config = json.dumps(about | {"rootfs": {"type": "layers", "diff_ids": 2 * [f"sha256:{blob(content)[0]}"]}}).encode()
    parts = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": described("application/vnd.oci.image.config.v1+json", config),
        "layers": 2 * [described("application/vnd.oci.image.layer.v1.tar", content)],
    }
    manifest = json.dumps(parts).encode()
    files = dict([blob(content), blob(config), blob(manifest)])
    entries = [described(MANIFEST, manifest)]
    if notes:
        entries.append(described(MANIFEST, b"{}") | {"platform": {"architecture": "unknown", "os": "unknown"}})
        inner = json.dumps({"schemaVersion": 2, "mediaType": INDEX, "manifests": entries}).encode()
        files |= dict([blob(inner), blob(b"{}")])
        entries = [described(INDEX, inner)]
    index = json.dumps({"schemaVersion": 2, "mediaType": INDEX, "manifests": entries}).encode()
    named = {"index.json": index, **{f"blobs/sha256/{digest}": each for digest, each in files.items()}}
    write_archive(path, named if not mtime else dict(reversed(named.items())), mtime=mtime)


def write_archive(path: Path, contents: Mapping[str, bytes], *, mtime: int = 0) -> None:
    with tarfile.open(path, "w") as archive:
        for name, content in contents.items():
            member = tarfile.TarInfo(name)
            member.size, member.mtime = len(content), mtime
            archive.addfile(member, io.BytesIO(content))


def openssl(*words: str | Path) -> None:
    if not shutil.which("openssl"):
        lacking("no openssl here")
    subprocess.run(["openssl", *words], check=True, capture_output=True)


def make_key(folder: Path, name: str) -> Path:
    """The public part of a new key; the private one lies beside it."""
    private, public = folder / f"{name}.key", folder / f"{name}.pub"
    openssl("genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048", "-out", private)
    openssl("pkey", "-in", private, "-pubout", "-out", public)
    return public


def sign(folder: Path, public: Path) -> None:
    listed = folder / "SHA256SUMS"
    openssl("dgst", "-sha256", "-sign", public.with_suffix(".key"), "-out", folder / "SHA256SUMS.sig", listed)


def sums(folder: Path, public: Path) -> None:
    """List and sign what is in there anew, as only the sender can."""
    for name in ("SHA256SUMS", "SHA256SUMS.sig"):
        (folder / name).unlink(missing_ok=True)
    (folder / "SHA256SUMS").write_text(bundle.sums(folder))
    sign(folder, public)


def make(folder: Path, public: Path, *, text: str = "hello", name: str = "tiny") -> Path:
    """A signed bundle of an image of one layer in the new `folder`."""
    folder.mkdir()
    saved(folder / bundle.SAVED, text=text)
    (folder / bundle.INSIDE).write_text(json.dumps(INSIDE))
    (folder / bundle.RUN).write_text("docker run IMAGE\n")
    (folder / "card.md").write_text(card())
    (folder / "receipt.json").write_text(json.dumps(RECEIPT, indent=2) + "\n")
    bundle.make(folder, name, name)
    sign(folder, public)
    return folder


def card(**changes: str) -> str:
    """A card that goes with RECEIPT."""
    facts = {"run": "20261126-120000-abcd", "model": "0" * 64, "weights": "2" * 64, "data": "d" * 64} | changes
    lines = [f"- {name}: {facts[name]}\n" for name in ("model", "weights", "data")]
    return "".join([f"# A model, run {facts['run']}\n\n", *lines])


def identities(folder: Path) -> tuple[str, str]:
    """Config and manifest of a bundle's image, in hexadecimal."""
    with tarfile.open(folder / "image.tar") as archive:
        told = {name: json.load(archive.extractfile(name) or io.BytesIO()) for name in ("manifest.json", "index.json")}
    config = told["manifest.json"][0]["Config"].removeprefix("blobs/sha256/")
    return config, told["index.json"]["manifests"][0]["digest"].removeprefix("sha256:")


def engine(programs: Path, *, says: str, name: str = "docker") -> Path:
    """A fake engine in `programs` that says `says` of what it loads; where it notes what it is asked."""
    programs.mkdir(exist_ok=True)
    write_program(programs / name, ENGINE)
    (programs / "id").write_text(f"sha256:{says}\n")
    return programs / "calls"


def verify(
    *words: str | Path, path: Path | None = None, at: Path = ROOT, variables: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """What the checkout's verify.sh says to a partner."""
    return run(["sh", VERIFY, *words], cwd=at, path=path, variables=variables)
