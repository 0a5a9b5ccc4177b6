"""Read manifests and blobs from a registry of models: Ollama's, Hugging Face's, or another.

All of them speak the protocol of container registries
(https://github.com/opencontainers/distribution-spec): ``GET /v2/NAME/manifests/TAG`` and
``GET /v2/NAME/blobs/DIGEST``, for which an anonymous client may first have to fetch a token.
"""

from __future__ import annotations

import asyncio
import contextlib
import email.utils
import json
import logging
import time
from collections.abc import AsyncGenerator
from types import TracebackType
from typing import Any
from urllib.request import parse_http_list, parse_keqv_list

import httpx

import slmlab
from slmlab.engines import proxies
from slmlab.engines.address import is_local
from slmlab.engines.model_names import ModelName

log = logging.getLogger(__name__)

MANIFEST_TYPES = (
    "application/vnd.docker.distribution.manifest.v2+json, "
    "application/vnd.oci.image.manifest.v1+json"
)
# A manifest, or a text that belongs to a model, is far smaller than this.
MOST_BYTES = 8 * 2**20
# Statuses after which the same request may succeed in a moment.
BUSY = (408, 429, 500, 502, 503, 504)
# How many requests in a row may fail without progress, and the seconds to wait before the next.
TRIES, FIRST_PAUSE, LONGEST_PAUSE = 5, 0.5, 60.0
# This many bytes count as progress.
PROGRESS = 2**20
TIMEOUT = httpx.Timeout(30, connect=5)


class RegistryError(RuntimeError):
    """A registry did not deliver what was requested; the message says why."""


class NoSuchFile(RegistryError):
    """The registry has no such file."""


class DigestMismatch(RegistryError):
    """The bytes do not match the digest in the manifest."""


class _Busy(Exception):
    """The registry is busy: the same request may succeed in a moment."""

    def __init__(self, answer: httpx.Response) -> None:
        super().__init__(f"status {answer.status_code}")
        self.pause = _retry_after(answer)


class Registry:
    """The registry that a model's name leads to. Use as an asynchronous context manager."""

    def __init__(self, name: ModelName, insecure: bool = False) -> None:
        """Prepare requests; none is made yet.

        Args:
            name: the model's name.
            insecure: use plain HTTP, and follow redirects to it.

        Raises:
            RegistryError: the environment names a proxy that cannot be used.
        """
        self.name = name
        self._url = httpx.URL(f"{'http' if insecure else 'https'}://{name.host}")
        self._insecure = insecure
        self._token = ""
        self._reached = False
        local = is_local(str(self._url))
        if not local and (problem := proxies.problem()):
            raise RegistryError(f"{name.host} cannot be reached: {problem}")
        self._client = httpx.AsyncClient(
            base_url=self._url,
            timeout=TIMEOUT,
            trust_env=not local,
            follow_redirects=True,  # httpx sends no credentials on to another host
            headers={"User-Agent": f"slmlab/{slmlab.__version__}", "Accept-Encoding": "identity"},
            event_hooks={"request": [self._check]},
        )

    async def __aenter__(self) -> Registry:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._client.aclose()

    async def manifest(self) -> object:
        """The model's manifest, parsed from JSON.

        Raises:
            NoSuchFile: there is no such model.
            RegistryError: the registry does not deliver it, or it is not JSON.
        """
        content = await self._all(f"/v2/{self.name.repository}/manifests/{self.name.tag}")
        try:
            return json.loads(content)
        except ValueError as error:
            raise RegistryError(f"the answer of {self.name.host} is not a manifest") from error

    async def text(self, digest: str, size: int) -> bytes:
        """A small blob.

        Raises:
            RegistryError: the registry does not deliver it, or it is too large.
        """
        if size > MOST_BYTES:
            raise RegistryError(f"the blob {digest} has {size} bytes, too many for a text")
        return await self._all(f"/v2/{self.name.repository}/blobs/{digest}", size)

    async def blob(self, digest: str, size: int, start: int = 0) -> AsyncGenerator[bytes, None]:
        """The bytes of a blob from ``start`` on; resumed where the connection breaks.

        Raises:
            RegistryError: the registry does not deliver it, or another number of bytes than the
                manifest says.
        """
        if start == size:
            return
        path = f"/v2/{self.name.repository}/blobs/{digest}"
        async with contextlib.aclosing(self._stream(path, size, start)) as blocks:
            async for block in blocks:
                yield block

    async def _all(self, path: str, size: int | None = None) -> bytes:
        content = b""
        async with contextlib.aclosing(self._stream(path, size)) as blocks:
            async for block in blocks:
                content += block
                if len(content) > MOST_BYTES:
                    raise RegistryError(
                        f"{self.name.host} sends over {MOST_BYTES} bytes for {path}"
                    )
        return content

    async def _stream(
        self, path: str, size: int | None, start: int = 0
    ) -> AsyncGenerator[bytes, None]:
        """The bytes at ``path``; a request that failed and may succeed in a moment is repeated."""
        at, failures = start, 0
        while True:
            before = at
            try:
                async with contextlib.aclosing(self._once(path, size, at)) as blocks:
                    async for block in blocks:
                        at += len(block)
                        yield block
                if size is None or at == size:
                    return
                raise httpx.ReadError(f"the answer ended after {at} of {size} bytes")
            except (httpx.UnsupportedProtocol, httpx.TooManyRedirects, httpx.InvalidURL) as error:
                raise RegistryError(
                    f"{self.name.host} redirects to an address that cannot be used: {error}"
                ) from error
            except (httpx.TransportError, _Busy) as error:
                failures = 1 if at - before >= PROGRESS else failures + 1
                if size is None and at > before:
                    raise RegistryError(
                        f"the connection to {self.name.host} broke: {error}"
                    ) from error
                if failures >= TRIES or not (self._reached or isinstance(error, _Busy)):
                    raise RegistryError(self._unreachable(error)) from error
                pause = FIRST_PAUSE * 2 ** (failures - 1)
                if isinstance(error, _Busy):
                    pause = max(pause, error.pause)
                log.info("%s%s: %r; again in %.1f s", self.name.host, path, error, pause)
                await asyncio.sleep(min(pause, LONGEST_PAUSE))

    async def _once(self, path: str, size: int | None, start: int) -> AsyncGenerator[bytes, None]:
        """The bytes that one request brings; with a token where the registry requires one."""
        headers = {"Range": f"bytes={start}-"} if start else {}
        if size is None:
            headers["Accept"] = MANIFEST_TYPES
        for attempt in range(2):
            if self._token:
                headers["Authorization"] = f"Bearer {self._token}"
            async with self._client.stream("GET", path, headers=headers) as answer:
                self._reached = True
                if answer.status_code == 401 and attempt == 0:
                    self._token = await self._fetch_token(answer.headers)
                    continue
                if answer.status_code not in (200, 206):
                    raise await self._refusal(answer)
                if size is not None:
                    _check_size(answer, size, start)
                # A registry that ignores Range sends the whole blob again.
                skip = start if answer.status_code == 200 else 0
                left = None if size is None else size - start + skip
                async for block in answer.aiter_raw():
                    if left is not None and (left := left - len(block)) < 0:
                        raise RegistryError(
                            f"{self.name.host} sends more than the {size} bytes of the manifest"
                        )
                    yield block[skip:]
                    skip = max(0, skip - len(block))
                return

    async def _refusal(self, answer: httpx.Response) -> Exception:
        """The error that an answer's status stands for."""
        status, host = answer.status_code, self.name.host
        if status in BUSY:
            return _Busy(answer)
        if status == 404:
            return NoSuchFile("file does not exist")
        reason = await _reason(answer)
        if status in (401, 403):
            return RegistryError(
                f"there is no model {self.name.repository} on {host}, or it needs an account "
                f"(status {status}{reason})"
            )
        if status == 412:
            return RegistryError(
                f"{host} has {self.name.repository} for later versions of Ollama only"
            )
        if status == 416:
            return RegistryError(f"{host} has fewer bytes of a blob than its manifest says")
        return RegistryError(f"{host} refuses {self.name.repository} (status {status}{reason})")

    async def _fetch_token(self, headers: httpx.Headers) -> str:
        """An anonymous token, from the address that the registry's answer names."""
        host = self.name.host
        scheme, _, rest = headers.get("www-authenticate", "").partition(" ")
        facts: dict[str, str] = {}
        if scheme.lower() == "bearer":
            with contextlib.suppress(ValueError):
                facts = parse_keqv_list(parse_http_list(rest))
        if "realm" not in facts:
            raise RegistryError(
                f"there is no model {self.name.repository} on {host}, or it needs an account "
                "(status 401)"
            )
        try:
            realm = httpx.URL(facts["realm"])
        except httpx.InvalidURL as error:
            raise RegistryError(f"{host} names no valid address for tokens") from error
        if realm.scheme != "https" and (realm.scheme, realm.netloc) != (
            self._url.scheme,
            self._url.netloc,
        ):
            raise RegistryError(f"{host} names {realm.host} for tokens, without TLS")
        params: dict[str, str] = {key: facts[key] for key in ("service", "scope") if key in facts}
        answer = await self._client.get(realm.copy_merge_params(params))
        if answer.status_code in BUSY:
            raise _Busy(answer)
        try:
            found = answer.json()
            token = found.get("token") or found["access_token"]
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise RegistryError(
                f"{host} gives no token without an account (status {answer.status_code})"
            ) from error
        if not isinstance(token, str) or not token.isascii() or not token.isprintable():
            raise RegistryError(f"{host} gives an invalid token")
        return token

    async def _check(self, request: httpx.Request) -> None:
        """Refuse an unencrypted request unless ``insecure`` allows it."""
        if request.url.scheme == "http" and not self._insecure:
            raise RegistryError(f"{self.name.host} redirects to {request.url.host}, without TLS")

    def _unreachable(self, error: Exception) -> str:
        host = self.name.host
        if isinstance(error, _Busy):
            return f"{host} is busy ({error}); try again later"
        reason = str(error) or type(error).__name__
        hint = ""
        if "CERTIFICATE_VERIFY_FAILED" in reason:
            hint = "; the variable SSL_CERT_FILE names a file of certificates to trust"
        elif "SSL" in reason and not self._insecure:
            hint = "; for a registry without TLS, set insecure: true"
        problem = "closes the connection again and again" if self._reached else "cannot be reached"
        return f"{host} {problem}: {reason}{hint}"


def _check_size(answer: httpx.Response, size: int, start: int) -> None:
    """Refuse an answer whose headers announce other bytes than those that were requested."""
    begin, total = 0, answer.headers.get("content-length", str(size))
    if answer.status_code == 206:
        span, _, total = answer.headers.get("content-range", "").partition("/")
        begin = start
        if span.removeprefix("bytes").strip(" =").partition("-")[0] != str(start):
            raise RegistryError("the registry sends another part of a blob than the one requested")
    if total not in (str(size), "*") or begin > size:
        raise RegistryError(
            f"a blob has {size} bytes according to its manifest, and {total} according to the "
            "registry's answer"
        )


async def _reason(answer: httpx.Response) -> str:
    """The reason in an answer's body: Hugging Face's ``error``, or OCI's ``errors``."""
    try:
        content = b""
        async for block in answer.aiter_bytes():
            content += block
            if len(content) > 2**16:
                return ""
        found: Any = json.loads(content)
        reason = found.get("error") or found["errors"][0]["message"]
    except (ValueError, LookupError, TypeError, AttributeError, httpx.HTTPError):
        return ""
    return f": {' '.join(str(reason).split())[:300]}"


def _retry_after(answer: httpx.Response) -> float:
    """Seconds that the registry asks us to wait."""
    text = answer.headers.get("retry-after", "")
    if text.isdigit():
        return float(text[:6])
    try:
        return max(0.0, email.utils.parsedate_to_datetime(text).timestamp() - time.time())
    except (ValueError, TypeError):
        return 0.0
