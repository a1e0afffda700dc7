"""Downloads from a real server on this machine, which can break off and forget ranges."""

import socket
import threading
import time
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from gcseg.engine import download as downloads
from gcseg.engine.download import download
from gcseg.engine.weights import resolve_url
from gcseg.utils import WeightsNotFoundError

DATA = bytes(range(256)) * 4000


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        server = self.server
        wanted = self.headers.get("Range") if server.knows_ranges else None
        server.asked.append(self.headers.get("Range"))
        time.sleep(server.silent_for)
        start = int(wanted.removeprefix("bytes=").removesuffix("-")) if wanted else 0
        if start >= len(server.data):
            self.send_error(416)
            return
        rest = server.data[start:]
        self.send_response(206 if wanted else 200)
        if wanted:
            self.send_header("Content-Range", f"bytes {start}-{len(server.data) - 1}/{len(server.data)}")
        self.send_header("Content-Length", str(len(rest)))
        self.end_headers()
        self.wfile.write(rest[: server.breaks_after.pop(0)] if server.breaks_after else rest)

    def log_message(self, *args):
        pass


@pytest.fixture
def server():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.data, server.asked, server.breaks_after, server.knows_ranges = DATA, [], [], True
    server.silent_for = 0
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    server.url = f"http://127.0.0.1:{server.server_port}/net.pth"
    yield server
    server.shutdown()
    server.server_close()


def right(file):
    if file.read() != DATA:  # where CI is set, a failing assert would draw up the difference of the bytes for hours
        raise ValueError("not the file that was wanted")


def names(folder):
    return sorted(f.name for f in folder.iterdir())


def test_a_connection_that_breaks_is_taken_up_where_it_broke(server, tmp_path):
    server.breaks_after = [300_000, 100_000]
    download(server.url, tmp_path / "net.pth", right)
    assert server.asked == [None, "bytes=300000-", "bytes=400000-"]
    assert (tmp_path / "net.pth").read_bytes() == DATA and names(tmp_path) == ["net.pth"]


def test_the_next_call_goes_on_after_a_failure(server, tmp_path):
    server.breaks_after = [300_000, 0]
    with pytest.raises(ConnectionError, match="300000 of 1024000 bytes"):
        download(server.url, tmp_path / "net.pth", right)
    assert names(tmp_path) == [".net.pth.part"]
    download(server.url, tmp_path / "net.pth", right)
    assert server.asked == [None, "bytes=300000-", "bytes=300000-"] and names(tmp_path) == ["net.pth"]


def test_without_a_check_every_call_begins_anew(server, tmp_path):
    (tmp_path / ".net.pth.part").write_bytes(b"of another version")
    download(server.url, tmp_path / "net.pth")
    assert server.asked == [None] and (tmp_path / "net.pth").read_bytes() == DATA


def test_a_server_without_ranges_sends_all_again(server, tmp_path):
    server.breaks_after, server.knows_ranges = [300_000], False
    download(server.url, tmp_path / "net.pth", right)
    assert server.asked == [None, "bytes=300000-"] and (tmp_path / "net.pth").read_bytes() == DATA


def test_a_beginning_longer_than_the_file_is_thrown_away(server, tmp_path):
    (tmp_path / ".net.pth.part").write_bytes(DATA + b"more")
    download(server.url, tmp_path / "net.pth", right)
    assert server.asked == ["bytes=1024004-", None] and (tmp_path / "net.pth").read_bytes() == DATA


def test_a_wrong_file_is_thrown_away(server, tmp_path):
    (tmp_path / ".net.pth.part").write_bytes(b"of another version")
    with pytest.raises(ValueError, match="not the file"):
        download(server.url, tmp_path / "net.pth", right)
    assert names(tmp_path) == []
    download(server.url, tmp_path / "net.pth", right)
    assert names(tmp_path) == ["net.pth"]


def test_where_nothing_answers_nothing_is_left(server, tmp_path):
    with pytest.raises(OSError, match="refused"):
        download("http://127.0.0.1:9/net.pth", tmp_path / "net.pth", right)
    assert names(tmp_path) == []


@pytest.fixture
def no_proxy(monkeypatch):
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def impatient(no_proxy, monkeypatch):
    assert downloads._REACH_S <= 5
    monkeypatch.setattr(downloads, "_REACH_S", 0.5)


@pytest.fixture
def patient(no_proxy, monkeypatch):
    """For what has to be there in time, however busy the machine is."""
    monkeypatch.setattr(downloads, "_REACH_S", 300)
    monkeypatch.setattr(downloads, "_TIMEOUT_S", 300)


def test_without_a_name_server_it_is_told_soon(impatient, tmp_path, monkeypatch):
    answer = threading.Event()
    monkeypatch.setattr("socket.getaddrinfo", lambda *args: answer.wait(300))
    with pytest.raises(WeightsNotFoundError, match=r"no answer from example.org within 0.5 s.*GCSEG_WEIGHTS"):
        resolve_url("http://example.org/net.pth", folder=tmp_path)
    answer.set()


def test_where_packets_vanish_it_is_told_soon(impatient, tmp_path):
    with socket.create_server(("127.0.0.1", 0), backlog=0) as full, ExitStack() as callers:
        for _ in range(3):  # nobody takes these, and there is no room for more
            caller = callers.enter_context(socket.socket())
            caller.setblocking(False)
            caller.connect_ex(full.getsockname())
        # The system would give up after two minutes, with other words.
        with pytest.raises(TimeoutError, match=r"^timed out$|^no answer from 127.0.0.1 within 0.5 s$"):
            download(f"http://127.0.0.1:{full.getsockname()[1]}/net.pth", tmp_path / "net.pth")


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("http://example.org:x/net.pth", "cannot be downloaded .Port could not be cast"),
        (f"http://{'a' * 70}.org/net.pth", "cannot be downloaded .*label"),
        ("http://example.org/", "names no file"),
        ("http://example.org/..", "names no file"),
    ],
)
def test_what_is_no_address_of_a_file_is_told_at_once(url, reason, patient, tmp_path, capfd):
    with pytest.raises(WeightsNotFoundError, match=reason):
        resolve_url(url, folder=tmp_path / "weights")
    assert "Traceback" not in capfd.readouterr().err
    assert not list(tmp_path.glob("*.part"))


def test_a_server_that_takes_its_time_is_waited_for(patient, server, tmp_path, monkeypatch):
    reach = downloads._reach

    def reached(url):
        reach(url)
        monkeypatch.setattr(downloads, "_REACH_S", 0.01)  # must not matter any more

    monkeypatch.setattr(downloads, "_reach", reached)
    server.silent_for = 0.5
    download(server.url, tmp_path / "net.pth", right)
    assert downloads._REACH_S == 0.01


def test_one_of_several_addresses_is_enough(patient, server, tmp_path, monkeypatch):
    look_up = socket.getaddrinfo
    dead = (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", 1))

    def two(host, port, *args):
        return [dead, *look_up("127.0.0.1", port, *args)] if host == "two.invalid" else look_up(host, port, *args)

    monkeypatch.setattr("socket.getaddrinfo", two)
    download(server.url.replace("127.0.0.1", "two.invalid"), tmp_path / "net.pth", right)
    with pytest.raises(ConnectionRefusedError):
        downloads._reach("http://127.0.0.1:1/net.pth")


def test_behind_a_proxy_only_the_proxy_has_to_be_there(patient, server, tmp_path, monkeypatch):
    monkeypatch.setattr("urllib.request._opener", None)  # which remembers the proxies of its first use
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{server.server_port}")
    download("http://nowhere.invalid/net.pth", tmp_path / "net.pth", right)
    assert names(tmp_path) == ["net.pth"]
