"""Package indexes on loopback, with small wheels made here: the Python index, and the one of torch's CPU builds."""

import hashlib
import http.server
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .tampered import write_wheel

COMPILED = ("x86_64", "aarch64")
UPLOADED = "2026-01-01T00:00:00Z"  # before every cut-off date
LINUX = "cp311-cp311-manylinux_2_28_{}"
MAC = "cp311-cp311-macosx_14_0_arm64"


def publish(folder: Path, name: str, version: str, *, needs: tuple[str, ...] = (), compiled: bool = False) -> None:
    """Puts the wheels of a release into `folder`; compiled ones for Linux, and for macOS if it is no CPU build."""
    folder.mkdir(parents=True, exist_ok=True)
    tags = ["py3-none-any"]
    if compiled:
        tags = [LINUX.format(each) for each in COMPILED] + ([] if "+" in version else [MAC])
    for tag in tags:
        module = name.replace("-", "_")
        write_wheel(
            folder,
            module,
            version,
            f"tag = {tag!r}\n__version__ = {version!r}\n",
            needs="\nRequires-Dist: ".join(needs),
        )
        made = folder / f"{module}-{version}-py3-none-any.whl"
        made.rename(folder / f"{module}-{version}-{tag}.whl")


def _page(folder: Path, name: str, *, as_json: bool) -> bytes:
    wheels = sorted(folder.glob(f"{name.replace('-', '_')}-*.whl"))
    digests = {wheel: hashlib.sha256(wheel.read_bytes()).hexdigest() for wheel in wheels}
    if not as_json:
        links = [f'<a href="/wheels/{each.name.replace("+", "%2B")}#sha256={digests[each]}">x</a>\n' for each in wheels]
        return "".join(links).encode()
    files = [
        {
            "filename": wheel.name,
            "url": f"/wheels/{wheel.name}",
            "hashes": {"sha256": digest},
            "size": wheel.stat().st_size,
            "upload-time": UPLOADED,
        }
        for wheel, digest in digests.items()
    ]
    versions = sorted({wheel.name.split("-")[1] for wheel in wheels})
    return json.dumps({"meta": {"api-version": "1.1"}, "name": name, "files": files, "versions": versions}).encode()


@contextmanager
def serve(folder: Path, *, as_json: bool) -> Iterator[str]:
    """Serves the wheels in `folder` as a package index, in JSON or in HTML; gives its address."""

    class Index(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            kind, _, name = self.path.strip("/").partition("/")
            wheel = folder / name.replace("%2B", "+").removesuffix(".metadata")
            pages = kind == "simple" and list(folder.glob(f"{name.replace('-', '_')}-*.whl"))
            if pages:
                content = "application/vnd.pypi.simple.v1+json" if as_json else "text/html"
                self.answer(content, _page(folder, name, as_json=as_json))
            elif kind == "wheels" and wheel.is_file() and not name.endswith(".metadata"):
                self.answer("application/octet-stream", wheel.read_bytes())
            else:
                self.send_error(404)

        def do_HEAD(self) -> None:
            self.do_GET()

        def answer(self, kind: str, content: bytes) -> None:
            self.send_response(200)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(content)

        def log_message(self, *args: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Index) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/simple"
        finally:
            server.shutdown()
