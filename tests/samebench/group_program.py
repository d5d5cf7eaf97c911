"""What each of several processes does in test_group.py: everything that a group can, and one way to end.

python -m tests.samebench.group_program [fail RANK | refuse RANK | kind RANK | shape RANK]
"""

from collections.abc import Sequence

import torch

from samebench.core import command
from samebench.core.command import UsageError
from samebench.training import launch
from samebench.training.process_group import join_process_group, rank_slice, split_evenly


def main(argv: Sequence[str]) -> int | None:
    if (code := launch.torchrun("tests.samebench.group_program", argv)) is not None:
        return code
    way, *rank = argv or [""]
    with join_process_group() as group:
        counts = split_evenly(5, size=group.size)
        mine = torch.arange(5)[rank_slice(5, group)]
        with group.one_on_each_machine_first():
            first = not group.local_rank
        if [str(group.rank)] == rank and way == "fail":
            raise RuntimeError("a mistake of ours")
        if [str(group.rank)] == rank and way == "refuse":
            raise UsageError("not this one")
        if way == "kind":  # a kind of number that gloo does not know
            group.gather(torch.ones(2, dtype=torch.uint16), [2, 2])
        if way == "shape":  # one of them has more rows than the others
            group.gather(torch.ones(2, 2 + 9 * ([str(group.rank)] == rank)), [2, 2])
        told = {
            "any": group.any_rank(group.rank == 1, False),
            "gathered": group.gather(mine, counts).tolist(),
            "told": group.broadcast_json({"by": group.rank}),
            "size": [group.size, group.local_size, group.nnodes, first],
        }
        if group.is_rank_zero:
            print(told)
    return None


if __name__ == "__main__":
    command.run(main)
