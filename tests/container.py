"""The tests that `.ci/run` repeats in the container, each with what can differ there; CONTRIBUTING.md has the rule.

`.ci/run` runs every other test in the local runtime alone: the same code meets the same locked packages there.
`make test RUNTIME=docker` runs all of them in the container.
"""

# A file, or a test of it, and what differs: Python is Debian's, the root file system is read-only, /tmp is in memory,
# the checkout is mounted, and there is no home, no capability and no service of the host.
REPEATED = {
    "training/test_checkpoint.py": "files: saves in memory, links, users",
    "apparel/test_data.py": "files: a mounted checkout, downloads",
    "training/test_processes.py::test_any_number": "processes: gloo, shared memory",
    "training/test_processes.py::test_one_that_is_killed": "processes: an init that reaps, no capabilities",
    "apparel/test_golden.py": "bits: the hash in git",
    "training/test_resume_command.py::test_the_command": "commands: without RUNTIME= in there; signals",
    "runs/test_run.py": "files: what can't be written",
    "training/test_train.py::test_a_stopped_command": "signals: an init before the training",
    "training/test_train.py::test_one_two_and_eight_workers": "bits: threads in a bounded container",
    "training/test_train.py::test_the_receipt": "receipt: the container's facts",
    "serving/test_export.py": "bits: ONNX under Debian's Python",
    "serving/test_foreign.py::test_a_model_whose": "a server's check: the image's fingerprint beside the answer",
    "serving/test_server.py": "a server without capabilities, signals",
    "notebooks/test_notebooks.py": "kernels: the environment of the image, no home",
    "samebench/test_accelerator.py::test_an_image_without_cuda": "torch: the build of the image",
    "samebench/test_board.py": "JupyterLab: the environment of the image, no home",
    "samebench/test_command.py": "signals, pipes, a disk that is full",
    "samebench/test_cores.py": "cores: the bounds of a container",
    "samebench/test_determinism.py": "variables: the image's ENV lines",
    "samebench/test_doctor.py": "environment: what the image was built with, OS packages",
    "samebench/test_drift.py": "environment: a read-only one",
    "samebench/test_dvc.py::test_a_wheelhouse": "DVC's environment: made in the mounted checkout",
    "samebench/test_dvc.py::test_it_sees": "DVC's environment: made in the mounted checkout",
    "samebench/test_environment.py": "environment: its folder, OS packages, the interpreter",
    "samebench/test_files.py": "files: memory, a mounted checkout",
    "samebench/test_git.py": "git: Debian's, without a home, in a checkout of another user",
    "samebench/test_group.py": "processes: torchrun, gloo",
    "samebench/test_hook.py::test_clean_change": "git: the hook in the image",
    "samebench/test_hook.py::test_git_runs_nothing": "git: the hook in the image",
    "samebench/test_hook.py::test_notebook_is_stripped": "git: the filter in the image",
    "samebench/test_launch.py": "variables: those of the container",
    "samebench/test_lint.py": "tools: those of the image",
    "samebench/test_notebook.py": "JupyterLab: the environment of the image, no home",
    "samebench/test_receipt.py": "receipt: runtime, image, git",
    "samebench/test_servers.py": "JupyterLab, TensorBoard: ends, signals, health",
    "samebench/test_sweep.py::test_every_point": "processes: several trainings at once",
    "samebench/test_versions.py::test_what_one_records": "DVC: over a mounted checkout",
}


def repeated(nodeid: str) -> bool:
    """Whether `.ci/run` repeats the test with this name, such as tests/samebench/test_git.py::test_x[y]."""
    return nodeid.removeprefix("tests/").startswith(tuple(REPEATED))
