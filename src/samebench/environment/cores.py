"""How many cores this process may use, which decides speed and never the result."""

import os
from pathlib import Path

SHARE = "SAMEBENCH_CORES"  # the variable by which one of several commands is told its share


def available_cpus() -> int:
    """Cores by affinity, by every cgroup quota above us (v2 and v1) and by our share of them, at least 1.

    A quota of 1.5 cores counts as 1: two busy threads would be throttled together.
    """
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, int(min(affinity, quota(), float(os.environ.get(SHARE) or "inf"))))


def quota(root: Path = Path("/sys/fs/cgroup"), groups: Path = Path("/proc/self/cgroup")) -> float:
    """The smallest CPU quota, in cores, from our cgroup up to the root; infinity where there is none."""
    if not groups.is_file():
        return float("inf")
    limits = [float("inf")]
    for line in groups.read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers and "cpu" not in controllers.split(","):
            continue
        for mount in _mounts(root, controllers):
            here = mount / path.lstrip("/")
            # Inside a container the path is the host's and may not exist here; the mount is then our group.
            limits += [_limit(folder) for folder in [here, *here.parents] if folder.is_relative_to(mount)]
    return min(limits)


def _mounts(root: Path, controllers: str) -> list[Path]:
    return [root / controllers, root / "cpu"] if controllers else [root, root / "unified"]


def _limit(folder: Path) -> float:
    try:
        if (folder / "cpu.max").is_file():
            allowance, period = (folder / "cpu.max").read_text().split()
        else:
            allowance = (folder / "cpu.cfs_quota_us").read_text().strip()
            period = (folder / "cpu.cfs_period_us").read_text()
    except OSError:
        return float("inf")
    return float("inf") if allowance in {"max", "-1"} else float(allowance) / float(period)
