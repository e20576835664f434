"""The images of a request, in memory: no byte of them is ever written to a disk.

The framework's own parser of forms writes files of more than a megabyte to temporary files, hence one of our own.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

from pydantic import ValidationError
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import Request

from ..data.image_source import ImageBytes
from .problems import ProblemError, busy
from .rooms import Room
from .schema import PredictBody
from .settings import ServeSettings

LONGEST_NAME = 255  # characters of a file's name, which is shown and never opened


class Body(NamedTuple):
    """What a request brought: its images, and the values that a JSON body may have beside them."""

    images: list[ImageBytes]
    fields: dict[str, Any]
    size: int = 0  # bytes


class UploadReader:
    """Reads the bodies of requests within limits; `room` has as many places as bytes may be held at once."""

    def __init__(self, settings: ServeSettings, room: Room) -> None:
        self.max_bytes, self.seconds, self.room = settings.max_bytes, settings.request_timeout, room

    @asynccontextmanager
    async def body(self, request: Request, field: str, most: int, json: bool = False) -> AsyncIterator[Body]:
        """At most so many images in this field of a form, or, if allowed, in JSON.

        Their bytes are held as long as the context lasts.

        Raises ProblemError: 400 malformed, 408 too slow, 413 too large or too many, 415 another type of content, 422 no
        image; 429 where others hold too many bytes.
        """
        kind, options = parse_options_header(request.headers.get("content-type", ""))
        parser: _Form | _Json
        if kind == b"multipart/form-data":
            parser = _Form(options.get(b"boundary", b""), field, most)
        elif kind == b"application/json" and json:
            parser = _Json(most)
        else:
            kinds = "multipart/form-data or application/json" if json else "multipart/form-data"
            raise ProblemError(415, f"content of type {kinds} is needed, with images in {field!r}")
        self._check_announced(request)
        held = 0
        try:
            async with self._in_time():
                async for chunk in request.stream():
                    self.room.take(len(chunk))
                    held += len(chunk)
                    if held > self.max_bytes:
                        raise self._too_large()  # whatever was announced
                    parser.feed(chunk)
            body = parser.end()._replace(size=held)
            if not body.images:
                raise ProblemError(422, f"no image: send one or more files in the field {field!r}")
            yield body
        finally:
            self.room.give_back(held)

    @asynccontextmanager
    async def _in_time(self) -> AsyncIterator[None]:
        try:
            async with asyncio.timeout(self.seconds):
                yield
        except TimeoutError as error:
            late = f"the request has not come within {self.seconds:g} seconds"
            raise ProblemError(408, late) from error

    def _check_announced(self, request: Request) -> None:
        announced = request.headers.get("content-length", "")
        if announced.isascii() and announced.isdigit() and int(announced[:20]) > self.max_bytes:
            raise self._too_large()

    def _too_large(self) -> ProblemError:
        return ProblemError(413, f"the request has more than {self.max_bytes:,} bytes")


class _Form:
    """A form whose parts are files, parsed as it comes."""

    def __init__(self, boundary: bytes, field: str, most: int) -> None:
        self.field, self.most = field, most
        self.images: list[ImageBytes] = []
        self.whole = False
        self._header, self._value, self._disposition = bytearray(), bytearray(), b""
        self._name, self._content = "", bytearray()
        if not boundary:
            raise ProblemError(400, "multipart/form-data without a boundary")
        try:
            self._parser = MultipartParser(
                boundary,
                {
                    "on_part_begin": self._begin,
                    "on_header_field": lambda data, start, end: self._header.extend(data[start:end]),
                    "on_header_value": lambda data, start, end: self._value.extend(data[start:end]),
                    "on_header_end": self._header_ends,
                    "on_headers_finished": self._headers_end,
                    "on_part_data": lambda data, start, end: self._content.extend(data[start:end]),
                    "on_part_end": self._part_ends,
                    "on_end": self._ends,
                },
            )
        except FormParserError as error:
            raise _malformed(error) from error

    def feed(self, chunk: bytes) -> None:
        try:
            self._parser.write(chunk)
        except FormParserError as error:
            raise _malformed(error) from error

    def end(self) -> Body:
        if not self.whole:
            raise ProblemError(400, "the form ends before its last boundary")
        return Body(self.images, {})

    def _begin(self) -> None:
        self._disposition, self._content = b"", bytearray()
        self._header.clear()
        self._value.clear()

    def _header_ends(self) -> None:
        if bytes(self._header).lower() == b"content-disposition":
            self._disposition = bytes(self._value)
        self._header.clear()
        self._value.clear()

    def _headers_end(self) -> None:
        _, options = parse_options_header(self._disposition)
        field = _text(options.get(b"name", b""))
        if field != self.field:
            raise ProblemError(
                422, f"no field {field!r} is known: images come in {self.field!r}, other values in the query"
            )
        if len(self.images) >= self.most:
            raise too_many(self.most)
        self._name = _text(options.get(b"filename", b""))[:LONGEST_NAME] or f"image {len(self.images) + 1}"

    def _part_ends(self) -> None:
        self.images.append(ImageBytes(self._name, bytes(self._content)))
        self._content = bytearray()

    def _ends(self) -> None:
        self.whole = True


class _Json:
    """`PredictBody`, parsed once it is whole."""

    def __init__(self, most: int) -> None:
        self.most, self._content = most, bytearray()

    def feed(self, chunk: bytes) -> None:
        self._content.extend(chunk)

    def end(self) -> Body:
        try:
            parsed = PredictBody.model_validate_json(bytes(self._content))
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False, include_context=False)[0]
            where = ".".join(map(str, first["loc"]))
            status = 400 if first["type"] == "json_invalid" else 422
            raise ProblemError(status, f"{where}: {first['msg']}" if where else first["msg"]) from error
        self._content.clear()
        if len(parsed.images) > self.most:
            raise too_many(self.most)
        images = [
            ImageBytes(
                image.name[:LONGEST_NAME] or f"image {number}", _decoded(image.data, f"images.{number - 1}.data")
            )
            for number, image in enumerate(parsed.images, 1)
        ]
        fields = parsed.model_dump(exclude={"images"}, exclude_none=True)
        return Body(images, fields)


def too_busy_with_bytes() -> ProblemError:
    return busy("the server holds as many bytes of images as it may", seconds=1)


def too_many(most: int) -> ProblemError:
    return ProblemError(413, f"the request has more than {most} images")


def _malformed(error: Exception) -> ProblemError:
    return ProblemError(400, f"malformed form: {error}")


def _text(raw: bytes) -> str:
    """A name in a form: browsers and curl send UTF-8."""
    return raw.decode("utf-8", "replace")


def _decoded(data: str, where: str) -> bytes:
    try:
        return base64.b64decode(data, validate=True)
    except (binascii.Error, ValueError) as error:
        raise ProblemError(422, f"{where}: no base64") from error
