"""Devcontainer features on the image: they install as root, with what a Debian has for it."""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import docker
import pytest

from tests import node
from tests.commands import open_to_others
from tests.samebench.checkout import run

# What the usual features do, in our own words: name, what devcontainer-feature.json has beside it, the script.
FEATURES: dict[str, tuple[dict[str, object], str]] = {
    "users": (
        {},
        """
        apt-get update
        DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends locales sudo zsh
        echo 'en_US.UTF-8 UTF-8' >>/etc/locale.gen && locale-gen
        groupadd --gid 2001 team && useradd --shell /bin/zsh --uid 2002 --gid team --create-home member
        usermod --append --groups team "$_REMOTE_USER" && chown -R member /home/member
        test -d "$_REMOTE_USER_HOME"
        """,
    ),
    "compiled": (
        {"installsAfter": ["./users"]},
        """
        apt-get update && apt-get install --yes --no-install-recommends libcurl4-openssl-dev gettext
        cd "$(mktemp -d)" && printf 'all:\\n\\tgcc -o greet greet.c\\n' >Makefile
        printf '#include <stdio.h>\\nint main(void) { return puts("hello") < 0; }\\n' >greet.c
        make && install greet /usr/local/bin && ldconfig && update-ca-certificates
        """,
    ),
    "unpacked": (
        {"containerEnv": {"PATH": "/usr/local/share/tool/bin:${PATH}"}},
        """
        umask 0002 && groupadd --system tool && usermod --append --groups tool "$_REMOTE_USER"
        mkdir -p /usr/local/share/tool/bin && printf '#!/bin/sh\\necho tool\\n' >/usr/local/share/tool/bin/tool
        chmod +x /usr/local/share/tool/bin/tool && chown -R "$_REMOTE_USER:tool" /usr/local/share/tool
        su "$_REMOTE_USER" -c tool 2>&1 || su "$_REMOTE_USER" -c /usr/local/share/tool/bin/tool
        echo 'export TOOL=1' >>/etc/bash.bashrc
        dpkg --print-architecture
        """,
    ),
    "versioned": (
        {},
        """
        apt-get update && apt-get install --yes --no-install-recommends python3-venv git-lfs
        python3 -m venv /usr/local/share/other && /usr/local/share/other/bin/pip --version
        git lfs version && curl --version && /opt/venv/bin/python -c 'import torch'
        """,
    ),
}
LINE = "locale -a | grep -qx en_US.utf8 && id member && groups && greet && tool && command -v python git-lfs"


@pytest.fixture
def folder(image: str, engine: docker.DockerClient, tmp_path: Path) -> Iterator[Path]:
    """A folder with a devcontainer of the image and the features."""
    open_to_others(tmp_path)
    there = tmp_path / ".devcontainer"
    for name, (more, script) in FEATURES.items():
        (there / name).mkdir(parents=True)
        (there / name / "devcontainer-feature.json").write_text(json.dumps({"id": name, "version": "1.0.0", **more}))
        (there / name / "install.sh").write_text(f"#!/bin/bash\nset -eu\n{script}")
    config = {"image": image, "remoteUser": "bench", "features": {f"./{name}": {} for name in FEATURES}}
    (there / "devcontainer.json").write_text(json.dumps(config))
    yield tmp_path
    for container in engine.containers.list(all=True, filters={"label": f"devcontainer.local_folder={tmp_path}"}):
        made = container.attrs["Config"]["Image"]
        container.remove(force=True)
        for name in {made, made.removesuffix("-uid")}:
            engine.images.remove(name, force=True)


@pytest.mark.soak
@pytest.mark.timeout(900)
def test_features_install_users_languages_packages_and_programs(folder: Path) -> None:
    def client(*words: str) -> subprocess.CompletedProcess[str]:
        command = [str(node.installed(".bin/devcontainer")), *words[:1], "--workspace-folder", str(folder), *words[1:]]
        return run(command, cwd=folder, timeout=800)

    up = client("up")
    assert up.returncode == 0, up.stdout + up.stderr[-3000:]
    for shell in ("-c", "-lc", "-ic"):
        done = client("exec", "bash", shell, LINE)
        assert done.returncode == 0, done.stderr
        assert "uid=2002(member) gid=2001(team)" in done.stdout
        assert {"team", "tool", "hello", "/opt/venv/bin/python"} <= set(done.stdout.split())
