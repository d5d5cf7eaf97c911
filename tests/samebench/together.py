"""What each of several processes does in test_group.py: everything that a group can, and one way to end.

python -m tests.samebench.together [fail RANK | refuse RANK | kind RANK | shape RANK]
"""

from collections.abc import Sequence

import torch

from samebench.core import command
from samebench.core.command import Refusal
from samebench.training import launch
from samebench.training.process_group import joined, own, share


def main(argv: Sequence[str]) -> int | None:
    if (code := launch.torchrun("tests.samebench.together", argv)) is not None:
        return code
    way, *rank = argv or [""]
    with joined() as group:
        counts = share(5, size=group.size)
        mine = torch.arange(5)[own(5, group)]
        with group.one_on_each_machine_first():
            first = not group.local_rank
        if [str(group.rank)] == rank and way == "fail":
            raise RuntimeError("a mistake of ours")
        if [str(group.rank)] == rank and way == "refuse":
            raise Refusal("not this one")
        if way == "kind":  # a kind of number that gloo does not know
            group.gather(torch.ones(2, dtype=torch.uint16), [2, 2])
        if way == "shape":  # one of them has more rows than the others
            group.gather(torch.ones(2, 2 + 9 * ([str(group.rank)] == rank)), [2, 2])
        told = {
            "any": group.any(group.rank == 1, False),
            "gathered": group.gather(mine, counts).tolist(),
            "told": group.tell({"by": group.rank}),
            "size": [group.size, group.local_size, group.machines, first],
        }
        if group.leads:
            print(told)
    return None


if __name__ == "__main__":
    command.run(main)
