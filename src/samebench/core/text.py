"""Text that other people wrote, made safe to print."""

import io
import re
import sys
import unicodedata

REPLACEMENT = "\N{REPLACEMENT CHARACTER}"
STEERING = {"Cc", "Cs", "Zl", "Zp"}  # Unicode's categories of control characters and ends of lines
TURNING = {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}  # its classes of bidirectional controls


def printable(text: object, *, longest: int | None = None) -> str:
    """`text` in one line; each control, bidirectional or unassigned character becomes U+FFFD.

    A text of more than `longest` characters ends in an ellipsis.
    """
    line = " ".join(str(text).splitlines())
    if longest is not None and len(line) > longest:
        line = f"{line[: longest - 1]}…"
    return "".join(letter if letter.isprintable() else REPLACEMENT for letter in line)


def is_line(text: object, *, longest: int) -> bool:
    """Whether `text` is a text of 1 to `longest` characters, none of which steers a terminal or the order of letters.

    What joins letters, as Persian needs it, does neither.
    """
    return isinstance(text, str) and 0 < len(text) <= longest and not any(map(_steers, text))


def _steers(letter: str) -> bool:
    return unicodedata.category(letter) in STEERING or unicodedata.bidirectional(letter) in TURNING


def without_credentials(text: str) -> str:
    """`text` with `****` for what stands before the host in each http address: a user, a password, a token."""
    return re.sub(r"(https?://)[^/@\s]*@", r"\1****@", text)


def markdown(text: object) -> str:
    """`text` in one line of Markdown, in which nothing of it is markup or HTML."""
    return re.sub(r"([\\`*_\[\]<>|#~!&])", r"\\\1", printable(text))


def code(text: object) -> str:
    """`text` for between two backticks, or in a block of code."""
    return printable(text).replace("`", "'")


class PrintableOutput(io.TextIOWrapper):
    """A text stream that lets only printable characters, tabs and line ends through."""

    def write(self, text: str, /) -> int:
        """Write `text`; a character that steers a terminal becomes U+FFFD."""
        super().write("".join(each if each.isprintable() or each in "\n\t" else REPLACEMENT for each in text))
        return len(text)


def clean_stdout() -> None:
    """Let no control character through to standard output, whoever prints it.

    A stream that is not the interpreter's own, such as a test's, stays as it is.
    """
    if type(sys.stdout) is io.TextIOWrapper:
        encoding, at_line_ends = sys.stdout.encoding, sys.stdout.line_buffering
        stream = PrintableOutput(
            sys.stdout.detach(), encoding, errors="backslashreplace", newline="\n", line_buffering=at_line_ends
        )
        sys.stdout = stream
