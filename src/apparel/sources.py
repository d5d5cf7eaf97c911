"""Where Fashion-MNIST is published: its authors' server, and Debian's package."""

import tempfile
from collections.abc import Mapping
from pathlib import Path

from samebench.core.command import UsageError
from samebench.data import debian_package, download

NAME = "fashion-mnist"
AUTHORS = "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com"
PACKAGE = "dataset-fashion-mnist"
LARGEST = 16 + 60_000 * 28 * 28  # bytes of the largest of the four files: the training images
# What these two have; a team's later version has other bytes.
PUBLISHED = {
    "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",  # pragma: allowlist secret
    "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",  # pragma: allowlist secret
    "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",  # pragma: allowlist secret
    "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",  # pragma: allowlist secret
}


def fetch_published(folder: Path, missing: Mapping[str, str]) -> None:
    """Fetch what the authors or Debian have of these files into a folder: none of a version that was not published."""
    published = {name: sha256 for name, sha256 in missing.items() if sha256 in PUBLISHED}
    try:
        for name, sha256 in published.items():
            download.fetch(folder / name, sha256=sha256, sources=[f"{AUTHORS}/{name}.gz"], max_bytes=LARGEST)
    except (download.UnreachableError, UsageError) as reason:
        print(f"{reason}\ntaking Debian's package {PACKAGE} instead", flush=True)
        _from_debian(folder, {name: sha256 for name, sha256 in published.items() if not (folder / name).exists()})


def _from_debian(folder: Path, missing: Mapping[str, str]) -> None:
    with tempfile.TemporaryDirectory(prefix="samebench-") as temporary:
        root = debian_package.extract(PACKAGE, into=Path(temporary))
        for name, sha256 in missing.items():
            packed = next(root.rglob(f"{name}.gz"), root / f"{name}.gz")
            download.fetch(folder / name, sha256=sha256, sources=[packed.as_uri()], max_bytes=LARGEST)


UPSTREAM = {NAME: fetch_published}
