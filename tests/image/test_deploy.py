"""What deploy/ has for the server: the compose file is started, the Kubernetes one held against its schema."""

import json
import os
import subprocess
import sys

import pytest
import yaml

from tests import reference
from tests.commands import lacking
from tests.samebench import checkout as checkouts
from tests.samebench.server import free_port
from tests.serving.conftest import PNG, Server, folder, run

from .test_serve import Served, checkout, served, until_ready

__all__ = ["checkout", "folder", "run", "served"]  # fixtures

DEPLOY = checkouts.ROOT / "deploy"


def test_each_is_short_and_refuses_to_be_open_to_all_by_oversight() -> None:
    for path in DEPLOY.glob("*.yaml"):
        assert len(path.read_text().splitlines()) < 60
    compose = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]["model"]
    assert compose["ports"] == ["${ADDRESS:-127.0.0.1}:${PORT:-8000}:8000"]
    assert compose["environment"]["API_KEY"].startswith("${API_KEY:?")


def test_both_give_the_server_no_power_and_the_same_memory() -> None:
    compose = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]["model"]
    deployment, _service = yaml.safe_load_all((DEPLOY / "kubernetes.yaml").read_text())
    pod = deployment["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    security = container["securityContext"]
    assert (compose["read_only"], security["readOnlyRootFilesystem"]) == (True, True)
    assert (compose["cap_drop"], security["capabilities"]["drop"]) == (["ALL"], ["ALL"])
    assert compose["security_opt"] == ["no-new-privileges:true"]
    assert security["allowPrivilegeEscalation"] is False
    assert compose["user"] == f"{pod['securityContext']['runAsUser']}:{pod['securityContext']['runAsGroup']}"
    assert (compose["mem_limit"], container["resources"]["limits"]["memory"]) == ("1g", "1Gi")
    assert {container[probe]["httpGet"]["path"] for probe in container if probe.endswith("Probe")} == {"/health"}


@pytest.mark.soak
def test_the_kubernetes_file_is_what_its_schema_says() -> None:
    line = "import sys, yaml, kubernetes_validate as k; [k.validate(each, k.latest_version(), strict=True) for each in "
    line += "yaml.safe_load_all(open(sys.argv[1]))]; print('valid')"
    command = [sys.executable, "-W", "ignore", "-c", line, str(DEPLOY / "kubernetes.yaml")]
    done = subprocess.run(command, env=reference.environment(), capture_output=True, text=True)
    assert done.stdout == "valid\n", done.stderr[-2000:]


@pytest.mark.soak
def test_the_compose_file_starts_a_healthy_server_that_asks_for_its_key(served: Served) -> None:
    if checkouts.run(["docker", "compose", "version"], cwd=checkouts.ROOT).returncode:
        lacking("no docker compose here")
    port = free_port()
    compose = ["docker", "compose", "--file", str(DEPLOY / "compose.yaml"), "--project-name", f"model{port}"]
    known = {"API_KEY": "sesame", "PORT": str(port), "IMAGE": served.image}
    try:
        up = checkouts.run([*compose, "up", "--wait"], cwd=checkouts.ROOT, variables=known)
        assert up.returncode == 0, up.stderr[-2000:]
        server = Server(port)
        assert until_ready(server)
        assert server.predict(b"x").status == 401
        assert server.predict(b"x", PNG | {"authorization": "Bearer sesame"}).status == 415
        shown = checkouts.run([*compose, "ps", "--format", "json"], cwd=checkouts.ROOT, variables=known)
        assert json.loads(shown.stdout.splitlines()[0])["Health"] == "healthy"
    finally:
        checkouts.run([*compose, "down"], cwd=checkouts.ROOT, variables=known)
    without = {name: value for name, value in os.environ.items() if name != "API_KEY"}
    refused = subprocess.run([*compose, "up"], env=without, capture_output=True, text=True)
    assert "set API_KEY" in refused.stderr
