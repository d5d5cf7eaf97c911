"""The options of JupyterLab that a user gives: make notebook ARGS="--ServerApp.base_url=/bench/".

JupyterLab's own parser reads them. It passes over what it does not know; here that is refused. So is what would open
the server to others, and what the bench decides.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, NoReturn

from samebench.core.command import UsageError

TOKEN = "who has the token comes in, and nobody else; leave it out"  # noqa: S105 - a sentence
ADDRESS = "the server listens on loopback, at PORT=; put a proxy in front of it for more"
BENCH = "make notebook decides this; leave it out"
ENDS = "starts no server; leave it out"
# Traits, of whichever class, that the command line must not set.
REFUSED = {
    **dict.fromkeys(
        (
            "allow_credentials", "allow_password_change", "allow_unauthenticated_access", "cookie_options",
            "cookie_secret", "cookie_secret_file", "disable_check_xsrf", "get_secure_cookie_kwargs", "hashed_password",
            "identity_provider_class", "login_handler_class", "logout_handler_class", "password", "password_required",
            "token", "tornado_settings",
        ),
        TOKEN,
    ),
    **dict.fromkeys(
        ("certfile", "client_ca", "ip", "keyfile", "port", "port_retries", "sock", "sock_mode", "ssl_options",
         "transport"),
        ADDRESS,
    ),
    **dict.fromkeys(
        ("allow_root", "check_for_updates_class", "config_file", "config_file_name", "extension_manager", "news_url",
         "notebook_dir", "open_browser", "restarter_class", "root_dir"),
        BENCH,
    ),
    **dict.fromkeys(("generate_config", "show_config", "show_config_json"), ENDS),
}  # fmt: skip
FOREIGN_ORIGIN = "http://elsewhere.example"  # a page of which the user knows nothing


@dataclass(frozen=True)
class JupyterOptions:
    """What the user has set: words for JupyterLab's command line, the names of the traits, the path of all pages."""

    words: tuple[str, ...] = ()
    names: frozenset[str] = frozenset()
    base_url: str = "/"


def parse(words: Sequence[str]) -> JupyterOptions:
    """The options in `words`.

    Raises UsageError for one that JupyterLab does not know or may not have, and for a value.
    """
    if not words:
        return JupyterOptions()
    base_url, names = "/", set()
    for owner, name, text, trait in _settings(words):
        if reason := REFUSED.get(name):
            raise UsageError(f"--{owner}.{name}: {reason}")
        value = _convert(f"--{owner}.{name}", text, trait)
        if name == "base_url":
            base_url = normalize_base_url(value)
        check_origin(name, value)
        names.add(name)
    return JupyterOptions(tuple(words), frozenset(names), base_url)


def _convert(option: str, value: Any, trait: Any) -> Any:
    """The `value` of the command line as the `trait` reads it; a flag has set any other."""
    try:
        if isinstance(value, str):
            return trait.from_string(value)
        return trait.from_string_list(value) if isinstance(value, list) else value
    except Exception as error:  # each trait raises what it likes
        raise UsageError(f"{option}={value}: {str(error).splitlines()[0]}; {HELP}") from error


def normalize_base_url(value: str) -> str:
    """The path `value` with a slash at both ends, as JupyterLab has it. Raises UsageError where it is no path."""
    path = f"/{value.strip('/')}/".replace("//", "/")
    if not re.fullmatch(r"/([\w.~@+%-]+/)*", path, re.ASCII) or {".", ".."} & set(path.split("/")):
        raise UsageError(f"--ServerApp.base_url={value}: give a path of letters, digits and -._~@+, such as /bench/")
    return path


def check_origin(name: str, value: Any) -> None:
    """Raise UsageError where the pages of every other server could use this one."""
    if name == "allow_origin" and "*" in value:
        raise UsageError(f"--ServerApp.allow_origin={value}: every page could use the server; name one, https://host")
    if name == "allow_origin_pat" and re.match(value, FOREIGN_ORIGIN):
        raise UsageError(f"--ServerApp.allow_origin_pat={value}: every page could use the server; name the hosts in it")


def _settings(words: Sequence[str]) -> Iterator[tuple[str, str, Any, Any]]:
    """The class, the name, the value and the trait of each setting in `words`."""
    # Imports take a second, which a start without options need not pay.
    from jupyterlab.labapp import LabApp  # type: ignore[import-untyped]  # noqa: PLC0415
    from traitlets.config.loader import ArgumentError, KVArgParseConfigLoader  # noqa: PLC0415

    class Loader(KVArgParseConfigLoader):
        def _create_parser(self) -> None:
            super()._create_parser()
            self.parser.error = self._refuse  # type: ignore[method-assign]

        def _refuse(self, message: str) -> NoReturn:
            raise ArgumentError(message.removeprefix("argument "))

        def _handle_unrecognized_alias(self, arg: str) -> None:
            raise ArgumentError(f"--{arg}: JupyterLab has no such option")

    traits = _traits()
    loader = Loader(list(words), dict(LabApp.aliases), dict(LabApp.flags), classes=[LabApp, *LabApp.classes])
    try:
        config = loader.load_config()
    except ArgumentError as error:
        raise UsageError(f"{error}; {HELP}") from error
    if loader.extra_args:
        raise UsageError(f"{loader.extra_args[0]}: give options only, such as --ServerApp.base_url=/bench/")
    for owner, section in config.items():
        for name, value in section.items():
            if name not in traits.get(owner, {}):
                similar = get_close_matches(name, traits.get(owner, {}), 1)
                raise UsageError(f"--{owner}.{name}: JupyterLab has no such option; {_suggest(owner, similar)}")
            yield owner, name, value, traits[owner][name]


HELP = "make notebook ARGS=--help-all lists them"


def _suggest(owner: str, similar: Sequence[str]) -> str:
    return f"did you mean --{owner}.{similar[0]}?" if similar else HELP


def _traits() -> dict[str, dict[str, Any]]:
    """The traits of each class that JupyterLab's server is made of, by the class's name."""
    from jupyter_client.ioloop.manager import AsyncIOLoopKernelManager  # noqa: PLC0415
    from jupyter_server.auth.identity import PasswordIdentityProvider  # noqa: PLC0415
    from jupyter_server.serverapp import ServerApp  # noqa: PLC0415
    from jupyter_server_terminals.terminalmanager import TerminalManager  # noqa: PLC0415
    from jupyterlab.labapp import LabApp  # noqa: PLC0415

    classes = [
        LabApp,
        ServerApp,
        *ServerApp.classes,
        AsyncIOLoopKernelManager,
        PasswordIdentityProvider,
        TerminalManager,
    ]
    lineage = {parent for each in classes for parent in each.__mro__ if hasattr(parent, "class_traits")}
    return {each.__name__: each.class_traits(config=True) for each in lineage}
