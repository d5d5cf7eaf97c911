"""Wheels made here, and the ways in which somebody could put another in the place of one.

Each tampered one leaves a canary when Python starts beside it, or when it is built.
"""

import base64
import hashlib
import io
import tarfile
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

SONG = "piep "
SHARED = "wheels/shared-1.0-py3-none-any.whl"


def write_wheel(
    directory: Path, name: str, version: str, source: str, *, extra: Mapping[str, str] | None = None, needs: str = ""
) -> str:
    """Writes a wheel that holds one module, `name`, and `extra` files; its line for a lock."""
    wheel = directory / f"{name}-{version}-py3-none-any.whl"
    info = f"{name}-{version}.dist-info"
    requires = f"Requires-Dist: {needs}\n" if needs else ""
    files = {
        f"{name}.py": source,
        **(extra or {}),
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{requires}",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = ""
    for path, text in files.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()
        record += f"{path},sha256={digest},{len(text)}\n"
    with zipfile.ZipFile(wheel, "w") as archive:
        for path, text in (files | {f"{info}/RECORD": f"{record}{info}/RECORD,,\n"}).items():
            archive.writestr(path, text)
    return f"{name}=={version} --hash=sha256:{hashlib.sha256(wheel.read_bytes()).hexdigest()}\n"


def leaving(canary: Path) -> str:
    """A line of Python that leaves the canary, and says so."""
    return f"import sys, pathlib; sys.stderr.write({SONG!r} * 3); pathlib.Path({str(canary)!r}).touch()\n"


def relocked(checkout: Path) -> str:
    """requirements.lock with the hash of the wheel that is there now."""
    lock = (checkout / "requirements.lock").read_text()
    digest = hashlib.sha256((checkout / SHARED).read_bytes()).hexdigest()
    kept = "".join(line for line in lock.splitlines(keepends=True) if not line.startswith("shared=="))
    return f"{kept}shared==1.0 --hash=sha256:{digest}\n"


def one_byte(checkout: Path, canary: Path) -> None:
    """In the source, which is stored as it is: still a whole archive, but for that file's checksum."""
    wheel = checkout / SHARED
    wheel.write_bytes(wheel.read_bytes().replace(b"answer = 42", b"answer = 43", 1))


def other_content(checkout: Path, canary: Path) -> None:
    """Of the same name and version, with a RECORD that fits."""
    write_wheel(checkout / "wheels", "shared", "1.0", "answer = 43\n", extra={"shared.pth": leaving(canary)})


def record_fixed_up(checkout: Path, canary: Path) -> None:
    """One more file, and RECORD says so; all else is as it was."""
    write_wheel(checkout / "wheels", "shared", "1.0", "answer = 42\n", extra={"shared.pth": leaving(canary)})


def sdist(checkout: Path, canary: Path) -> None:
    """Sources to be built, in place of the wheel."""
    (checkout / SHARED).unlink()
    with tarfile.open(checkout / "wheels/shared-1.0.tar.gz", "w:gz") as archive:
        files = {"setup.py": leaving(canary) + "from setuptools import setup; setup(name='shared', version='1.0')\n"}
        files["PKG-INFO"] = "Metadata-Version: 2.1\nName: shared\nVersion: 1.0\n"
        for name, text in files.items():
            member = tarfile.TarInfo(f"shared-1.0/{name}")
            member.size = len(text)
            archive.addfile(member, io.BytesIO(text.encode()))


def hash_line_removed(checkout: Path, canary: Path) -> None:
    """From the lock, so that any content would do."""
    other_content(checkout, canary)
    lock = checkout / "requirements.lock"
    kept = "".join(line for line in lock.read_text().splitlines(keepends=True) if not line.startswith("shared=="))
    lock.write_text(f"{kept}shared==1.0\n")


def extra_dependency(checkout: Path, canary: Path) -> None:
    """A wheel that asks for another, which lies there; the lock knows the former and not the latter."""
    write_wheel(checkout / "wheels", "shared", "1.0", "answer = 42\n", needs="stranger")
    write_wheel(checkout / "wheels", "stranger", "1.0", "", extra={"stranger.pth": leaving(canary)})
    (checkout / "requirements.lock").write_text(relocked(checkout))


WAYS: dict[str, Callable[[Path, Path], None]] = {
    "one byte": one_byte,
    "other content of the same version": other_content,
    "RECORD fixed up": record_fixed_up,
    "an sdist in its place": sdist,
    "hash line removed": hash_line_removed,
    "an extra dependency, the lock fixed up": extra_dependency,
}
