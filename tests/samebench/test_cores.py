import os
from pathlib import Path

import pytest

from samebench.environment import cores

ENDLESS = float("inf")


def groups(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "cgroup"
    path.write_text(text)
    return path


def limit(folder: Path, **contents: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in contents.items():
        (folder / name.replace("__", ".")).write_text(content)


def test_version_2_quotas_count_from_our_group_up_to_the_root(tmp_path: Path) -> None:
    limit(tmp_path / "fs/a", cpu__max="150000 100000\n")
    limit(tmp_path / "fs/a/b", cpu__max="max 100000\n")
    assert cores.quota(tmp_path / "fs", groups(tmp_path, "0::/a/b\n")) == 1.5


def test_a_container_that_sees_its_own_group_as_the_root_is_limited(tmp_path: Path) -> None:
    limit(tmp_path / "fs", cpu__max="200000 100000\n")
    assert cores.quota(tmp_path / "fs", groups(tmp_path, "0::/docker/f00\n")) == 2


def test_version_1_quotas_count(tmp_path: Path) -> None:
    limit(tmp_path / "fs/cpu,cpuacct/a", cpu__cfs_quota_us="300000\n", cpu__cfs_period_us="100000\n")
    text = "5:memory:/a\n4:cpu,cpuacct:/a\n1:name=systemd:/a\n"
    assert cores.quota(tmp_path / "fs", groups(tmp_path, text)) == 3


@pytest.mark.parametrize("text", ["0::/a\n", "4:cpu:/a\n0::/\n", ""])
def test_without_a_quota_there_is_no_limit(text: str, tmp_path: Path) -> None:
    limit(tmp_path / "fs/cpu/a", cpu__cfs_quota_us="-1\n", cpu__cfs_period_us="100000\n")
    assert cores.quota(tmp_path / "fs", groups(tmp_path, text)) == ENDLESS


def test_no_cgroups_no_limit(tmp_path: Path) -> None:
    assert cores.quota(tmp_path, tmp_path / "none") == ENDLESS


@pytest.mark.parametrize(("share", "count"), [(0.2, 1), (1.9, 1), (ENDLESS, len(os.sched_getaffinity(0)))])
def test_half_a_core_is_none_but_one_there_always_is(share: float, count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cores, "quota", lambda: share)
    assert cores.available_cpus() == count
