"""Archives of images: what an engine has saved, written anew so that the same image gives the same bytes.

An archive is an OCI layout with Docker's older `manifest.json` beside it, which Docker's classic store asks for.
"""

import hashlib
import io
import json
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Self

from samebench.core.command import UsageError

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
CHUNK = 1 << 20


@dataclass(frozen=True)
class PackedImage:
    """What is in an archive: digests in hexadecimal."""

    architecture: str
    config: str
    manifest: str


class SavedArchive:
    """An archive that an engine has saved, read blob by blob; each is held against the digest that it is named by."""

    def __init__(self, archive: tarfile.TarFile, path: Path) -> None:
        """Read from `archive`, which lies at `path`."""
        self.archive, self.path = archive, path

    def __enter__(self) -> Self:
        """Itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the file."""
        self.archive.close()

    @classmethod
    def open(cls, path: Path) -> Self:
        """The archive at `path`. Raises UsageError where it is none."""
        try:
            return cls(tarfile.open(path), path)
        except tarfile.TarError as error:
            raise UsageError(f"{path}: not an archive ({error}); save the image again") from error

    def file(self, name: str) -> tuple[tarfile.TarInfo, BinaryIO]:
        """A member that is a plain file. Raises UsageError where there is none of that name."""
        try:
            member = self.archive.getmember(name)
        except KeyError:
            member = None
        content = self.archive.extractfile(member) if member and member.isreg() else None
        if member is None or content is None:
            raise UsageError(f"{self.path}: no {name} in it; save the image again")
        return member, content  # type: ignore[return-value]

    def blob(self, digest: str) -> tuple[int, BinaryIO]:
        """Size and content of what is named `digest`. Raises UsageError where it has another."""
        member, content = self.file(f"blobs/sha256/{digest}")
        hasher = hashlib.sha256()
        while chunk := content.read(CHUNK):
            hasher.update(chunk)
        if hasher.hexdigest() != digest:
            raise UsageError(f"{self.path}: blob {digest} has sha256 {hasher.hexdigest()}; save the image again")
        content.seek(0)
        return member.size, content

    def read_json(self, digest: str) -> dict[str, Any]:
        """The JSON object that is named `digest`."""
        return dict(json.load(self.blob(digest)[1]))

    def manifest(self) -> dict[str, Any]:
        """The entry of the one image in it. Raises UsageError where there are more or none."""
        listed = json.load(self.file("index.json")[1])["manifests"]
        while len(listed) == 1 and listed[0]["mediaType"] == INDEX:
            listed = self.read_json(_hex(listed[0]))["manifests"]
        # Beside an image, buildx may keep notes on how it was built, for a platform of their own.
        listed = [each for each in listed if each.get("platform", {}).get("architecture") != "unknown"]
        if len(listed) != 1 or listed[0]["mediaType"] != MANIFEST:
            kinds = ", ".join(each["mediaType"] for each in listed) or "nothing"
            raise UsageError(
                f"{self.path}: holds {kinds}, expected one {MANIFEST}; build the image with OCI media types"
            )
        return dict(listed[0])


def repack(saved: Path, to: Path, tag: str) -> PackedImage:
    """Write the one image in `saved` to `to`, named `tag`: only its own blobs, in order, and no clock, user or mode."""
    with SavedArchive.open(saved) as source:
        entry = source.manifest()
        manifest = source.read_json(_hex(entry))
        config, layers = _hex(manifest["config"]), [_hex(each) for each in manifest["layers"]]
        with tarfile.open(to, "w", format=tarfile.USTAR_FORMAT) as archive:
            for name, content in _heads(entry, config, layers, tag).items():
                _add(archive, name, len(content), io.BytesIO(content))
            for folder in ("blobs", "blobs/sha256"):
                _add(archive, folder)
            for digest in sorted({_hex(entry), config, *layers}):
                _add(archive, f"blobs/sha256/{digest}", *source.blob(digest))
        return PackedImage(str(source.read_json(config)["architecture"]), config, _hex(entry))


def _heads(entry: Mapping[str, Any], config: str, layers: Sequence[str], tag: str) -> dict[str, bytes]:
    names = {
        "io.containerd.image.name": f"docker.io/library/{tag}",
        "org.opencontainers.image.ref.name": tag.partition(":")[2],
    }
    entry_fields = {name: entry[name] for name in ("mediaType", "digest", "size")}
    index = {"schemaVersion": 2, "mediaType": INDEX, "manifests": [entry_fields | {"annotations": names}]}
    docker = {
        "Config": f"blobs/sha256/{config}",
        "RepoTags": [tag],
        "Layers": [f"blobs/sha256/{each}" for each in layers],
    }
    heads = {"oci-layout": {"imageLayoutVersion": "1.0.0"}, "index.json": index, "manifest.json": [docker]}
    return {name: json.dumps(content, separators=(",", ":")).encode() for name, content in heads.items()}


def _add(archive: tarfile.TarFile, name: str, size: int = 0, content: BinaryIO | None = None) -> None:
    member = tarfile.TarInfo(name)  # time, user and group are 0
    member.size = size
    member.type, member.mode = (tarfile.REGTYPE, 0o644) if content else (tarfile.DIRTYPE, 0o755)
    archive.addfile(member, content)


def _hex(descriptor: Mapping[str, Any]) -> str:
    return str(descriptor["digest"]).removeprefix("sha256:")
