"""What a partner gets of a server: its image as an archive, what is in it, and how to check it before it is loaded.

python -m samebench.shipping.bundle FOLDER NAME IMAGE    FOLDER holds what src/samebench/host/ship.py has put there

Prints the bundle's name. The same image and run give the same files, to the byte; the signature is host/ship.py's.
"""

import json
import os
import shutil
import tomllib
from collections.abc import Sequence
from pathlib import Path

from samebench.core import command, files
from samebench.core.command import UsageError
from samebench.core.paths import ROOT
from samebench.shipping.image_archive import repack
from samebench.shipping.sbom import document

SAVED, INSIDE, RUN = "saved.tar", "inside.json", "run.md"  # what host/ship.py brings and no partner gets


def version() -> str:
    """Ours, as pyproject.toml says it."""
    return str(tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"])


def make(folder: Path, name: str, image: str) -> str:
    """Turn what host/ship.py has put into `folder` into the bundle's files; its name, with version and architecture."""
    tag = f"{image}:{version()}"
    packed = repack(folder / SAVED, folder / "image.tar", tag)
    inside = json.loads((folder / INSIDE).read_bytes())
    sbom_text = json.dumps(document(inside, packed, image, version()), indent=1, sort_keys=True)
    files.write(folder / "sbom.cdx.json", f"{sbom_text}\n".encode())
    readme = (
        Path(__file__)
        .with_name("bundle.md")
        .read_text()
        .format(
            title=f"{name} {version()}",
            platform=f"linux/{packed.architecture}",
            tag=tag,
            config=packed.config,
            base=os.environ.get("SAMEBENCH_BASE") or "a base that nobody told",
            builder=os.environ.get("SAMEBENCH_BUILDER") or "an engine that nobody told",
            packages=len(inside["packages"]),
            wheels=len(inside["wheels"]),
            run=(folder / RUN).read_text().replace("IMAGE", tag),
        )
    )
    files.write(folder / "README.md", readme.encode())
    shutil.copyfile(Path(__file__).with_name("verify.sh"), folder / "verify.sh")
    for each in (SAVED, INSIDE, RUN):
        (folder / each).unlink()
    files.write(folder / "SHA256SUMS", sums(folder).encode())
    return f"{name}-{version()}-{packed.architecture}"


def sums(folder: Path) -> str:
    """The line of each file, as sha256sum writes it."""
    return "".join(f"{files.digest(path)}  {path.name}\n" for path in sorted(folder.iterdir()))


def main(argv: Sequence[str]) -> int:
    """The command line."""
    if len(argv) != 3:
        raise UsageError("usage: python -m samebench.shipping.bundle FOLDER NAME IMAGE; make ship calls it")
    print(make(Path(argv[0]), argv[1], argv[2]))
    return command.DONE


if __name__ == "__main__":
    command.run(main)
