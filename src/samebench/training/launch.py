"""A command in several processes, on one machine or many: torchrun, as clusters speak to it, and an honest exit code.

PROCS or NPROC_PER_NODE   processes on each machine
NNODES NODE_RANK          how many machines, and which of them this is, from 0
MASTER_ADDR MASTER_PORT   where machine 0 can be reached by all
JOB                       a name that is the same when the job is started again: its run is then taken up
RESTARTS                  how often all processes start again after one has failed
JOIN_TIMEOUT              seconds for all machines to be there

Each may be called PET_… too, as torchrun itself and Kubeflow call them.
"""

import logging
import os
import shlex
import signal
import socket
import sys
import tempfile
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Self

from samebench.core import command
from samebench.core.command import Interrupted, Lacking, Refusal
from samebench.training import process_group

PORT = 29500
JOIN_TIMEOUT = 300
CRASHES = {signal.SIGABRT, signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGSEGV}
SIZES = ("gpu", "auto", "cpu")  # words of torchrun's for how many processes


@dataclass(frozen=True, kw_only=True)
class Launch:
    """What the environment asks for."""

    processes: str = "1"  # a number, or one of SIZES
    machines: int = 1
    machine: int | None = None
    address: str = ""
    port: int = PORT
    job: str = ""
    restarts: int = 0
    join_timeout: int = JOIN_TIMEOUT

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> Self | None:
        """None where nobody asks for more than this process, or it is one of several already. Raises Refusal."""
        if environment.keys() >= command.WORKER:
            return None

        find = partial(_find, environment)
        processes = find("PROCS", "NPROC_PER_NODE")
        machines = _number("NNODES", find("NNODES") or "1", lowest=1)
        restarts = _number("RESTARTS", find("RESTARTS", "MAX_RESTARTS") or "0", lowest=0)
        if not processes and machines == 1 and not restarts:
            return None
        if processes and processes not in SIZES:
            _number("PROCS", processes, lowest=1)
        machine = find("NODE_RANK") if machines > 1 else ""  # left over in the shell of a cluster
        asked = cls(
            processes=processes or "1",
            machines=machines,
            machine=_number("NODE_RANK", machine, lowest=0, highest=machines - 1) if machine else None,
            address=find("MASTER_ADDR"),
            port=_number("MASTER_PORT", find("MASTER_PORT") or str(PORT), lowest=1, highest=65535),
            job=find("JOB", "RDZV_ID"),
            restarts=restarts,
            join_timeout=_number("JOIN_TIMEOUT", find("JOIN_TIMEOUT") or str(JOIN_TIMEOUT), lowest=1),
        )
        if machines > 1 and not asked.address:
            raise Refusal(f"NNODES={machines} without MASTER_ADDR: give an address of machine 0 that all can reach")
        if machines > 1 and asked.restarts and not asked.job:
            raise Refusal(f"RESTARTS={asked.restarts} with NNODES={machines} needs JOB=name, to find the run again")
        return asked

    def words(self, meeting: str) -> list[str]:
        """Flags for it; the processes of one machine meet in the folder `meeting`, those of many at an address."""
        if self.machines == 1:
            where, configuration = f"{meeting}/machines", "store_type=file"
        else:
            where = f"{self.address}:{self.port}"
            configuration = f"join_timeout={self.join_timeout},read_timeout={self.join_timeout}"
            if self.machine is not None:
                configuration += f",is_host={self.machine == 0}"
        job = self.job or (str(uuid.uuid4()) if self.machines == 1 else "none")
        words = [f"--nnodes={self.machines}", f"--nproc-per-node={self.processes}", f"--max-restarts={self.restarts}"]
        return [
            *words,
            "--rdzv-backend=c10d",
            f"--rdzv-endpoint={where}",
            f"--rdzv-conf={configuration}",
            f"--rdzv-id={job}",
        ]

    def make_words(self) -> str:
        """The same for make, as it is printed and copied."""
        default = Launch()
        words = {"PROCS": (self.processes, ""), "NNODES": (self.machines, default.machines)}
        words |= {"NODE_RANK": (self.machine, None), "JOB": (self.job, ""), "RESTARTS": (self.restarts, 0)}
        if self.machines > 1:
            words |= {"MASTER_ADDR": (self.address, ""), "MASTER_PORT": (self.port, default.port)}
            words |= {"JOIN_TIMEOUT": (self.join_timeout, default.join_timeout)}
        return " ".join(f"{name}={shlex.quote(str(value))}" for name, (value, usual) in words.items() if value != usual)

    def reach(self) -> None:
        """Wait until machine 0 is there, and its name known to itself too. Raises Lacking."""
        begun, reason = time.monotonic(), ""
        while self.machines > 1 and self.machine is not None:
            try:
                if self.machine:
                    socket.create_connection((self.address, self.port), timeout=5).close()
                else:  # torch would ask itself in vain, and print its stack
                    socket.getaddrinfo(self.address, self.port)
            except OSError as error:
                if not reason:
                    print(f"waiting for machine 0 at {self.address}:{self.port}", flush=True)
                reason = error.strerror or str(error)
            else:
                return
            if time.monotonic() - begun > self.join_timeout:
                raise Lacking(self.apart(reason))
            time.sleep(0.5)

    def apart(self, reason: str) -> str:
        """What to say where the machines don't come together."""
        where = f"MASTER_ADDR={self.address}, MASTER_PORT={self.port}, NNODES={self.machines}"
        said = f"the machines did not find each other within {self.join_timeout} s ({reason})"
        return f"{where}: {said}; give all of them the address of machine 0, and open their ports to each other"


def job(environment: Mapping[str, str]) -> str:
    """The name by which a job that is started again finds its run; empty without one."""
    return _find(environment, "JOB", "RDZV_ID")


def torchrun(module: str, argv: Sequence[str]) -> int | None:
    """Run `module` in the processes that the environment asks for: their exit code, or None where it asks for none.

    Raises Refusal for an impossible wish, Lacking where the other machines can't be reached.
    """
    asked = Launch.of(os.environ)
    if not asked:
        if not os.environ.keys() >= command.WORKER:
            name = job(os.environ)
            os.environ[command.LAUNCH] = f"JOB={shlex.quote(name)}" if name else ""
        return None
    os.environ[command.LAUNCH] = asked.make_words()
    for name in [name for name in os.environ if name.startswith("PET_")]:
        del os.environ[name]  # they have been read, and torchrun would warn of some
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    os.environ["TORCH_DISABLE_SHARE_RDZV_TCP_STORE"] = "1"  # with gloo a restart would hang or die on the shared one
    asked.reach()
    with tempfile.TemporaryDirectory(prefix="samebench-") as meeting:
        if asked.machines == 1:  # then nothing of it listens beyond loopback
            os.environ[process_group.MEETING] = meeting
            for library in ("GLOO", "NCCL"):
                os.environ[f"{library}_SOCKET_IFNAME"] = "lo0" if sys.platform == "darwin" else "lo"
        return _run(asked, [*asked.words(meeting), "-m", module, *argv])


def _run(asked: Launch, words: list[str]) -> int:
    from torch.distributed.elastic.multiprocessing.api import SignalException  # noqa: PLC0415 - a second to import
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError  # noqa: PLC0415
    from torch.distributed.elastic.rendezvous.api import RendezvousConnectionError, RendezvousError  # noqa: PLC0415
    from torch.distributed.launcher.api import elastic_launch  # noqa: PLC0415
    from torch.distributed.run import config_from_args, parse_args  # noqa: PLC0415

    for name in logging.root.manager.loggerDict:
        if name.startswith("torch.distributed"):
            logging.getLogger(name).setLevel(logging.CRITICAL)  # the processes speak for themselves
    config, program, arguments = config_from_args(parse_args(words))  # type: ignore[no-untyped-call]
    try:
        elastic_launch(config, program)(*arguments)
    except ChildFailedError as error:
        codes = {rank: failure.exitcode for rank, failure in sorted(error.failures.items())}
        for rank, code in codes.items():
            if code < 0 and code != -signal.SIGTERM:  # that was us, to end the others
                print(f"process {rank} was killed by {signal.Signals(-code).name}", file=sys.stderr, flush=True)
        return verdict(list(codes.values()))
    except SignalException:
        return command.INTERRUPTED
    except RendezvousConnectionError as error:
        if not asked.machine:
            raise Lacking(asked.apart(str(error).splitlines()[0])) from error
        remedy = "start all machines again"
        raise Interrupted(f"lost machine 0 at {asked.address}:{asked.port}; {remedy}") from error
    except RendezvousError as error:
        reason = (str(error) or "nobody else came").splitlines()[0]
        raise Lacking(asked.apart(reason)) from error
    return command.DONE


def verdict(codes: Sequence[int]) -> int:
    """The exit code for those of the processes that failed: of the one that failed first, as the others only follow it.

    They follow with 4, and one that somebody has killed leaves what can be resumed, too. One that has crashed would
    crash again.
    """
    own = [code for code in codes if code > 0 and code != command.INTERRUPTED]
    crashed = [code for code in codes if -code in CRASHES]
    killed = [code for code in codes if code < 0 and -code not in CRASHES | {signal.SIGTERM}]
    if own:
        return own[0]
    return command.NO if crashed and not killed else command.INTERRUPTED


def _find(environment: Mapping[str, str], *names: str) -> str:
    found = (environment.get(prefix + name, "") for name in names for prefix in ("", "PET_"))
    return next((value for value in found if value), "")


def _number(name: str, value: str, *, lowest: int, highest: int | None = None) -> int:
    if value.isdecimal() and lowest <= int(value) and (highest is None or int(value) <= highest):
        return int(value)
    span = f"{lowest} or more" if highest is None else f"{lowest} to {highest}"
    raise Refusal(f"{name}={value}: give a number, {span}")
