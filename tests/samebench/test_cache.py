import os
from pathlib import Path

import pytest

from samebench.data import cache, digests
from samebench.data.cache import Cache
from tests.samebench.disks import btrfs_disk, small_disk


def test_what_is_kept_is_found_by_its_content_and_cannot_be_written_by_accident(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"bytes")
    store = Cache(tmp_path / "cache")
    store.put(tmp_path / "file")
    path = store.get_verified(digests.md5(tmp_path / "file"))
    assert path is not None
    assert path.read_bytes() == b"bytes"
    assert path.stat().st_mode & 0o777 == 0o444
    assert path.stat().st_ino != (tmp_path / "file").stat().st_ino


def test_a_damaged_object_is_as_good_as_none_and_is_kept_anew(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"bytes")
    store = Cache(tmp_path / "cache")
    store.put(tmp_path / "file")
    name = digests.md5(tmp_path / "file")
    store.path(name).chmod(0o644)
    store.path(name).write_bytes(b"bites")
    assert store.get_verified(name) is None
    assert not store.path(name).exists()
    store.put(tmp_path / "file")
    assert store.get_verified(name)


def test_a_shared_cache_can_be_written_by_the_group(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"bytes")
    store = Cache(tmp_path / "cache", shared=True)
    store.put(tmp_path / "file")
    folder = store.path(digests.md5(tmp_path / "file")).parent
    assert all(path.stat().st_mode & 0o2070 == 0o2070 for path in (folder, folder.parent, folder.parent.parent))


def test_a_copy_that_finds_no_room_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "new").write_bytes(bytes(500_000))
    with small_disk(tmp_path, size=1 << 20) as disk:
        (disk.place / "file").write_bytes(b"old")
        disk.fill(but=100_000)
        with pytest.raises(OSError, match="500,000 bytes needed"):
            cache.copy(tmp_path / "new", disk.place / "file")
        assert (disk.place / "file").read_bytes() == b"old"
        assert sorted(path.name for path in disk.place.iterdir()) == ["file", "filler"]


def test_versions_take_no_room_twice_where_files_can_share_blocks(tmp_path: Path) -> None:
    def used() -> int:
        os.sync()
        status = os.statvfs(disk.place)
        return (status.f_blocks - status.f_bfree) * status.f_frsize

    with btrfs_disk(tmp_path, size=200 << 20) as disk:
        content = os.urandom(20 << 20)
        (disk.place / "file").write_bytes(content)
        before = used()
        store = Cache(disk.place / "cache")
        store.put(disk.place / "file")
        path = store.get_verified(digests.md5(disk.place / "file"))
        assert path
        cache.copy(path, disk.place / "again")
        assert (disk.place / "again").read_bytes() == content
        assert used() < before + (2 << 20), "two copies would be 40 MB"
        (disk.place / "again").write_bytes(b"changed")
        assert path.read_bytes() == content
