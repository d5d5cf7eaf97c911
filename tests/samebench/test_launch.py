import os
import shlex

import pytest

from samebench.core.command import UsageError
from samebench.training import launch
from samebench.training.launch import Launch, exit_code


def test_nobody_asks_for_several_processes() -> None:
    assert Launch.from_env({}) is None
    assert Launch.from_env({"NNODES": "1", "JOB": "a"}) is None


def test_one_of_several_starts_no_others() -> None:
    started = {"RANK": "0", "WORLD_SIZE": "2", "LOCAL_RANK": "0", "LOCAL_WORLD_SIZE": "2"}
    assert Launch.from_env({"PROCS": "2", "TORCHELASTIC_RUN_ID": "a", **started}) is None


def test_what_another_launcher_has_left_in_a_shell_makes_us_none_of_its_processes() -> None:
    left = {"RANK": "3", "WORLD_SIZE": "4", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2", "NODE_RANK": "1"}
    assert Launch.from_env(left) is None
    asked = Launch.from_env({"PROCS": "2", **left})
    assert asked
    assert (asked.processes, asked.nnodes, asked.node_rank) == ("2", 1, None)


def test_restarts_are_for_one_process_too() -> None:
    asked = Launch.from_env({"RESTARTS": "2", "JOB": "evening"})
    assert asked
    assert {"--nnodes=1", "--nproc-per-node=1", "--max-restarts=2", "--rdzv-id=evening"} <= set(
        asked.torchrun_args("/x")
    )


@pytest.mark.parametrize(
    "wish",
    [
        {"PROCS": "2"},
        {"PROCS": "gpu", "JOB": "this evening"},
        {"PROCS": "1", "RESTARTS": "3"},
        {"PROCS": "4", "NNODES": "2", "NODE_RANK": "0", "MASTER_ADDR": "10.0.0.1", "MASTER_PORT": "1234"},
    ],
)
def test_the_words_for_make_ask_for_the_same(wish: dict[str, str]) -> None:
    asked = Launch.from_env(wish)
    assert asked
    words = dict(word.split("=", 1) for word in shlex.split(asked.make_words()))
    assert words == wish
    assert Launch.from_env(words) == asked


def test_the_words_of_clusters_are_understood() -> None:
    ours = {"NNODES": "2", "NODE_RANK": "1", "MASTER_ADDR": "a", "MASTER_PORT": "1234", "JOB": "b", "RESTARTS": "3"}
    asked = Launch.from_env({"NPROC_PER_NODE": "4", **ours})
    torchruns = {
        name.replace("JOB", "RDZV_ID").replace("RESTARTS", "MAX_RESTARTS"): value for name, value in ours.items()
    }
    assert asked == Launch.from_env(
        {"PET_NPROC_PER_NODE": "4"} | {f"PET_{name}": value for name, value in torchruns.items()}
    )
    assert asked
    words = asked.torchrun_args("/nowhere")
    assert {"--nnodes=2", "--nproc-per-node=4", "--max-restarts=3", "--rdzv-endpoint=a:1234", "--rdzv-id=b"} <= set(
        words
    )
    assert any("is_host=False" in word for word in words)


def test_the_processes_of_one_machine_open_no_port() -> None:
    asked = Launch.from_env({"PROCS": "2"})
    assert asked
    assert {"--rdzv-endpoint=/somewhere/machines", "--rdzv-conf=store_type=file"} <= set(
        asked.torchrun_args("/somewhere")
    )


@pytest.mark.parametrize(("machines", "card"), [("1", "lo"), ("2", None)])
def test_what_listens_on_one_machine_listens_on_loopback(
    machines: str, card: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str | None] = []

    def run(*_: object) -> int:
        seen.extend(os.environ.get(f"{library}_SOCKET_IFNAME") for library in ("GLOO", "NCCL"))
        return 0

    wish = {"PROCS": "2", "NNODES": machines, "NODE_RANK": "0", "MASTER_ADDR": "127.0.0.1"}
    monkeypatch.setattr(os, "environ", {**wish, "PATH": os.environ["PATH"]})
    monkeypatch.setattr(launch, "_run", run)
    assert launch.torchrun("samebench.training", []) == 0
    assert seen == [card, card]


@pytest.mark.parametrize(
    ("wish", "said"),
    [
        ({"PROCS": "0"}, "PROCS=0: give a number, 1 or more"),
        ({"PROCS": "many"}, "PROCS=many: give a number"),
        ({"PROCS": "-1"}, "PROCS=-1"),
        ({"NNODES": "two"}, "NNODES=two"),
        ({"NNODES": "2"}, "NNODES=2 without MASTER_ADDR"),
        ({"NNODES": "2", "MASTER_ADDR": "a", "NODE_RANK": "2"}, "NODE_RANK=2: give a number, 0 to 1"),
        ({"NNODES": "2", "MASTER_ADDR": "a", "MASTER_PORT": "70000"}, "MASTER_PORT=70000"),
        ({"NNODES": "2", "MASTER_ADDR": "a", "RESTARTS": "3"}, "RESTARTS=3 with NNODES=2 needs JOB=name"),
    ],
)
def test_an_impossible_wish_is_refused_by_its_name(wish: dict[str, str], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        Launch.from_env(wish)


@pytest.mark.parametrize(
    ("codes", "ours"),
    [
        ([4, 1, 4], 1),
        ([4, 3], 3),
        ([-9, 4], 4),
        ([-9, -15], 4),
        ([-6, -15], 1),
        ([4, 4], 4),
        ([2, 4], 2),
        ([-11], 1),
        ([-6, 4], 1),
        ([-6, -9], 4),
    ],
)
def test_the_exit_code_is_that_of_the_cause(codes: list[int], ours: int) -> None:
    assert exit_code(codes) == ours
