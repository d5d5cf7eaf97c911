"""A request's body: a picture as it is, or files in a form."""

import io
from collections.abc import AsyncIterator
from typing import Self

from python_multipart.exceptions import MultipartParseError
from python_multipart.multipart import parse_options_header
from starlette.datastructures import FormData, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request

from samebench.serving.problem import EarlyRejection, Problem

BODY_BYTES = 32_000_000  # a phone's photo has 3 to 25 MB
HELD_BYTES = 128_000_000  # of bodies, of all requests together
ALWAYS_BYTES = 65_536  # of a body are taken even then, so that a few slow uploads keep no small picture out
IMAGES = 32  # a request
FORM = "multipart/form-data"
RAW_TYPES = ("application/octet-stream", "image/")


class Body:
    """A request's body while it is worked on. Enter it to read, leave it to make room for others."""

    held = 0  # bytes, of all bodies together

    def __init__(self, request: Request) -> None:
        """Raise Problem for a type that is neither a picture nor a form."""
        self.request = request
        self.content, self.size = io.BytesIO(), 0
        kind = request.headers.get("content-type", RAW_TYPES[0]).split(";")[0].strip().lower()
        self.is_form = kind == FORM
        if not self.is_form and not kind.startswith(RAW_TYPES):
            remedy = f"send a picture with content-type: image/png (or what it is), or files in {FORM}"
            raise EarlyRejection(415, f"content type {kind[:80]}; {remedy}")

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

    async def pictures(self) -> list[bytes]:
        """One, or the files of the form in their order. Raises Problem."""
        whole = self.content.getvalue()  # which is no copy
        return await files(self.request, whole) if self.is_form else [whole]

    async def _read(self) -> None:
        length = self.request.headers.get("content-length", "0")
        if int(length) > BODY_BYTES:
            raise EarlyRejection(413, f"{length} bytes, at most {BODY_BYTES} are read; send a smaller picture")
        async for chunk in self.request.stream():
            if self.size + len(chunk) > BODY_BYTES:
                raise EarlyRejection(413, f"more than {BODY_BYTES} bytes; send a smaller picture")
            small = self.size + len(chunk) <= ALWAYS_BYTES
            if Body.held + len(chunk) > HELD_BYTES and not small:
                raise EarlyRejection(503, "too much is being sent at once; try again in a second", retry_after="1")
            Body.held += len(chunk)
            self.size += self.content.write(chunk)
        if not self.size:
            raise Problem(400, "the body is empty; send a picture")

    def _free(self) -> None:
        Body.held -= self.size
        self.content, self.size = io.BytesIO(), 0


class _Parser(MultiPartParser):
    """Starlette's, without files on a disk: the body is in memory already."""

    spool_max_size = BODY_BYTES + 1
    ended = False

    def on_headers_finished(self) -> None:
        """Take a part for a file by its type, too: RFC 7578 asks for no filename."""
        part = self._current_part
        _, options = parse_options_header(part.content_disposition)
        kind = dict(part.item_headers).get(b"content-type", b"").decode("latin-1").lower()
        if part.content_disposition and b"filename" not in options and kind.startswith(RAW_TYPES):
            part.content_disposition += b'; filename="picture"'
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


async def files(request: Request, body: bytes) -> list[bytes]:
    """The files of a form. Raises Problem for a malformed one, one without files, or one with too many."""

    async def whole() -> AsyncIterator[bytes]:
        yield body

    _, options = parse_options_header(request.headers["content-type"])
    if options.get(b"charset", b"utf-8").lower() != b"utf-8":
        raise Problem(400, "the form can't be read: its charset is not utf-8")  # some take minutes to decode
    parser = _Parser(request.headers, whole(), max_files=IMAGES, max_fields=IMAGES)  # type: ignore[arg-type]
    try:
        form = await parser.parse()
        contents = [await value.read() for _, value in form.multi_items() if isinstance(value, UploadFile)]
    except (MultiPartException, MultipartParseError, LookupError, ValueError) as error:
        if "Maximum number of" in str(getattr(error, "message", "")):
            raise Problem(400, f"more than {IMAGES} files or fields; send the others in another request") from error
        reason = getattr(error, "message", "") or f"not what {FORM} is"
        raise Problem(400, f"the form can't be read: {reason}") from error
    finally:
        parser.close()
    if not contents:
        raise Problem(400, "the form has no file in it; send one picture or more")
    return contents
