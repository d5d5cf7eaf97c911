"""Where versions of data are: what `.dvc/config`, which is in git, and `.dvc/config.local` say.

`.dvc/config` comes with branches of other people. It may say where the team's remote is. What concerns one machine, its
keys and the folders outside of the checkout, counts from `.dvc/config.local` only, which must not be in git.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from samebench.core import untrusted
from samebench.core.command import UsageError
from samebench.core.git import NoRepositoryError, run_git
from samebench.core.text import printable
from samebench.data import listing
from samebench.host import dvc

MAX_BYTES = 1 << 20
LOCAL = "config.local"
SCHEMES = ("ssh", "http", "https")
# Of DVC's options of a remote those that say where it is; in a local file also those that let this machine in.
TEAM_OPTIONS = {
    "url", "user", "port", "timeout", "jobs", "max_sessions", "gss_auth", "allow_agent", "verify",
    "connect_timeout", "read_timeout",
}  # fmt: skip
MACHINE_OPTIONS = {
    "keyfile", "password", "passphrase", "auth", "custom_auth_header", "ssl_verify",
}  # fmt: skip


@dataclass(frozen=True)
class DvcConfig:
    """Where a checkout's versions are, with paths made absolute."""

    cache: Path
    shared: bool = False  # writable for the group
    remote: Mapping[str, str] = field(default_factory=dict)  # its url and options; empty where there is none

    @property
    def url(self) -> str:
        """The remote's address, "" where there is none."""
        return self.remote.get("url", "")


Sections = dict[str, dict[str, str]]


def read_config(root: Path) -> DvcConfig:
    """The checkout's settings; `DATA_REMOTE` comes before the remote that stands there.

    Raises UsageError for a default remote without an address, and for what a file must not say.
    """
    untrusted.path_inside(root, ".dvc/config", where=".dvc/config")
    home = root / ".dvc"
    team, machine = _sections(home / "config"), _sections(home / LOCAL)
    if machine:
        _refuse_local_in_git(root)
    return DvcConfig(
        cache=_cache(team, machine, home),
        shared=_merge_options(team, machine, "cache").get("shared") == "group",
        remote=_remote(team, machine, home, root),
    )


def _merge_options(team: Sections, machine: Sections, section: str) -> dict[str, str]:
    return {**team.get(section, {}), **machine.get(section, {})}


def _refuse_local_in_git(root: Path) -> None:
    try:
        tracked = run_git("ls-files", "-z", "--", f"./.dvc/{LOCAL}", root=root)
    except NoRepositoryError:
        return
    if tracked:
        raise UsageError(f".dvc/{LOCAL}: is in git, so others can write it; git rm --cached .dvc/{LOCAL}")


def _cache(team: Sections, machine: Sections, home: Path) -> Path:
    """The folder of the cache, outside of `.dvc/` only by the word of this machine."""
    folder = machine.get("cache", {}).get("dir")
    place = _resolve_folder(folder or team.get("cache", {}).get("dir") or "cache", home)
    if not folder and home.resolve() not in place.parents:
        remedy = f"name it in .dvc/{LOCAL}, which git ignores, as docs/data.md shows"
        raise UsageError(f".dvc/config: cache.dir leads out of .dvc/, to {printable(place)}; {remedy}")
    return place


def _remote(team: Sections, machine: Sections, home: Path, root: Path) -> dict[str, str]:
    if url := os.environ.get("DATA_REMOTE"):
        return {"url": _address(url, root, "DATA_REMOTE")}
    if not (name := _merge_options(team, machine, "core").get("remote")):
        return {}
    section = f'remote "{name}"'
    _check_options(team.get(section, {}), TEAM_OPTIONS, ".dvc/config")
    _check_options(machine.get(section, {}), TEAM_OPTIONS | MACHINE_OPTIONS, f".dvc/{LOCAL}")
    remote = _merge_options(team, machine, section)
    if not remote.get("url"):
        name_text = printable(name)
        raise UsageError(f"{home}/config: no url for the remote {name_text}; give it one, or leave core.remote out")
    return {**remote, "url": _address(remote["url"], home, ".dvc/config")}


def _check_options(options: Mapping[str, str], allowed: set[str], where: str) -> None:
    if refused := sorted(options.keys() - allowed):
        remedy = "take it out"
        if refused[0] in MACHINE_OPTIONS:
            remedy = f"it concerns one machine: move it to .dvc/{LOCAL}"
        raise UsageError(f"{where}: the option {printable(refused[0])} of a remote is refused; {remedy}")


def _address(url: str, home: Path, where: str) -> str:
    scheme = url.partition("://")[0]
    if "://" in url and scheme not in SCHEMES:
        what = f"{where}: {printable(scheme, longest=40)}:// is refused as a remote"
        raise UsageError(f"{what}; give a directory, or ssh://user@host/path")
    check_value(url, where=where)
    return url if "://" in url else str(_resolve_folder(url, home))


def _resolve_folder(path: str, home: Path) -> Path:
    check_value(path, where=f"{home}/config")
    try:
        return (home / Path(path).expanduser()).resolve()
    except (RuntimeError, OSError) as error:  # no such user, or a loop of links
        raise UsageError(f"{home}/config: {printable(path)} leads nowhere ({printable(error)}); mend it") from error


def check_value(value: str, *, where: object) -> str:
    """`value`, if a line of DVC's configuration can hold it, and no second line. Raises UsageError."""
    if not value.isprintable() or ('"' in value and "'" in value):
        value_text = printable(repr(value), longest=80)
        raise UsageError(
            f"{where}: the value {value_text} is refused: control characters, or both kinds of quotes; rename it"
        )
    return value


def format_config(sections: Mapping[str, Mapping[str, str]]) -> str:
    """A file in DVC's format. Raises UsageError for a value that would be more than a value there."""
    lines = []
    for section, options in sections.items():
        if options:
            lines.append(f"[{section}]")
        for key, value in options.items():
            quote = "'" if '"' in check_value(value, where=f"the option {key}") else '"'
            lines.append(f"{key} = {quote}{value}{quote}")
    return "".join(f"{line}\n" for line in lines)


def _sections(path: Path) -> Sections:
    """What a file in DVC's format says, by section: `['remote "team"']`, then lines of `key = value`."""
    try:
        text = listing.decode(untrusted.read_bytes(path, max_bytes=MAX_BYTES), where=path)
    except FileNotFoundError:
        return {}
    return dvc.parse(text)
