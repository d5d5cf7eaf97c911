"""Starts JupyterLab on this checkout and prints a link that works: `make notebook`.

    python -m samebench.workspace.notebook [OPTION…]    until Ctrl-C; options of JupyterLab: jupyter_options.py
    python -m samebench.workspace.notebook --health     exit code 0 if the one in this container is well
    python -m samebench.workspace.notebook --help-all   JupyterLab's options

The token is made anew for each start and can't be switched off. Settings and kernels that a user makes stay in the
checkout, under .samebench/jupyter.
"""

import json
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

from samebench.core import command, local_server
from samebench.core.command import RequirementError, UsageError
from samebench.workspace import jupyter_options
from samebench.workspace.jupyter_options import JupyterOptions

PORT = 8888
NEWS = "@jupyterlab/apputils-extension:notification"  # Lab's setting that asks each new user about announcements
UNAVAILABLE_EXPORTERS = ("ASCIIDoc", "Latex", "PDF", "QtPDF", "QtPNG", "RST", "WebPDF")
FOLDER = "jupyter-"  # how the folder of Jupyter's runtime files begins
HELP = {"-h", "--help", "--help-all", "--version"}  # JupyterLab's own


def options(address: str, port: int, user_options: JupyterOptions | None = None) -> list[str]:
    """Jupyter's command line with the user's options; nothing in it is secret: every user of a machine can read it."""
    user_options = user_options or JupyterOptions()
    quiet = ["--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate", "--LabApp.news_url=None"]
    words = [
        # Jupyter warns of handlers that don't say who may call them; ours are closed by default, and tested one by one.
        sys.executable, "-W", "ignore", "-m", "jupyterlab", "--no-browser",
        f"--ServerApp.ip={address}", f"--ServerApp.port={port}", "--ServerApp.port_retries=0",
        # Sockets in our runtime folder, which only this user may enter, not ports that the whole machine may try.
        "--KernelManager.transport=ipc",
        f"--ServerApp.root_dir={local_server.checkout()}",
        # Packages come from the locks, so there is nothing to install and no catalogue to fetch.
        "--LabApp.extension_manager=readonly",
        # A password would outlive the token.
        "--PasswordIdentityProvider.allow_password_change=False",
        # A kernel that was killed is a line in this terminal.
        "--AsyncIOLoopKernelManager.restarter_class=samebench.workspace.kernel_restarter.KernelRestarter",
        # TensorBoard at /tensorboard/, on this port and behind this token.
        "--ServerApp.jpserver_extensions=samebench.workspace.tensorboard_proxy=True",
        # JupyterLab offers the exports that can work: TeX, pandoc and a browser are not in the workspace.
        *(f"--{name}Exporter.enabled=False" for name in UNAVAILABLE_EXPORTERS),
        *quiet,
    ]  # fmt: skip
    if "log_level" not in user_options.names:
        words += ["--log-level=ERROR", "--LabApp.log_level=ERROR"]
    if "allow_remote_access" not in user_options.names:
        # A page elsewhere that calls itself by another name must not reach us: loopback names only.
        words += ["--ServerApp.allow_remote_access=False"]
    if os.getuid() == 0:
        words += ["--allow-root"]
    return [*words, *user_options.words]


def environment(runtime: Path, token: str) -> dict[str, str]:
    """Our variables, with Jupyter's folders in the checkout and the token in a file that only we can read."""
    secret = runtime / "token"
    secret.touch(mode=0o600)
    secret.write_text(token)
    home = local_server.checkout() / ".samebench/jupyter"
    folders = {
        "IPYTHONDIR": home / "ipython",
        "JUPYTERLAB_SETTINGS_DIR": home / "settings",
        "JUPYTERLAB_WORKSPACES_DIR": home / "workspaces",
        "JUPYTER_CONFIG_DIR": home / "config",
        "JUPYTER_CONFIG_PATH": runtime,
        "JUPYTER_DATA_DIR": home / "data",
        "JUPYTER_RUNTIME_DIR": runtime,
        "JUPYTER_TOKEN_FILE": secret,
    }
    for folder in folders.values():
        if folder != secret:
            folder.mkdir(parents=True, exist_ok=True)
    defaults = runtime / "labconfig/default_setting_overrides.json"
    defaults.parent.mkdir()
    defaults.write_text(json.dumps({NEWS: {"fetchNews": "false", "checkForUpdates": False}}))
    return os.environ | {name: str(path) for name, path in folders.items()}


class KernelCheck(threading.Thread):
    """Starts a kernel and ends it again, beside the server's own start: a lab that can't compute is not ready."""

    def __init__(self, variables: Mapping[str, str]) -> None:
        super().__init__(daemon=True)
        self.variables = dict(variables)
        self.failure: str | None = None

    def run(self) -> None:
        """Waits until the kernel has answered."""
        from jupyter_client.manager import KernelManager  # noqa: PLC0415 - half a second that --health need not pay

        try:
            manager = KernelManager(
                transport="ipc", connection_file=f"{self.variables['JUPYTER_RUNTIME_DIR']}/check.json"
            )
            manager.start_kernel(env=self.variables)
            client = manager.client()
            client.start_channels()
            client.wait_for_ready(timeout=60)
            client.stop_channels()
            manager.shutdown_kernel(now=True)
        except Exception as error:  # noqa: BLE001 - whatever keeps a kernel from starting, the user must hear it
            self.failure = f"no kernel can start: {error}"


def main(arguments: Sequence[str]) -> int:
    """The command line."""
    if list(arguments[-1:]) == ["--health"]:
        return local_server.health(FOLDER)
    if not HELP.isdisjoint(arguments):
        return subprocess.run([sys.executable, "-W", "ignore", "-m", "jupyterlab", *arguments]).returncode
    user_options = jupyter_options.parse(arguments)
    if not {"JUPYTER_TOKEN", "TOKEN"}.isdisjoint(os.environ):
        raise UsageError(
            "the token can't be chosen or left out: each start makes its own; unset TOKEN and JUPYTER_TOKEN"
        )
    address, port, published = local_server.address(PORT)
    token = local_server.secret()
    with tempfile.TemporaryDirectory(prefix=FOLDER, dir=local_server.short_folder()) as folder:
        runtime = Path(folder)
        variables = environment(runtime, token)
        status = f"http://{local_server.LOOPBACK}:{port}{user_options.base_url}api/status"
        kernel = KernelCheck(variables)
        kernel.start()

        def announce() -> str:
            kernel.join()
            if kernel.failure:
                raise RequirementError(kernel.failure)
            code = local_server.answer(status)
            if not code:
                raise RequirementError("JupyterLab no longer answers; see above")
            if code != 403:
                raise UsageError(
                    "JupyterLab lets everybody in: remove the token setting from .samebench/jupyter/config"
                )
            (runtime / "token").unlink()
            local_server.write_ready(runtime, status, headers=authorization(token))
            link = f"http://{local_server.LOOPBACK}:{published}{user_options.base_url}lab?token={token}"
            return f"JupyterLab: {link}   (Ctrl-C ends it)"

        return local_server.serve(
            options(address, port, user_options),
            environment=variables,
            ready=lambda: local_server.answer(status, headers=authorization(token), seconds=1) == 200,
            announce=announce,
        )


def authorization(token: str) -> dict[str, str]:
    """The header that opens Jupyter's interface."""
    return {"Authorization": f"token {token}"}


if __name__ == "__main__":
    command.run(main)
