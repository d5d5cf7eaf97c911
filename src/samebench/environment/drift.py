"""What is installed and set when a training starts, and what of it is not as the locks and the image say.

Reading 1.3 GB of installed files takes two seconds from memory and five from a disk. So what was found is remembered in
`.samebench/` as long as no file of the environment has another size, time or inode. Whoever writes to a file changes
its `ctime`, also where the other times are set back.
"""

import hashlib
import json
import os
import sys
import sysconfig
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from samebench.core import files, untrusted
from samebench.core.command import UsageError
from samebench.environment import determinism, doctor, fingerprint
from samebench.environment.fingerprint import Installed

PREFIX, SITE = Path(sys.prefix), Path(sysconfig.get_path("purelib"))  # of this environment, and of its wheels
KINDS = ("interpreter", "os_packages", "wheels", "loose")
ONE_THREAD = {"OMP_NUM_THREADS": "1"}  # what launch.py sets, and what determinism.pin() has in any case
MIN_AGE_SECONDS = 2.0  # seconds after which a change gives a file another ctime on every file system


def examine(
    *,
    root: Path = fingerprint.ROOT,
    prefix: Path = PREFIX,
    site: Path = SITE,
) -> dict[str, Any] | None:
    """What a receipt tells of the environment (`fingerprint` in receipt.schema.json); None where it can't be read.

    The variables of the CPU level are left out: determinism.py sets them, and the receipt has them under `cpu_level`.
    `prefix` is the folder of the environment, `site` that of its wheels.
    """
    try:
        installed = installed_with_cache(prefix, site, root / ".samebench")
        now = fingerprint.fingerprint(site=site, root=root, installed=installed)
        reference = fingerprint.image_fingerprint()
        for document in (now, *([reference] if reference else [])):
            document["same"]["variables"] = _relevant(document["same"]["variables"])
        lines = doctor.drift(now, reference=reference, root=root)
    except (OSError, ValueError, LookupError):
        return None
    left_out = tuple(f"variable {name}:" for name in determinism.CPU_LEVEL)
    return {
        **{kind: fingerprint.digest(now["same"][kind]) for kind in KINDS},
        "variables": now["same"]["variables"],
        "drift": [
            *(f"overlay: {pin} by make try, expected in no lock" for pin in fingerprint.overlay()),
            *(line for line in lines if not line.startswith(left_out)),
        ],
    }


def _relevant(variables: dict[str, str]) -> dict[str, str]:
    return {
        name: value
        for name, value in variables.items()
        if name not in determinism.CPU_LEVEL and (name, value) not in ONE_THREAD.items()
    }


def installed_with_cache(prefix: Path, site: Path, home: Path) -> Installed:
    """What `fingerprint.read_installed` gives for `site`, from a file in `home` if `prefix` has not changed."""
    path = home / f"installed-{hashlib.sha256(str(prefix).encode()).hexdigest()[:12]}.json"
    state, newest = _state(prefix)
    with suppress(UsageError, OSError, LookupError):
        before = untrusted.read_json(path)
        if before["state"] == state:
            return before["wheels"], before["loose"]
    wheels, unowned = fingerprint.read_installed(site)
    if newest < time.time() - MIN_AGE_SECONDS:
        with suppress(OSError):
            home.mkdir(exist_ok=True)
            files.write(path, json.dumps({"state": state, "wheels": wheels, "loose": unowned}).encode())
    return wheels, unowned


def _state(prefix: Path) -> tuple[str, float]:
    """A hash over name, size, times and inode of every file below `prefix` but byte code, and the newest ctime."""
    rows, newest = [], 0.0
    for name, status in _walk(str(prefix)):
        newest = max(newest, status.st_ctime)
        rows.append(f"{name}\0{status.st_size} {status.st_mtime_ns} {status.st_ctime_ns} {status.st_ino}\n")
    return hashlib.sha256("".join(sorted(rows)).encode(errors="surrogateescape")).hexdigest(), newest


def _walk(folder: str) -> Iterator[tuple[str, os.stat_result]]:
    with os.scandir(folder) as entries:
        for entry in entries:
            if not entry.is_dir(follow_symlinks=False):
                yield entry.path, entry.stat(follow_symlinks=False)
            elif entry.name != "__pycache__":
                yield from _walk(entry.path)
