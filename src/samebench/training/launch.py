"""Run a command in several processes, on one machine or many, with torchrun and the variables of clusters.

PROCS or NPROC_PER_NODE   processes on each machine
NNODES NODE_RANK          how many machines, and which of them this is, from 0
MASTER_ADDR MASTER_PORT   where machine 0 can be reached by all
JOB                       a name that stays the same when the job is started again, to resume its run
RESTARTS                  how often all processes are started again after one has failed
JOIN_TIMEOUT              seconds in which all machines must join

Each may have the prefix PET_, as torchrun and Kubeflow write it.
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
from samebench.core.command import Interrupted, RequirementError, UsageError
from samebench.training import process_group

PORT = 29500
JOIN_TIMEOUT = 300
CRASHES = {signal.SIGABRT, signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGSEGV}
SIZES = ("gpu", "auto", "cpu")  # torchrun's words for a number of processes


@dataclass(frozen=True, kw_only=True)
class Launch:
    """The number of processes and machines, from the environment."""

    processes: str = "1"  # a number, or one of SIZES
    nnodes: int = 1
    node_rank: int | None = None
    master_address: str = ""
    master_port: int = PORT
    job: str = ""
    restarts: int = 0
    join_timeout: int = JOIN_TIMEOUT

    @classmethod
    def from_env(cls, environment: Mapping[str, str]) -> Self | None:
        """None if the environment asks for one process, or this one was started by torchrun. Raises UsageError."""
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
        machine = find("NODE_RANK") if machines > 1 else ""  # a cluster's shell may have it for one machine, too
        launch = cls(
            processes=processes or "1",
            nnodes=machines,
            node_rank=_number("NODE_RANK", machine, lowest=0, highest=machines - 1) if machine else None,
            master_address=find("MASTER_ADDR"),
            master_port=_number("MASTER_PORT", find("MASTER_PORT") or str(PORT), lowest=1, highest=65535),
            job=find("JOB", "RDZV_ID"),
            restarts=restarts,
            join_timeout=_number("JOIN_TIMEOUT", find("JOIN_TIMEOUT") or str(JOIN_TIMEOUT), lowest=1),
        )
        if machines > 1 and not launch.master_address:
            raise UsageError(f"NNODES={machines} without MASTER_ADDR: give an address of machine 0 that all can reach")
        if machines > 1 and launch.restarts and not launch.job:
            raise UsageError(f"RESTARTS={launch.restarts} with NNODES={machines} needs JOB=name, to find the run again")
        return launch

    def torchrun_args(self, rendezvous: str) -> list[str]:
        """Flags for torchrun. The rendezvous of one machine is the folder `rendezvous`, that of many an address."""
        if self.nnodes == 1:
            where, configuration = f"{rendezvous}/machines", "store_type=file"
        else:
            where = f"{self.master_address}:{self.master_port}"
            configuration = f"join_timeout={self.join_timeout},read_timeout={self.join_timeout}"
            if self.node_rank is not None:
                configuration += f",is_host={self.node_rank == 0}"
        job = self.job or (str(uuid.uuid4()) if self.nnodes == 1 else "none")
        words = [f"--nnodes={self.nnodes}", f"--nproc-per-node={self.processes}", f"--max-restarts={self.restarts}"]
        words += ["--rdzv-backend=c10d", f"--rdzv-endpoint={where}", f"--rdzv-conf={configuration}"]
        return [*words, f"--rdzv-id={job}"]

    def make_words(self) -> str:
        """The variables that differ from the defaults, as words for make."""
        words = {"PROCS": (self.processes, ""), "NNODES": (self.nnodes, 1)}
        words |= {"NODE_RANK": (self.node_rank, None), "JOB": (self.job, ""), "RESTARTS": (self.restarts, 0)}
        if self.nnodes > 1:
            words |= {"MASTER_ADDR": (self.master_address, ""), "MASTER_PORT": (self.master_port, PORT)}
            words |= {"JOIN_TIMEOUT": (self.join_timeout, JOIN_TIMEOUT)}
        return " ".join(
            f"{name}={shlex.quote(str(value))}" for name, (value, default) in words.items() if value != default
        )

    def wait_for_master(self) -> None:
        """Wait until machine 0 answers, and can resolve its own name. Raises RequirementError after `join_timeout`."""
        start, reason = time.monotonic(), ""
        while self.nnodes > 1 and self.node_rank is not None:
            try:
                if self.node_rank:
                    socket.create_connection((self.master_address, self.master_port), timeout=5).close()
                else:  # torch would fail to resolve it, and print a traceback
                    socket.getaddrinfo(self.master_address, self.master_port)
            except OSError as error:
                if not reason:
                    print(f"waiting for machine 0 at {self.master_address}:{self.master_port}", flush=True)
                reason = error.strerror or str(error)
            else:
                return
            if time.monotonic() - start > self.join_timeout:
                raise RequirementError(self.rendezvous_error(reason))
            time.sleep(0.5)

    def rendezvous_error(self, reason: str) -> str:
        """The message if the machines don't find each other."""
        where = f"MASTER_ADDR={self.master_address}, MASTER_PORT={self.master_port}, NNODES={self.nnodes}"
        message = f"the machines did not find each other within {self.join_timeout} s ({reason})"
        return f"{where}: {message}; give all of them the address of machine 0, and open their ports to each other"


def job(environment: Mapping[str, str]) -> str:
    """The name by which a restarted job finds its run; empty without one."""
    return _find(environment, "JOB", "RDZV_ID")


def torchrun(module: str, argv: Sequence[str]) -> int | None:
    """Run `module` in several processes and return the exit code; None if the environment asks for one process.

    Raises UsageError for a wrong variable, RequirementError if the other machines can't be reached.
    """
    launch = Launch.from_env(os.environ)
    if not launch:
        if not os.environ.keys() >= command.WORKER:
            name = job(os.environ)
            os.environ[command.LAUNCH] = f"JOB={shlex.quote(name)}" if name else ""
        return None
    os.environ[command.LAUNCH] = launch.make_words()
    for name in [name for name in os.environ if name.startswith("PET_")]:
        del os.environ[name]  # `launch` has them, and torchrun would warn of some
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    os.environ["TORCH_DISABLE_SHARE_RDZV_TCP_STORE"] = "1"  # with gloo a restart would hang or die on the shared one
    launch.wait_for_master()
    with tempfile.TemporaryDirectory(prefix="samebench-") as rendezvous:
        if launch.nnodes == 1:  # then no port is open beyond loopback
            os.environ[process_group.RENDEZVOUS_DIR] = rendezvous
            for library in ("GLOO", "NCCL"):
                os.environ[f"{library}_SOCKET_IFNAME"] = "lo0" if sys.platform == "darwin" else "lo"
        return _run(launch, [*launch.torchrun_args(rendezvous), "-m", module, *argv])


def _run(launch: Launch, words: list[str]) -> int:
    from torch.distributed.elastic.multiprocessing.api import SignalException  # noqa: PLC0415 - a second to import
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError  # noqa: PLC0415
    from torch.distributed.elastic.rendezvous.api import RendezvousConnectionError, RendezvousError  # noqa: PLC0415
    from torch.distributed.launcher.api import elastic_launch  # noqa: PLC0415
    from torch.distributed.run import config_from_args, parse_args  # noqa: PLC0415

    for name in logging.root.manager.loggerDict:
        if name.startswith("torch.distributed"):
            logging.getLogger(name).setLevel(logging.CRITICAL)  # the processes print their own errors
    config, program, arguments = config_from_args(parse_args(words))  # type: ignore[no-untyped-call]
    try:
        elastic_launch(config, program)(*arguments)
    except ChildFailedError as error:
        codes = {rank: failure.exitcode for rank, failure in sorted(error.failures.items())}
        for rank, code in codes.items():
            if code < 0 and code != -signal.SIGTERM:  # torchrun sends it to the others
                print(f"process {rank} was killed by {signal.Signals(-code).name}", file=sys.stderr, flush=True)
        return exit_code(list(codes.values()))
    except SignalException:
        return command.INTERRUPTED
    except RendezvousConnectionError as error:
        if not launch.node_rank:
            raise RequirementError(launch.rendezvous_error(str(error).splitlines()[0])) from error
        remedy = "start all machines again"
        raise Interrupted(f"lost machine 0 at {launch.master_address}:{launch.master_port}; {remedy}") from error
    except RendezvousError as error:
        reason = (str(error) or "nobody else came").splitlines()[0]
        raise RequirementError(launch.rendezvous_error(reason)) from error
    return command.DONE


def exit_code(codes: Sequence[int]) -> int:
    """The exit code of the command for those of the processes that failed: that of the first error.

    The processes that lose it end with 4. A killed process can be resumed, so its code is 4, too. A process that
    crashed would crash again.
    """
    errors = [code for code in codes if code > 0 and code != command.INTERRUPTED]
    crashed = [code for code in codes if -code in CRASHES]
    killed = [code for code in codes if code < 0 and -code not in CRASHES | {signal.SIGTERM}]
    if errors:
        return errors[0]
    return command.NO if crashed and not killed else command.INTERRUPTED


def _find(environment: Mapping[str, str], *names: str) -> str:
    values = (environment.get(prefix + name, "") for name in names for prefix in ("", "PET_"))
    return next((value for value in values if value), "")


def _number(name: str, value: str, *, lowest: int, highest: int | None = None) -> int:
    if value.isdecimal() and lowest <= int(value) and (highest is None or int(value) <= highest):
        return int(value)
    span = f"{lowest} or more" if highest is None else f"{lowest} to {highest}"
    raise UsageError(f"{name}={value}: give a number, {span}")
