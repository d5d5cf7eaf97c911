"""A small folder of installed wheels, as an installer would leave it."""

import base64
import hashlib
from collections.abc import Mapping
from pathlib import Path

TORCH = """__version__ = '2.13.0{local}'
cuda = {cuda!r}
git_version = 'cf30153'
"""


def install(site: Path, name: str, version: str, files: Mapping[str, str]) -> None:
    """Puts a wheel into the folder `site`; a path in `files` may lead out of it, as those of scripts do."""
    info = site / f"{name}-{version}.dist-info"
    info.mkdir(parents=True)
    for path, content in files.items():
        (site / path).parent.mkdir(parents=True, exist_ok=True)
        (site / path).write_text(content)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    (info / "INSTALLER").write_text("uv\n")
    record(site, name, version, [*files, f"{info.name}/METADATA", f"{info.name}/INSTALLER"])


def record(site: Path, name: str, version: str, paths: list[str]) -> None:
    """Writes the wheel's RECORD as the files are now."""
    rows = [f"{path},sha256={_hash(site / path)},{(site / path).stat().st_size}" for path in paths]
    rows.append(f"{name}-{version}.dist-info/RECORD,,")
    (site / f"{name}-{version}.dist-info/RECORD").write_text("\n".join(rows) + "\n")


def remove(site: Path, name: str) -> None:
    """Removes a wheel and all that its RECORD lists."""
    (info,) = site.glob(f"{name}-*.dist-info")
    for row in (info / "RECORD").read_text().splitlines():
        (site / row.split(",")[0]).unlink()
    info.rmdir()


def install_torch(site: Path, *, cuda: str | None = None) -> None:
    """Puts what stands for a build of torch into `site`."""
    local = "" if cuda else "+cpu"
    install(site, "torch", f"2.13.0{local}", {"torch/version.py": TORCH.format(local=local, cuda=cuda)})


def _hash(path: Path) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(path.read_bytes()).digest()).decode().rstrip("=")
