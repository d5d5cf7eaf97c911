"""A list of all that an image contains, as CycloneDX 1.6 JSON (https://cyclonedx.org/docs/1.6/json/).

Names follow the package URL specification. It has neither the time nor the random number that the format would take:
both may be left out, and the same image gives the same list.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import quote, unquote

from samebench.shipping.image_archive import PackedImage


def document(inside: Mapping[str, Any], image: PackedImage, name: str, version: str) -> dict[str, Any]:
    """The list for what inventory.py has told from `inside` the image."""
    return {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {
            "component": {
                "type": "container",
                "bom-ref": "image",
                "name": name,
                "version": version,
                "purl": f"pkg:oci/{name}@{quote('sha256:' + image.manifest, safe='')}?arch={image.architecture}",
                "properties": [{"name": "samebench:config", "value": f"sha256:{image.config}"}],
            }
        },
        "components": [*_system(inside), *_packages(inside), *_wheels(inside), *_files(inside)],
    }


def image(document: Mapping[str, Any]) -> set[str]:
    """What engines call the image that such a list is of: the digest of its manifest, or that of its config."""
    component = document["metadata"]["component"]
    manifest = unquote(component["purl"]).partition("@")[2].partition("?")[0]
    return {manifest, *(each["value"] for each in component["properties"])}


def _system(inside: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    system = inside["system"]
    yield {"type": "operating-system", "bom-ref": "system", "name": system["ID"], "version": system["VERSION_ID"]}


def _packages(inside: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    distribution = f"{inside['system']['ID']}-{inside['system']['VERSION_ID']}"
    for each in sorted(inside["packages"], key=lambda each: (each["name"], each["architecture"])):
        about = f"arch={each['architecture']}&distro={distribution}"
        purl = f"pkg:deb/{inside['system']['ID']}/{each['name']}@{_quote(each['version'])}?{about}"
        source = {"name": "samebench:source", "value": f"{each['source']} {each['source_version']}"}
        yield _component(each["name"], each["version"], purl) | {"properties": [source]}


def _wheels(inside: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for each in inside["wheels"]:
        plain = re.sub(r"[-_.]+", "-", each["name"]).lower()  # as PEP 503 makes names alike
        yield _component(each["name"], each["version"], f"pkg:pypi/{plain}@{_quote(each['version'])}")


def _files(inside: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for each in inside["artifact"]:
        hashes = [{"alg": "SHA-256", "content": each["sha256"]}]
        yield {"type": "file", "bom-ref": each["path"], "name": each["path"], "hashes": hashes}


def _component(name: str, version: str, purl: str) -> dict[str, Any]:
    return {"type": "library", "bom-ref": purl, "name": name, "version": version, "purl": purl}


def _quote(text: str) -> str:
    return quote(text, safe=":~")
