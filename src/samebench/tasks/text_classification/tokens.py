"""A text as numbers: its words, hashed. Training and server both use it, so it imports no torch."""

import re
import zlib

BUCKETS, LENGTH = 1 << 14, 24  # different words at most, and words of a text
WORD = re.compile(r"[^\W_]+|[^\w\s]")


def tokenize(text: str, *, buckets: int = BUCKETS, length: int = LENGTH) -> list[int]:
    """The first `length` words of a text as numbers from 1 to `buckets` - 1, with zeros behind them."""
    words = WORD.findall(text.casefold())[:length]
    tokens = [1 + zlib.crc32(word.encode(errors="replace")) % (buckets - 1) for word in words]
    return tokens + [0] * (length - len(tokens))
