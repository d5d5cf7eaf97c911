"""A chip without AVX2, at whose level torch would end with an illegal instruction in a workspace."""

from __future__ import annotations

import os
from pathlib import Path

CPUINFO = Path("/proc/cpuinfo")
# What the libraries take instead (ATen, oneDNN: CPU dispatch). A training refuses such a chip but for FAST=1.
BASELINE = {"ATEN_CPU_CAPABILITY": "default", "ONEDNN_MAX_CPU_ISA": "SSE41"}


def variables() -> dict[str, str]:
    """The variables for this chip; none where it has the level of the workspace."""
    if os.uname().machine != "x86_64":
        return {}
    try:
        lines = CPUINFO.read_text().splitlines()
    except OSError:
        return {}  # macOS, whose engine runs on another kernel
    flags = next((line.partition(":")[2].split() for line in lines if line.startswith("flags")), ["avx2"])
    return {} if "avx2" in flags else dict(BASELINE)
