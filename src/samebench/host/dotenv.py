"""`.env`, a file of the user's own variables beside the Makefile: NAME=value, one a line."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from samebench.host.errors import RequirementError, UsageError

FILE = Path(".env")
NAME = re.compile(r"[A-Z_][A-Z0-9_]*")
# What decides what make does, where and with what it runs, who may come in, and what comes out. It is set in the shell
# or on make's command line, where it is seen. First come the variables of the Makefile, which a test compares; then
# those of the system, the shell, the loader, Python, git and the engines; then the CPU level, threads, GPUs, processes.
RESERVED = """
A AGENT API_KEY ARGS B BASE_IMAGE CA_CERT CHECK DATA DATASET DATA_REMOTE DELETE ELSEWHERE EXPECT FAST FILTER FROM
GPU GRID HOST INIT JOB JOBS JOIN_TIMEOUT JSON KEEP KEEP_ALIVE KEY KIND MASTER_ADDR MASTER_PORT NAME NNODES NODE_RANK
NOTE NPROC_PER_NODE OPEN PKG PLATFORM PORT PROCS PROJECT QUICK RESTARTS RESUME RUN RUNS RUNTIME SERVE SORT TEXT TO TOKEN
TORCH_INDEX WHEELHOUSE WITH WORKERS YES HTTP_PROXY HTTPS_PROXY NO_PROXY MAKE* MFLAGS GNUMAKEFLAGS SAMEBENCH* ARTIFACT
HASH LAUNCH LOAD NAMES PATH HOME USER LOGNAME SHELL PWD OLDPWD TERM TMPDIR TMP TEMP TZ IFS ENV PPID UID EUID OPTARG
OPTIND PS0 PS1 PS2 PS3 PS4 BASH* SHELLOPTS CDPATH LANG LANGUAGE LC_* LOCPATH GCONV_PATH LD_* DYLD_* GLIBC_* MALLOC_*
PYTHON* VIRTUAL_ENV CONDA* PIP_* UV_* JUPYTER* IPYTHON* GIT_* SSH_* GPG_* SSL_CERT_* DOCKER_* BUILD* CONTAINER*
PODMAN* XDG_* SOURCE_DATE_EPOCH ATEN_* MKL* ONEDNN_* DNNL_* OMP_* GOMP_* KMP_* OPENBLAS_* BLIS_* VECLIB_* NUMEXPR_*
ORT_* CUBLAS* CUDA* CUDNN* NVIDIA_* NCCL_* GLOO_* TORCH* PYTORCH* PET_* RANK WORLD_SIZE LOCAL_* GROUP_* ROLE_*
"""
RESERVED_NAMES = {word for word in RESERVED.split() if not word.endswith("*")}
RESERVED_STARTS = tuple(word[:-1] for word in RESERVED.split() if word.endswith("*"))
ASCII_SPACE = " \t\n\r\f\v"


def is_reserved(name: str) -> bool:
    """Whether a variable decides what is done or what comes out."""
    return name in RESERVED_NAMES or name.startswith(RESERVED_STARTS)


def read() -> dict[str, str]:
    """The variables that the file sets. A value is the rest of the line, without quotes around it or a remark.

    Nothing in a value is expanded, and none is shown. Raises UsageError with the line's number, or RequirementError.
    """
    if not os.path.lexists(FILE):
        return {}
    if not (os.path.isfile(FILE) and os.access(FILE, os.R_OK)):
        what = f"{Path.cwd() / FILE}: no file that can be read"
        raise RequirementError(f"{what}; make it yours (chown), or remove it")
    text = FILE.read_bytes().decode(errors="surrogateescape")
    variables = {}
    for number, line in enumerate(text.split("\n"), 1):
        entry = re.sub(r"^export[ \t]+", "", line.strip(ASCII_SPACE))
        if not entry or entry.startswith("#"):
            continue
        name, equals, value = entry.partition("=")
        if not equals or not NAME.fullmatch(name):
            remedy = "give NAME=value, with capital letters, digits and _ in the name"
            raise UsageError(f".env:{number}: {remedy}")
        if is_reserved(name):
            what = f"{name} can't stand in there: it decides what is done or what comes out"
            raise UsageError(f".env:{number}: {what}; give it to make, or export it")
        variables[name] = _value(value, f".env:{number}: {name}")
    return variables


def _value(text: str, where: str) -> str:
    if text[:1] in {'"', "'"}:
        value, end, rest = text[1:].partition(text[0])
        if not end:
            raise UsageError(f"{where}: a quote that does not end on this line; end it")
        if rest.lstrip(" \t") and not rest.lstrip(" \t").startswith("#"):
            raise UsageError(f"{where}: more after the second quote; use the other kind of quotes around it")
        return value
    return re.sub(r"[ \t]#.*", "", text.lstrip(" \t")).rstrip(" \t")


def add_to(environment: Mapping[str, str]) -> dict[str, str]:
    """The environment with them; what the shell has exported already stays."""
    return {**read(), **environment}


def write_env_file(path: Path, environment: Mapping[str, str], names: Iterable[str] = ()) -> None:
    """The same, and these variables if they are set, as a file for an engine's --env-file; only the user may read it.

    The engine takes each line as it is.
    """
    values = add_to(environment)
    new = path.with_name(f"{path.name}.new")
    new.unlink(missing_ok=True)
    handle = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "w", errors="surrogateescape") as file:
        file.writelines(f"{name}={values[name]}\n" for name in {**read(), **dict.fromkeys(names)} if name in values)
    new.replace(path)
