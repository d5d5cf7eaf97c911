"""Which files differ between two images, from what `docker export` or `podman export` writes of each.

python -m samebench.shipping.image_layers first.tar second.tar
"""

import hashlib
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path

from samebench.core import command
from samebench.core.command import UsageError

MAX_FILES = 20  # files; what made the first differ mostly made the others
OF_A_CONTAINER = {".dockerenv", "etc/hostname", "etc/hosts", "etc/mtab", "etc/resolv.conf", "run/.containerenv"}
AROUND_THEM = {"dev", "etc", "proc", "run", "sys"}  # and the time of these folders


def members(path: Path) -> dict[str, dict[str, str]]:
    """What an exported file system says of each file, by its name. Raises UsageError where it is none."""
    try:
        with tarfile.open(path) as archive:
            return {
                name: _facts(archive, member)
                for member in archive
                if (name := member.name.removeprefix("./").rstrip("/"))
                and name not in OF_A_CONTAINER
                and not name.startswith("dev/")
            }
    except (OSError, tarfile.TarError) as error:
        raise UsageError(f"{path}: can't be read as an exported image ({error}); export it anew") from error


def differences(first: Mapping[str, Mapping[str, str]], second: Mapping[str, Mapping[str, str]]) -> Iterator[str]:
    """A line for each fact of each file that differs."""
    for name in sorted(first.keys() | second.keys()):
        if name not in second or name not in first:
            yield f"{name}: only in the {'first' if name in first else 'second'}"
            continue
        for fact, value in first[name].items():
            if second[name].get(fact) != value:
                yield f"{name}: {fact} {value}, then {second[name].get(fact, 'none')}"


def main(argv: Sequence[str]) -> int:
    """The command line: 0 where they are the same, 1 where not, with the first files that differ."""
    if len(argv) != len(("first", "second")):
        raise UsageError("usage: python -m samebench.shipping.image_layers first.tar second.tar")
    first, second = (members(Path(name)) for name in argv)
    lines = list(differences(first, second))
    for line in islice(lines, MAX_FILES):
        print(f"  {line}")
    if len(lines) > MAX_FILES:
        print(f"  and {len(lines) - MAX_FILES} more")
    return command.NO if lines else command.DONE


def _facts(archive: tarfile.TarFile, member: tarfile.TarInfo) -> dict[str, str]:
    facts = {
        "type": member.type.decode(),
        "mode": oct(member.mode),
        "owner": f"{member.uid}:{member.gid}",
    }
    if member.name.rstrip("/") not in AROUND_THEM:
        facts["time"] = f"{datetime.fromtimestamp(member.mtime, UTC):%Y-%m-%d %H:%M:%S}"
    if member.linkname:
        facts["link"] = member.linkname
    if member.isreg() and (content := archive.extractfile(member)):
        digest = hashlib.file_digest(content, "sha256")  # type: ignore[arg-type] # it can do all that is asked of it
        facts |= {"size": f"{member.size}", "content": digest.hexdigest()[:12]}
    return facts


if __name__ == "__main__":
    command.run(main)
