"""What the tests take from npm, pinned by the lock that lies here: the devcontainer client and a browser's driver."""

from pathlib import Path

from tests.commands import lacking

HOME = Path(__file__).parent


def installed(program: str) -> Path:
    """A file among the packages; the test is skipped where it isn't, as tests fetch nothing."""
    path = HOME / "node_modules" / program
    return path if path.exists() else lacking(f"no {program} here: npm ci --prefix tests/node")
