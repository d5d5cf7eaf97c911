"""A command in a container of the workspace: what of the machine it gets, and what it sees."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from samebench.host import builds, cpu, dotenv, dvc, gpu, image, options, process, repository, server
from samebench.host.call import INDEXES, PROXIES, Call
from samebench.host.engine import Engine, User
from samebench.host.errors import RequirementError, UsageError
from samebench.host.files import bind, is_inside, refuse_outside, resolve
from samebench.host.image import Image

# What src/samebench/training/launch.py reads, and what the libraries beneath it read.
LAUNCH = (
    "PROCS", "NPROC_PER_NODE", "NNODES", "NODE_RANK", "MASTER_ADDR", "MASTER_PORT", "JOB", "RESTARTS", "JOIN_TIMEOUT",
    "GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME",
)  # fmt: skip
KILLED = 128 + 9  # the exit code of docker and podman for what ended by SIGKILL
PIPE_CLOSED = 128 + 13  # of their client where nobody reads any more, as behind `| head`: the container goes on
PATHS = ("DATA", "FROM", "INIT", "RESUME", "RUN", "WITH")  # the variables that name files
JUPYTERLAB = ("python", "-m", "samebench.workspace.notebook")
LIMITS = (
    "--cap-drop", "ALL", "--security-opt", "no-new-privileges", "--pids-limit", "4096",
    "--read-only", "--tmpfs", "/tmp:exec,mode=1777", "--env", "HOME=/tmp", "--env", "USER=bench",
)  # fmt: skip


def run(call: Call, engine: Engine, command: Sequence[str]) -> int:
    """The exit code of a command in a container that is gone afterwards."""
    workspace, call, words = _prepare(call, engine, command)
    terminal = ["--tty"] if sys.stdin.isatty() and sys.stdout.isatty() else []
    label = f"samebench.call={os.urandom(8).hex()}"
    whole = [engine.name, "run", "--rm", "--interactive", *terminal, "--label", label, *words, workspace.name]
    code = process.run_forwarding_signals([*whole, *_with_gpu_check(call, command)], call.variables)
    if code == PIPE_CLOSED:
        running = process.output_of([engine.name, "ps", "--quiet", "--filter", f"label={label}"]).split()
        process.capture([engine.name, "stop", "--time", str(server.STOP_SECONDS), *running])
    if code == image.ENGINE_FAILED:
        what = f"{engine.name} did not start the container, or died while it ran (see above)"
        tools = f"{engine.name} info{', nvidia-smi' if call.gpus else ''}"
        raise RequirementError(f"{what}; try {tools}, then the same command again")
    if code == KILLED and list(command) != ["bash"]:  # a shell ends with the code of its last command
        what = "the command was killed (SIGKILL), as a system does that has no memory left (dmesg says more)"
        remedy = "give the engine more memory, or the command less to do at a time"
        named = f" PROJECT={call.get('PROJECT')}" if call.get("PROJECT") else ""
        raise RequirementError(
            f"{what}; {remedy}. A training goes on from its last checkpoint: make train{named} RESUME=latest"
        )
    return code


def serve(call: Call, engine: Engine, command: Sequence[str], *, service: int, port: int) -> int:
    """The exit code of a server in a container; it listens on the port `service` in there, and on loopback out here."""
    workspace, call, words = _prepare(call, engine, command, server=True)
    # Podman asks systemd for its checks, and refuses to start where there is none.
    if engine.name == "docker" or Path("/run/systemd/system").is_dir():
        without_options = " ".join(command).partition(" --")[0]
        words += ["--health-cmd", f"{without_options} --health", "--health-interval", "8s"]
        words += ["--health-timeout", "5s", "--health-retries", "2"]
    whole = [*words, workspace.name, *_with_gpu_check(call, command)]
    return server.serve(call, engine, whole, service=service, port=port)


def _with_gpu_check(call: Call, command: Sequence[str]) -> list[str]:
    return [*(["python", "-m", "samebench.environment.accelerator"] if call.gpus else []), *command]


def _prepare(
    call: Call, engine: Engine, command: Sequence[str], *, server: bool = False
) -> tuple[Image, Call, list[str]]:
    """The image, the call with the variables of .env, and the engine's options."""
    workspace = builds.ensure(Image.of_workspace(call), call, engine)
    if not call.as_is:
        call = call._replace(dotenv=tuple(dotenv.read()), variables=dotenv.add_to(call.variables))
    words = [
        "--init",
        *User.current().engine_words(engine),
        *gpu.engine_words(call.gpus, engine.name),
        *LIMITS,
        *option_words(options.read(), call),
        *_environment(
            {
                "SAMEBENCH_RUNTIME": engine.name,
                "SAMEBENCH_IMAGE": engine.digest(workspace.name),
                "SAMEBENCH_BASE": image.base(call, workspace.flavour, engine),
                "SAMEBENCH_BUILDER": engine.builder,
                "GPU": "1" if call.gpus else "",  # in there are only those that were chosen
                **_cpu_variables(engine),
            }
        ),
        *_mounts([bind(Path.cwd(), "/workspace")]),
        *data_words(call),
        *path_words(call),
        *version_words(call, command),
        *agent_words(call),
        *git_words(command),
        *network_words(call, server=server),
        *names_words(call, server=server),
    ]
    return workspace, call, words


def _cpu_variables(engine: Engine) -> dict[str, str]:
    variables = cpu.variables()
    return {} if variables and engine.is_elsewhere() else variables


def _environment(values: Mapping[str, str]) -> list[str]:
    return [word for name, value in values.items() if value for word in ("--env", f"{name}={value}")]


def _mounts(mounts: Iterable[str]) -> list[str]:
    return [word for mount in mounts for word in ("--mount", mount)]


def option_words(team_options: options.Options, call: Call) -> list[str]:
    """What the team and the user have added; a variable goes along by its name, if it is set."""
    names = [word for name in team_options.env if call.get(name) for word in ("--env", name)]
    return ["--shm-size", team_options.shm_size, *names, *_mounts(team_options.mounts), *team_options.extra_args]


def names_words(call: Call, *, server: bool) -> list[str]:
    """Variables by their names: their values are for the engine's client alone, and in no list of processes."""
    indexes = () if server and not call.get("PACKAGES") else INDEXES  # with their tokens
    names = [
        name for name in ("NOTE", "PACKAGES", "PROJECT", *LAUNCH, *indexes, *PROXIES, "DATA_REMOTE") if call.get(name)
    ]
    return [word for name in (*names, *call.dotenv) for word in ("--env", name)]


def network_words(call: Call, *, server: bool) -> list[str]:
    """Certificates and wheels, and the host's network where it is needed.

    That is for several machines, which choose ports of their own, and for a proxy that listens on the host's loopback.
    A server has a network of its own all the same: what is published is to be the host's loopback alone.
    """
    several = call.get("NNODES") not in {"", "1"}
    words = ["--network", "host"] if several or (call.uses_loopback and not server) else []
    if call.ca_cert:
        words += _mounts([bind(resolve(call.ca_cert), "/tmp/ca.pem", "readonly")])
        words += ["--env", "SSL_CERT_FILE=/tmp/ca.pem"]
    if call.wheelhouse:  # DVC is installed in there, when it is first needed
        words += _mounts([bind(resolve(call.wheelhouse), "/tmp/wheelhouse", "readonly")])
        words += ["--env", "WHEELHOUSE=/tmp/wheelhouse"]
    return words


def data_words(call: Call) -> list[str]:
    """`DATA=` for a notebook, which asks for it from a folder of its own; a name such as synthetic is no path."""
    data = call.get("DATA")
    if data and not data.startswith("/") and os.path.exists(data):
        data = f"/workspace/{data}"
    return _environment({"DATA": data})


def path_words(call: Call) -> list[str]:
    """Mounts of the files that variables name by absolute paths; raises UsageError for what no container can see."""
    words = []
    for name in PATHS:
        path = call.get(name)
        if name == "FROM" and os.path.isfile(path):  # a table names files that lie beside it
            path = str(Path(path).parent)
        if path in {"/", "/tmp", "/tmp/"}:  # the container's own
            what = f"{name}={path}: all of it, in the place of the container's own"
            raise UsageError(f"{what}; give a folder in there")
        if path.startswith("/"):
            words += _mounts([_mount_of(path, writable=name == "RESUME")])
        elif path and os.path.exists(path):
            refuse_outside(name, path)
    return words


def _mount_of(path: str, *, writable: bool) -> str:
    """An absolute path, under the name that the command is given. What lies elsewhere is only read."""
    source = resolve(path)
    return bind(source, path, "" if writable or is_inside(source) else "readonly")


def version_words(call: Call, command: Sequence[str]) -> list[str]:
    """Mounts of the folders where versions of the data are."""
    remote = call.get("DATA_REMOTE")
    if remote and "://" not in remote:
        if not os.path.isdir(remote):
            remedy = "make it first, or give ssh://user@host/path"
            raise UsageError(f"DATA_REMOTE={remote}: no such directory; {remedy}")
        if not remote.startswith("/"):
            refuse_outside("DATA_REMOTE", remote)
    pushes = list(command) == ["bash"] or list(command[2:4]) == ["samebench.data.versions", "push"]
    mounts = []
    for place, is_cache in dvc.folders(remote):
        rights = "readonly=false" if is_cache or pushes else "readonly"
        mounts.append(bind(place, place, rights))
    return _mounts(mounts)


def agent_words(call: Call) -> list[str]:
    """The SSH agent rather than keys: what is in there can use it, and can't carry it away.

    It goes along where the user says so, or where a command carries data and a remote is reached over SSH.
    """
    socket = call.get("SSH_AUTH_SOCK")
    answers = os.path.exists(socket) and stat.S_ISSOCK(os.stat(socket).st_mode)
    if call.get("AGENT"):
        if not answers:
            remedy = "start one (eval $(ssh-agent) && ssh-add), or leave AGENT out"
            raise RequirementError(f"AGENT=1: no SSH agent answers here; {remedy}")
    elif not (call.carries_data and any("ssh://" in url for url in (call.get("DATA_REMOTE"), *dvc.remote_urls()))):
        return []
    words = []
    if answers:
        words += _mounts([bind(socket, "/tmp/agent")])
        words += ["--env", "SSH_AUTH_SOCK=/tmp/agent"]
    known_hosts = Path(call.get("HOME") or "/") / ".ssh/known_hosts"
    if os.path.isfile(known_hosts):
        words += _mounts([bind(known_hosts, "/tmp/.ssh/known_hosts", "readonly")])
    return words


def git_words(command: Sequence[str]) -> list[str]:
    """Who commits, in the user's own shell and JupyterLab; trust, and the repository, as the host has them."""
    words = []
    if list(command) == ["bash"] or tuple(command[:3]) == JUPYTERLAB:
        repository.write_identity()
        words += ["--env", "GIT_CONFIG_SYSTEM=/workspace/.samebench/git/system"]
    if repository.is_trusted_of_another():
        trust = {"GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": "safe.directory", "GIT_CONFIG_VALUE_0": "/workspace"}
        words += _environment(trust)
    return words + _mounts(repository.mounts())
