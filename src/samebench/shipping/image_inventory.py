"""What is inside an image, told by the image itself: `docker run --interactive IMAGE python - < inventory.py`.

One JSON object on stdout. Only the standard library: nothing of ours need be in there.
"""

import hashlib
import importlib.metadata
import json
import os
import platform
import subprocess
import sys
from pathlib import Path

FIELDS = ("name", "version", "architecture", "source", "source_version", "status")
FORMAT = "\\t".join(
    f"${{{each}}}"
    for each in ("Package", "Version", "Architecture", "source:Package", "source:Version", "db:Status-Status")
)
ELSEWHERE = {"/dev", "/proc", "/sys"}  # no part of an image


def packages() -> list[dict[str, str]]:
    """Debian's packages that are installed, by name."""
    words = ["dpkg-query", "--show", "--showformat", f"{FORMAT}\\n"]
    listed = subprocess.run(words, check=True, capture_output=True, text=True).stdout.splitlines()
    entries = [dict(zip(FIELDS, line.split("\t"), strict=True)) for line in listed]
    return [each for each in entries if each.pop("status") == "installed"]


def wheels() -> list[dict[str, str]]:
    """Python's packages anywhere in the image, whether or not its Python would import them."""
    homes = set()
    for folder, inner, _ in os.walk("/"):
        inner[:] = [each for each in inner if f"{folder.rstrip('/')}/{each}" not in ELSEWHERE]
        if any(each.endswith((".dist-info", ".egg-info")) for each in inner):
            homes.add(folder)
    names = {(each.name, each.version) for each in importlib.metadata.distributions(path=sorted(homes))}
    return [{"name": name, "version": version} for name, version in sorted(names)]


def artifact() -> list[dict[str, str]]:
    """The files of what is served."""
    paths = sorted(path for path in Path(os.environ["ARTIFACT"]).rglob("*") if path.is_file())
    return [{"path": str(path), "sha256": hashlib.sha256(path.read_bytes()).hexdigest()} for path in paths]


def main() -> None:
    """Tell it."""
    inventory = {
        "system": platform.freedesktop_os_release(),
        "packages": packages(),
        "wheels": wheels(),
        "artifact": artifact(),
    }
    json.dump(inventory, sys.stdout, indent=1, sort_keys=True)


if __name__ == "__main__":
    main()
