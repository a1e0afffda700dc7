"""Downloads that are whole or absent, and that go on where they were cut off."""

from __future__ import annotations

import http.client
import os
import queue
import socket
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

from gcseg.utils.progress import progress

Fetch = Callable[[str, int], Any]
_CHUNK = 1 << 20
_TIMEOUT_S = 30.0  # for what a server says, once it is there
_REACH_S = 5.0  # for being there
_RANGE_NOT_SATISFIABLE = 416


def download(
    url: str, target: Path, verify: Callable[[BinaryIO], None] | None = None, fetch: Fetch | None = None
) -> None:
    """Fetch a file; it gets its name when it is complete.

    A connection that breaks is opened again for the rest as long as something arrives; what arrived stays beside the
    target as ``.NAME.part``, where the next call goes on. Callers take turns by themselves.

    Args:
        url: http or https.
        target: where to put the file, in a folder that exists.
        verify: is given the complete file, and raises if it is wrong: then it is thrown away. Without it, nothing could
            tell that a continued file is of two versions, and every call begins anew.
        fetch: (url, first byte) -> open response; for tests.

    Raises:
        OSError, http.client.HTTPException: the network's or the disk's reason.
        ValueError: what cannot be an address.
    """
    part = target.with_name(f".{target.name}.part")
    try:
        with open(part, "a+b") as file:
            if verify is None:
                file.truncate(0)
            _fetch_all(url, file, target.name, fetch or _open_url)
            file.flush()
            os.fsync(file.fileno())
            if verify is not None:
                file.seek(0)
                try:
                    verify(file)
                except Exception:
                    file.truncate(0)
                    raise
        os.replace(part, target)
    finally:
        if part.exists() and part.stat().st_size == 0:
            part.unlink()


def _fetch_all(url: str, file: BinaryIO, name: str, fetch: Fetch) -> None:
    while True:
        before = file.seek(0, os.SEEK_END)
        try:
            return _fetch_rest(url, file, name, fetch)
        except urllib.error.HTTPError as e:
            if e.code != _RANGE_NOT_SATISFIABLE or before == 0:
                raise
            file.truncate(0)  # the file over there is another one by now
        except (OSError, http.client.HTTPException):
            if file.seek(0, os.SEEK_END) <= before:
                raise


def _fetch_rest(url: str, file: BinaryIO, name: str, fetch: Fetch) -> None:
    start = file.seek(0, os.SEEK_END)
    with fetch(url, start) as source:
        headers = getattr(source, "headers", {})
        if start and not str(headers.get("Content-Range", "")).startswith(f"bytes {start}-"):
            file.truncate(0)  # a server that knows no ranges sends all of it
            start = 0
        length = headers.get("Content-Length")
        total = start + int(length) if length else None
        bar: Any = progress(total=total, desc=name, unit="B", initial=start, unit_scale=True)
        with bar:
            while chunk := source.read(_CHUNK):
                file.write(chunk)
                bar.update(len(chunk))
    arrived = file.seek(0, os.SEEK_END)
    if total is not None and arrived != total:
        raise ConnectionError(f"{arrived} of {total} bytes arrived")


def _open_url(url: str, start: int) -> Any:
    _reach(url)
    request = urllib.request.Request(url, headers={"User-Agent": "gcseg"})
    if start:
        request.add_header("Range", f"bytes={start}-")
    return urllib.request.urlopen(request, timeout=_TIMEOUT_S)


def _reach(url: str) -> None:
    """See soon whether there is a network: name servers that are silent would keep ``urlopen`` for 20 s and more.

    Raises:
        OSError: nobody takes a connection at any of the addresses.
        ValueError: a port that is no number, or a name that no host can have.
    """
    parts = urllib.parse.urlsplit(url)
    proxy = urllib.request.getproxies().get(parts.scheme)
    if proxy and not urllib.request.proxy_bypass(parts.netloc):
        parts = urllib.parse.urlsplit(proxy if "://" in proxy else f"http://{proxy}")
    port = parts.port or (443 if parts.scheme == "https" else 80)
    answers: queue.SimpleQueue[tuple[Any, OSError | UnicodeError | None]] = queue.SimpleQueue()
    deadline = time.monotonic() + _REACH_S

    def ask(work: Callable[..., Any], *args: Any) -> None:
        def run() -> None:
            try:
                answers.put((work(*args), None))
            except (OSError, UnicodeError) as e:  # the second of names that no host can have
                answers.put((None, e))

        threading.Thread(target=run, daemon=True).start()  # nobody waits for one that hangs

    def answer() -> tuple[Any, OSError | UnicodeError | None]:
        return answers.get(timeout=max(0.0, deadline - time.monotonic()))

    try:
        ask(socket.getaddrinfo, parts.hostname, port, 0, socket.SOCK_STREAM)
        addresses, error = answer()
        for *_, address in addresses or ():
            ask(_connect, address[:2])
        for _ in addresses or ():
            _, error = answer()
            if error is None:
                return
    except queue.Empty:
        raise TimeoutError(f"no answer from {parts.hostname} within {_REACH_S:g} s") from None
    if error is not None:
        raise error


def _connect(address: tuple[str, int]) -> None:
    socket.create_connection(address, _REACH_S).close()
