"""What is installed and set: one document, and one hash over all of it that teammates must have alike.

    python -m samebench.environment.fingerprint           prints the document
    python src/samebench/environment/fingerprint.py --same
                                              prints it without the machine, as the images' builds keep it

Uses the standard library alone, so that it runs in a build, where nothing else of ours is. `same` is hashed, `machine`
is only told; neither holds a path or a name of a host or a user. The local runtime tells no OS packages: it takes from
them no more than the interpreter and libc, which are told by version. Not looked into are the interpreter's own library
(an OS package in the image) and byte code in __pycache__.
"""

import base64
import csv
import hashlib
import importlib.metadata
import json
import os
import platform
import re
import runpy
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

FORMAT = 1
ROOT = Path(__file__).resolve().parents[3]
IMAGE = "/opt/venv"  # where the images have their environment
OVERLAY = "SAMEBENCH_OVERLAY"  # the folder in which `make try` installs
IMAGE_FINGERPRINT = Path(sys.prefix) / "fingerprint.json"

# What changes results without a line of code being changed.
CPU_LEVEL = ("ATEN_CPU_CAPABILITY", "MKL_CBWR", "ONEDNN_MAX_CPU_ISA")  # why: src/samebench/environment/determinism.py
VARIABLES = (
    *CPU_LEVEL,
    # cuBLAS: results reproducibility, and TF32 against float32 (its manual, 2.1.4, and NVIDIA's on TF32).
    *("CUBLAS_WORKSPACE_CONFIG", "NVIDIA_TF32_OVERRIDE", "TORCH_ALLOW_TF32_CUBLAS_OVERRIDE"),
    # Threads decide the order of sums (OpenMP, MKL, OpenBLAS).
    *("OMP_NUM_THREADS", "OMP_DYNAMIC", "MKL_NUM_THREADS", "MKL_DYNAMIC", "OPENBLAS_NUM_THREADS"),
    # Code chosen against the chip, or with fewer bits: oneDNN ("CPU dispatcher control", "floating-point math mode",
    # each also under its older name), MKL, OpenBLAS and numpy ("CPU build options").
    *("DNNL_MAX_CPU_ISA", "DNNL_DEFAULT_FPMATH_MODE", "ONEDNN_DEFAULT_FPMATH_MODE", "MKL_ENABLE_INSTRUCTIONS"),
    *("OPENBLAS_CORETYPE", "NPY_DISABLE_CPU_FEATURES", "NPY_ENABLE_CPU_FEATURES", "GLIBC_TUNABLES"),
    # The order of sums between processes (NCCL's manual).
    *("NCCL_ALGO", "NCCL_PROTO"),
    # Other code in place of what is installed (ld.so(8), python(1)), and the order of sets.
    *("LD_AUDIT", "LD_LIBRARY_PATH", "LD_PRELOAD"),
    *("PYTHONHASHSEED", "PYTHONHOME", "PYTHONOPTIMIZE", "PYTHONPATH"),
)
PATHS = {"LD_AUDIT", "LD_LIBRARY_PATH", "LD_PRELOAD", "PYTHONHOME", "PYTHONPATH"}

# An installer's notes, which tell how a wheel came and not what it is.
NOTES = {"RECORD", "INSTALLER", "REQUESTED", "direct_url.json", "uv_build.json", "uv_cache.json"}
LABELS = {"os_packages": "os package", "wheels": "wheel", "loose": "file of no wheel", "variables": "variable"}
WHOLE = 1 << 20  # bytes that are read at once; larger files go piece by piece


Installed = tuple[dict[str, Any], dict[str, str]]  # the wheels, and the files that are of no wheel


def fingerprint(*, site: Path | None = None, root: Path = ROOT, installed: Installed | None = None) -> dict[str, Any]:
    """The document: `format`, `sha256` over `same`, and `machine`.

    `site` is the folder of the wheels, this interpreter's own if not given; `root` the checkout; `installed` what
    `read_installed` gives for `site`, which takes seconds.
    """
    same = _same(site or Path(sysconfig.get_path("purelib")), root, installed)
    return {"format": FORMAT, "sha256": digest(same), "same": same, "machine": machine()}


def digest(same: Mapping[str, Any]) -> str:
    """The SHA-256 of what must be equal, whatever the order and the spaces it is written with."""
    return hashlib.sha256(json.dumps(same, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def image_fingerprint(path: Path = IMAGE_FINGERPRINT) -> dict[str, Any] | None:
    """The fingerprint that the image was built with; None outside of one."""
    return json.loads(path.read_bytes()) if path.is_file() else None


def differences(
    then: Mapping[str, Any],
    now: Mapping[str, Any],
    *,
    among: str = "same",
    called: tuple[str, str] = ("then", "now"),
) -> list[str]:
    """A line for each fact that differs between two documents, with both values and what they are `called`.

    `among` is "same" or "machine". A changed file of a wheel is named where the wheel's own RECORD gives it away.
    """
    lines = []
    before, after = then.get(among, {}), now.get(among, {})
    for kind in sorted({**before, **after}):
        old, new = _facts(kind, before), _facts(kind, after)
        if kind == "os_packages" and bool(old) != bool(new):  # the one in an image, the other in the local runtime
            old, new = {kind: len(old)}, {kind: len(new)}
        for name in sorted({**old, **new}):
            if old.get(name) != new.get(name):
                label = LABELS.get(kind, kind) + (f" {name}" if name != kind else "s" if kind in LABELS else "")
                lines += [f"{label}: {text}" for text in _difference(old.get(name), new.get(name), called)]
    return lines


def _facts(kind: str, document: Mapping[str, Any]) -> Mapping[str, Any]:
    facts = document.get(kind, {})
    return facts if isinstance(facts, Mapping) else {kind: facts}


def _difference(old: Any, new: Any, called: tuple[str, str]) -> list[str]:
    if isinstance(old, Mapping) and isinstance(new, Mapping) and old["version"] == new["version"]:
        lines = [f"{path} is not what RECORD says" for path in _only(new, old, "altered")]
        lines += [f"{path} is missing" for path in _only(new, old, "missing")]
        lines += [f"{path} is what RECORD says, {called[0]} it was not" for path in _only(old, new, "altered")]
        lines += [f"{path} is there, {called[0]} it was missing" for path in _only(old, new, "missing")]
        return lines or ["other content"]
    return [f"{format_value(old)} {called[0]}, {format_value(new)} {called[1]}"]


def _only(one: Mapping[str, Any], other: Mapping[str, Any], key: str) -> list[str]:
    return sorted(set(one.get(key, [])) - set(other.get(key, [])))


def format_value(value: Any) -> str:
    """One line for a value of the document."""
    value = value["version"] if isinstance(value, Mapping) else value
    text = "nothing" if value is None else str(value)
    return text[:12] if re.fullmatch("[0-9a-f]{64}", text) else text  # a hash is known by its beginning


# ---- what must be the same ----


def _same(site: Path, root: Path, installed: Installed | None) -> dict[str, Any]:
    wheels, extra = installed or read_installed(site)
    torch = _torch(site)
    flavour = "serve" if not torch else "gpu" if torch["cuda"] else "cpu"
    names = ("requirements.lock", f"docker/{flavour}.lock", f"docker/{flavour}.Dockerfile")
    return {
        "interpreter": interpreter(),
        "os_packages": os_packages() if sys.prefix == IMAGE else {},
        "wheels": wheels,
        "loose": extra,
        "variables": variables(),
        "torch": torch,
        "input": {name: _hash(root / name).hex() for name in names if (root / name).is_file()},
    }


def interpreter() -> dict[str, Any]:
    """Which Python this is, how it was built, and the flags that change what a program does."""
    return {
        "implementation": platform.python_implementation(),
        "version": platform.python_version(),
        "compiler": platform.python_compiler(),
        "abi": sys.implementation.cache_tag + sys.abiflags,
        "architecture": platform.machine(),
        "optimize": sys.flags.optimize,  # leaves out asserts
        "hash_randomization": sys.flags.hash_randomization,
    }


def os_packages() -> dict[str, str]:
    """The version of every Debian package; empty where the system is another."""
    if not shutil.which("dpkg-query"):
        return {}
    words = ["dpkg-query", "--show", "--showformat=${Package}:${Architecture} ${Version} ${db:Status-Status}\n"]
    listed = subprocess.run(words, capture_output=True, text=True, check=True).stdout.splitlines()
    return {name: version for name, version, status in map(str.split, listed) if status == "installed"}


def variables() -> dict[str, str]:
    """Those of VARIABLES that are set; for a path the names of the libraries, or the word "set"."""
    values = {name: os.environ[name] for name in VARIABLES if os.environ.get(name)}
    if not _foreign_paths(values.get("PYTHONPATH", "")):
        values.pop("PYTHONPATH", None)
    return {name: _pathless(name, value) for name, value in values.items()}


def overlay(folder: Path | None = None) -> list[str]:
    """What `make try` has put on top of the workspace, as "name==version"; empty outside of it."""
    place = folder or (Path(os.environ[OVERLAY]) if os.environ.get(OVERLAY) else None)
    distributions = importlib.metadata.distributions(path=[str(place)]) if place else []
    return sorted(f"{each.name}=={each.version}" for each in distributions)


def _foreign_paths(pythonpath: str) -> list[str]:
    """What is on PYTHONPATH besides our own sources, which are there anyway, and the overlay."""
    own_paths = {ROOT / "src", *([Path(os.environ[OVERLAY]).resolve()] if os.environ.get(OVERLAY) else [])}
    return [each for each in pythonpath.split(os.pathsep) if each and Path(each).resolve() not in own_paths]


def _pathless(name: str, value: str) -> str:
    if name == "LD_PRELOAD":
        return " ".join(Path(each).name for each in re.split("[ :]+", value) if each)
    return "set" if name in PATHS else value


def _torch(site: Path) -> dict[str, Any]:
    """What torch was built for, without loading it; empty where there is none."""
    path = site / "torch/version.py"
    values = runpy.run_path(str(path)) if path.is_file() else {}
    return values and {"version": values["__version__"], "git": values["git_version"], "cuda": values["cuda"]}


# ---- wheels ----


def read_installed(site: Path) -> Installed:
    """Of every wheel its version and one hash over its files; of every file that is of no wheel its hash."""
    records = {path.parent.name: _record(path) for path in sorted(site.glob("*.dist-info/RECORD"))}
    listed = {name: size for record in records.values() for name, (_, size) in record.items()}
    extra = set(_walk(site, "")) - set(listed)
    content = _contents(site, listed | dict.fromkeys(extra, 0))
    wheels: dict[str, Any] = {}
    for folder, record in records.items():
        name, _, version = folder.removesuffix(".dist-info").partition("-")
        name = re.sub("[-_.]+", "-", name).lower()
        wheel = {"version": version, **_wheel(site, record, content)}
        wheels[name if name not in wheels else f"{name} {version}"] = (
            wheel  # installed over another, which is still there
        )
    return wheels, {name: content[name].hex() for name in sorted(extra) if name in content and not _is_ours(site, name)}


def _wheel(site: Path, record: Mapping[str, tuple[str, int]], content: Mapping[str, bytes]) -> dict[str, Any]:
    """The hash over names and contents, and the files that are not what RECORD says, where there are any."""
    present = [name for name in record if name in content]
    altered = [name for name in present if record[name][0] not in {"", _recorded(content[name])}]
    missing = {_missing_root(site, name) for name in record if name not in content}
    lines = sorted(f"{content[name].hex()}  {name}\n" for name in present if not _is_script(site, name))
    wheel: dict[str, Any] = {"sha256": hashlib.sha256("".join(lines).encode()).hexdigest()}
    return wheel | {key: sorted(names) for key, names in (("altered", altered), ("missing", missing)) if names}


def _record(path: Path) -> dict[str, tuple[str, int]]:
    """Every file of a wheel, as RECORD lists it: its hash and its size. Left out: byte code and NOTES."""
    notes = {f"{path.parent.name}/{name}" for name in NOTES}
    with path.open(newline="", encoding="utf-8") as file:
        rows = [row for row in csv.reader(file) if len(row) == 3 and row[0] not in notes]
    hashed_rows = [row for row in rows if "__pycache__/" not in row[0]]
    return {name: (sha256, int(size) if size.isdecimal() else 0) for name, sha256, size in hashed_rows}


def _recorded(content: bytes) -> str:
    """A SHA-256 as RECORD writes it (packaging.python.org, "Recording installed projects")."""
    return "sha256=" + base64.urlsafe_b64encode(content).decode().rstrip("=")


def _is_script(site: Path, name: str) -> bool:
    """Whether a file was written for this very place: the first line of a script has the interpreter's path."""
    if not name.startswith("../"):
        return False
    with (site / name).open("rb") as file:
        return file.read(2) == b"#!"


def _is_ours(site: Path, name: str) -> bool:
    """Whether a file is that in which install.sh says where our sources are, and says no more."""
    return name == "samebench.pth" and re.fullmatch(r"/[^\n]*\n", (site / name).read_text()) is not None


def _missing_root(site: Path, name: str) -> str:
    """What of a missing file's path is missing: the file, or the whole folder."""
    above = [parent for parent in Path(name).parents if not (site / parent).exists()]
    return str(above[-1]) if above else name


def _walk(site: Path, folder: str) -> Iterator[str]:
    """Every file under `site`, but for byte code and the installers' notes."""
    with os.scandir(site / folder) as entries:
        for entry in entries:
            name = f"{folder}{entry.name}"
            if entry.is_dir(follow_symlinks=False):
                if entry.name != "__pycache__":
                    yield from _walk(site, f"{name}/")
            elif not (folder.endswith(".dist-info/") and entry.name in NOTES):
                yield name


def _contents(site: Path, sizes: Mapping[str, int]) -> dict[str, bytes]:
    """The SHA-256 of every file that is there; the largest go first, so that no core is left with one at the end."""
    names = sorted(sizes, key=lambda name: -sizes[name])

    def some(start: int) -> list[tuple[str, bytes]]:
        return [(name, _hash(site / name)) for name in names[start::64] if os.path.lexists(site / name)]

    with ThreadPoolExecutor(_cores()) as pool:
        return dict(pair for pairs in pool.map(some, range(64)) for pair in pairs)


def _hash(path: Path) -> bytes:
    """SHA-256 of a file; of nothing where it can't be read, as a link to a folder can't."""
    try:
        with path.open("rb", buffering=0) as file:
            if (content := file.read(WHOLE)) and len(content) == WHOLE:
                file.seek(0)
                return hashlib.file_digest(file, "sha256").digest()
            return hashlib.sha256(content).digest()
    except OSError:
        return b""


# ---- what is only told ----


def origin() -> dict[str, str | None]:
    """The runtime, its image, and what that was made of and by."""
    return {name: os.environ.get(f"SAMEBENCH_{name.upper()}") for name in ("runtime", "image", "base", "builder")}


def machine() -> dict[str, Any]:
    """What may differ between two that give the same bits."""
    return {
        **origin(),
        "cpu": _cpuinfo("model name") or platform.machine(),
        "avx2": "avx2" in _cpuinfo("flags").split(),
        "cores": _cores(),
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "kernel": platform.release(),
        "libc": " ".join(platform.libc_ver()),
        "gpus": _gpus(),
    }


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _cpuinfo(field: str) -> str:
    path = Path("/proc/cpuinfo")
    lines: Iterable[str] = path.read_text().splitlines() if path.is_file() else []
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith(field)), "")


def _gpus() -> list[str]:
    """Model and driver of each GPU; empty where nvidia-smi is not there or does not answer."""
    try:
        words = ["nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"]
        done = subprocess.run(words, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return []
    return done.stdout.splitlines()


def main() -> int:
    """The command line."""
    if sys.argv[1:] not in ([], ["--same"]):
        print("error: usage: python -m samebench.environment.fingerprint [--same]", file=sys.stderr)
        return 2
    document = fingerprint()
    if sys.argv[1:]:
        del document["machine"]
    print(json.dumps(document, indent=1, sort_keys=True))
    return 0


if __name__ == "__main__":
    sys.exit(main())
