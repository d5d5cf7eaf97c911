"""A Slurm cluster of one machine: the controller, and two node daemons on ports of their own, as a user sees them."""

import getpass
import os
import platform
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from tests.samebench.server import free_port

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "scontrol", "squeue", "scancel")
NODES = ("n1", "n2")
SPARE = "n3"  # is started only when one of them is dead
SECONDS = 60  # a bound for what takes a few
CONFIGURATION = """
ClusterName=bench
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={port}
SlurmUser={user}
SlurmdUser={user}
AuthInfo=socket={home}/munge.socket
StateSaveLocation={home}/state
SlurmdSpoolDir={home}/%n
SlurmctldPidFile={home}/slurmctld.pid
SlurmdPidFile={home}/%n.pid
MpiDefault=none
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SlurmdParameters=config_overrides
SlurmdTimeout=10
ReturnToService=2
NodeName=n1 NodeAddr=127.0.0.1 Port={first} CPUs=1
NodeName=n2 NodeAddr=127.0.0.1 Port={second} CPUs=1
NodeName=n3 NodeAddr=127.0.0.1 Port={third} CPUs=1
PartitionName=all Nodes=n1,n2,n3 Default=YES MaxTime=10
"""


def lacks() -> list[str]:
    """The programs that are not on this machine."""
    return [name for name in PROGRAMS if not _program(name)]


def until(holds: Callable[[], object], what: str, *, seconds: float = SECONDS) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, what
        time.sleep(0.05)


class Cluster:
    """All daemons in the folder `home`, whose path must be short: a socket lies in it."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.daemons: dict[str, subprocess.Popen[bytes]] = {}
        (home / "state").mkdir()
        self.configuration = home / "slurm.conf"
        first, second, third, port = (free_port() for _ in range(4))
        facts = {"host": platform.node(), "user": getpass.getuser(), "home": home}
        self.configuration.write_text(CONFIGURATION.format(**facts, port=port, first=first, second=second, third=third))
        key = home / "munge.key"
        key.write_bytes(os.urandom(128))
        key.chmod(0o600)

    def start(self) -> None:
        places = [f"--{kind}-file={self.home}/munge.{kind}" for kind in ("key", "log", "pid", "seed")]
        self._daemon("munged", "--foreground", "--force", f"--socket={self.home}/munge.socket", *places)
        until((self.home / "munge.socket").exists, "munged is not there")
        self._daemon("slurmctld", "-D")
        for node in NODES:
            self.start_node(node)

    def start_node(self, node: str) -> None:
        self._daemon("slurmd", "-D", "-N", node, called=node)
        until(lambda: self.state(node) == "IDLE", f"{node} does not come: {self.said()}")

    def kill_node(self, node: str) -> None:
        """As if its power were cut: the daemon, and all that it has started, at once."""
        started = [*self.processes(f"BENCH_NODE={node}"), *self.processes(f"SLURMD_NODENAME={node}")]
        for pid in (self.daemons[node].pid, *started):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.daemons.pop(node).wait()

    def stop(self) -> None:
        """End everything, and see that nothing is left."""
        if "slurmctld" in self.daemons:
            self.call("scancel", "--signal=KILL", "--full", f"--user={getpass.getuser()}")
            self.call("scancel", f"--user={getpass.getuser()}")
            with suppress(AssertionError):
                until(lambda: not self.call("squeue", "--noheader"), "jobs are left", seconds=20)
        for daemon in reversed(self.daemons.values()):
            daemon.terminate()
        for daemon in self.daemons.values():
            daemon.wait(SECONDS)
        left = self.processes()
        for pid in left:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        assert not left

    def call(self, *words: str | Path, **variables: str) -> str:
        """What one of Slurm's commands says."""
        environment = os.environ | variables | {"SLURM_CONF": str(self.configuration)}
        done = subprocess.run(words, env=environment, capture_output=True, text=True, timeout=SECONDS, cwd=self.home)
        return done.stdout.strip()

    def state(self, node: str) -> str:
        shown = self.call("scontrol", "--oneliner", "show", "node", node)
        return shown.partition(" State=")[2].partition(" ")[0]

    def processes(self, word: str = "") -> list[int]:
        """Those of this cluster, with such a variable if one is given."""
        words = {f"SLURM_CONF={self.configuration}", word} - {""}
        found = []
        for place in Path("/proc").glob("[0-9]*/environ"):
            with suppress(OSError):
                if words <= set(place.read_text(errors="replace").split("\0")):
                    found.append(int(place.parent.name))
        return found

    def said(self) -> str:
        return "\n".join(f"{path.name}: {path.read_text()[-1000:]}" for path in self.home.glob("*.said"))

    def _daemon(self, program: str, *words: str, called: str = "") -> None:
        name = called or program
        environment = os.environ | {"SLURM_CONF": str(self.configuration), "BENCH_NODE": name}
        with (self.home / f"{name}.said").open("ab") as said:
            command = [_program(program) or program, *words]
            self.daemons[name] = subprocess.Popen(command, env=environment, stdout=said, stderr=said, cwd=self.home)


def _program(name: str) -> str | None:
    return shutil.which(name, path=os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"]))
