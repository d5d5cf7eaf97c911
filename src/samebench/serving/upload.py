"""A request's body: one file as it is, or several in a form."""

import io
from collections.abc import AsyncIterator, Sequence
from fnmatch import fnmatchcase
from typing import NamedTuple, Self

from python_multipart.exceptions import MultipartParseError
from python_multipart.multipart import parse_options_header
from starlette.datastructures import FormData, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request

from samebench.serving.problem import EarlyRejection, Problem

BODY_BYTES = 32_000_000  # a phone's photo has 3 to 25 MB
HELD_BYTES = 128_000_000  # of bodies, of all requests together
ALWAYS_BYTES = 65_536  # of a body are taken even then, so that a few slow uploads keep no small one out
FILES = 32  # a request
FORM = "multipart/form-data"


class Content(NamedTuple):
    """A file, and what it is said to be."""

    body: bytes
    media_type: str


def match_media_type(kind: str, media_types: Sequence[str]) -> str:
    """The media type in a header, without its parameters, if it is one of these; else empty."""
    kind = kind.split(";", maxsplit=1)[0].strip().lower()
    return kind if any(fnmatchcase(kind, each) for each in media_types) else ""


class Body:
    """A request's body while it is worked on. Enter it to read, leave it to make room for others."""

    total_bytes = 0  # bytes, of all bodies together

    def __init__(self, request: Request, media_types: Sequence[str]) -> None:
        """Raise Problem for a type that is neither one of `media_types` nor a form."""
        self.request, self.media_types = request, media_types
        self.content, self.size = io.BytesIO(), 0
        kind = request.headers.get("content-type", media_types[0])
        self.is_form = bool(match_media_type(kind, [FORM]))
        self.media_type = match_media_type(kind, media_types)
        if not self.is_form and not self.media_type:
            types = ", ".join(media_types)
            raise EarlyRejection(415, f"content type {kind[:80]}; send one of {types}, or files in {FORM}")

    async def __aenter__(self) -> Self:
        """Read it, within the limits. Raises Problem."""
        try:
            await self._read()
        except BaseException:
            self._free()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        """Forget it."""
        self._free()

    async def contents(self) -> list[Content]:
        """One, or the files of the form in their order. Raises Problem."""
        whole = self.content.getvalue()  # which is no copy
        if self.is_form:
            return await files(self.request, whole, self.media_types)
        return [Content(whole, self.media_type)]

    async def _read(self) -> None:
        length = self.request.headers.get("content-length", "0")
        if int(length) > BODY_BYTES:
            raise EarlyRejection(413, f"{length} bytes, at most {BODY_BYTES} are read; send less")
        async for chunk in self.request.stream():
            if self.size + len(chunk) > BODY_BYTES:
                raise EarlyRejection(413, f"more than {BODY_BYTES} bytes; send less")
            small = self.size + len(chunk) <= ALWAYS_BYTES
            if Body.total_bytes + len(chunk) > HELD_BYTES and not small:
                raise EarlyRejection(503, "too much is being sent at once; try again in a second", retry_after="1")
            Body.total_bytes += len(chunk)
            self.size += self.content.write(chunk)
        if not self.size:
            raise Problem(400, f"the body is empty; send {self.media_types[0]}")

    def _free(self) -> None:
        Body.total_bytes -= self.size
        self.content, self.size = io.BytesIO(), 0


class _Parser(MultiPartParser):
    """Starlette's, without files on a disk: the body is in memory already."""

    spool_max_size = BODY_BYTES + 1
    ended = False
    media_types: Sequence[str] = ()

    def on_headers_finished(self) -> None:
        """Take a part for a file by its type, too: RFC 7578 asks for no filename."""
        part = self._current_part
        _, options = parse_options_header(part.content_disposition)
        kind = dict(part.item_headers).get(b"content-type", b"").decode("latin-1")
        if part.content_disposition and b"filename" not in options and match_media_type(kind, self.media_types):
            part.content_disposition += b'; filename="file"'
        super().on_headers_finished()

    def on_end(self) -> None:
        """Note that the last boundary is there."""
        self.ended = True

    async def parse(self) -> FormData:
        """The form. Raises MultiPartException for a cut one, of which starlette would leave out the last file."""
        form = await super().parse()
        if not self.ended:
            raise MultiPartException("it is cut before its last boundary")
        return form

    def close(self) -> None:
        """Forget the files, also those that are in no form."""
        for file in self._files_to_close_on_error:
            file.close()


async def files(request: Request, body: bytes, media_types: Sequence[str]) -> list[Content]:
    """The files of a form; one that is none of `media_types` is taken for the first of them.

    Raises Problem for a malformed form, one without files, or one with too many.
    """

    async def whole() -> AsyncIterator[bytes]:
        yield body

    _, options = parse_options_header(request.headers["content-type"])
    if options.get(b"charset", b"utf-8").lower() != b"utf-8":
        raise Problem(400, "the form can't be read: its charset is not utf-8")  # some take minutes to decode
    parser = _Parser(request.headers, whole(), max_files=FILES, max_fields=FILES)  # type: ignore[arg-type]
    parser.media_types = media_types
    try:
        form = await parser.parse()
        uploads = [value for _, value in form.multi_items() if isinstance(value, UploadFile)]
        contents = [
            Content(await upload.read(), match_media_type(upload.content_type or "", media_types) or media_types[0])
            for upload in uploads
        ]
    except (MultiPartException, MultipartParseError, LookupError, ValueError) as error:
        if "Maximum number of" in str(getattr(error, "message", "")):
            raise Problem(400, f"more than {FILES} files or fields; send the others in another request") from error
        reason = getattr(error, "message", "") or f"not what {FORM} is"
        raise Problem(400, f"the form can't be read: {reason}") from error
    finally:
        parser.close()
    if not contents:
        raise Problem(400, "the form has no file in it; send one or more")
    return contents
