"""Small file systems that can be filled up."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest


@dataclass(frozen=True)
class Disk:
    """A file system of our own at `place`."""

    place: Path

    def fill(self, *, but: int = 0) -> None:
        """Take all room, or all but so many bytes (in whole pages of 4096)."""
        filler = self.place / "filler"
        filler.unlink(missing_ok=True)
        handle = os.open(filler, os.O_WRONLY | os.O_CREAT)
        with suppress(OSError):
            while True:
                os.write(handle, bytes(4096))
        os.ftruncate(handle, max(0, os.fstat(handle).st_size - but // 4096 * 4096))
        os.close(handle)


@contextmanager
def btrfs_disk(home: Path, *, size: int) -> Iterator[Disk]:
    """A btrfs of `size` bytes, on which files can share blocks; skips where we may not mount one."""
    image, place = home / "btrfs.img", home / "btrfs"
    if os.geteuid() != 0 or not shutil.which("mkfs.btrfs"):
        pytest.skip("making a btrfs takes root and mkfs.btrfs")
    place.mkdir()
    with image.open("wb") as file:
        file.truncate(size)
    subprocess.run(["mkfs.btrfs", "--quiet", str(image)], capture_output=True, check=True)
    if subprocess.run(["mount", "-o", "loop", str(image), str(place)], capture_output=True, check=False).returncode:
        pytest.skip("this container may not mount a file system")
    try:
        yield Disk(place)
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=True)


@contextmanager
def small_disk(home: Path, *, size: int) -> Iterator[Disk]:
    """A file system of `size` bytes in memory, below `home`; skips where we may not mount one."""
    if os.geteuid() != 0:
        pytest.skip("mounting a small file system takes root")
    place = home / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(place)]
    if subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        pytest.skip("this container may not mount a file system")
    try:
        yield Disk(place)
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=True)
