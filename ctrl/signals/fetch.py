"""One bounded GET: a total deadline, a largest size after decoding, no redirect to another host."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Mapping
from typing import Final
from urllib.parse import urljoin, urlsplit

import httpx2

from ctrl.signals.base import FeedError, Response

DEADLINE_S: Final = 5.0
MAX_BYTES: Final = 1_048_576
_MAX_REDIRECTS: Final = 3
_GZIP: Final = 16 + zlib.MAX_WBITS


class HttpFetch:
    """A `Fetch` over real sockets.

    deadline_s: for everything together, name lookup to last byte, in wall time: a server that sends a byte now and
    then gains nothing. max_bytes: of the decoded body; a small answer that unpacks to a large one stops there too.
    Redirects are followed within the same scheme, host and port only. Proxies of the environment are not used: where
    bytes go is said by the site file alone.
    """

    def __init__(self, deadline_s: float = DEADLINE_S, max_bytes: int = MAX_BYTES) -> None:
        self._deadline_s = deadline_s
        self._max_bytes = max_bytes
        self._client: httpx2.AsyncClient | None = None

    async def __call__(self, url: str, headers: Mapping[str, str]) -> Response:
        """GET the url. Raises FeedError in plain words; headers never appear in it."""
        try:
            async with asyncio.timeout(self._deadline_s):
                return await self._follow(url, headers)
        except TimeoutError as error:
            raise FeedError(f"no complete answer within {self._deadline_s:g} s") from error
        except httpx2.HTTPError as error:
            raise FeedError(f"not reachable: {str(error) or type(error).__name__}") from error
        except (httpx2.InvalidURL, UnicodeError, zlib.error) as error:
            raise FeedError(f"not usable: {error}") from error

    async def close(self) -> None:
        """Close the connections."""
        if self._client is not None:
            await self._client.aclose()
            self._client = None

    async def _follow(self, url: str, headers: Mapping[str, str]) -> Response:
        for _ in range(_MAX_REDIRECTS + 1):
            response, location = await self._get(url, headers)
            if location is None:
                return response
            target = urljoin(url, location)
            if _origin(target) != _origin(url):
                raise FeedError(f"redirects to another host, {urlsplit(target).hostname}; not followed")
            url = target
        raise FeedError(f"redirects more than {_MAX_REDIRECTS} times")

    async def _get(self, url: str, headers: Mapping[str, str]) -> tuple[Response, str | None]:
        if self._client is None:
            self._client = httpx2.AsyncClient(follow_redirects=False, trust_env=False, timeout=self._deadline_s)
        sent = {"Accept": "application/json", "Accept-Encoding": "gzip", "User-Agent": "loopwright", **headers}
        async with self._client.stream("GET", url, headers=sent) as answer:
            location = answer.headers.get("location") if answer.is_redirect else None
            body = b"" if location is not None else await self._body(answer)
            return Response(answer.status_code, answer.headers.get("content-type", ""), body), location

    async def _body(self, answer: httpx2.Response) -> bytes:
        coding = answer.headers.get("content-encoding", "identity").strip().lower()
        if coding not in ("identity", "gzip"):
            raise FeedError(f"the answer is packed as {coding[:40]!r}, which was not asked for")
        # decoded here, step by step: a decoder that unpacks a whole chunk could fill the memory from 64 kB
        unpack = zlib.decompressobj(_GZIP) if coding == "gzip" else None
        body = bytearray()
        async for chunk in answer.aiter_raw():
            body += chunk if unpack is None else unpack.decompress(chunk, self._max_bytes + 1 - len(body))
            if len(body) > self._max_bytes or (unpack is not None and unpack.unconsumed_tail):
                raise FeedError(f"the answer is larger than {self._max_bytes} bytes")
        if unpack is not None and not unpack.eof:
            raise FeedError("the answer ends in the middle")
        return bytes(body)


def _origin(url: str) -> tuple[str, str | None, int | None]:
    parts = urlsplit(url)
    try:
        port = parts.port or {"http": 80, "https": 443}.get(parts.scheme)
    except ValueError as error:
        raise FeedError(f"redirects to a malformed address: {error}") from error
    return parts.scheme, parts.hostname, port
