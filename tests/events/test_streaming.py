"""What a streaming reader promises: bounded memory, and files that are far away."""

import http.server
import re
import threading
import tracemalloc
from pathlib import Path

import pytest

from xec_deploy.events import open_events


@pytest.mark.parametrize("count", [500, 2000])
def test_memory_does_not_grow_with_the_file(make_events, count):
    path = make_events("events.root", count, compression="none")
    tracemalloc.start()
    try:
        with open_events(path) as file:
            for _ in file.batches(64):
                pass
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 60e6, f"{peak / 1e6:.0f} MB for {count * 0.038:.0f} MB of events"


class RangeHandler(http.server.BaseHTTPRequestHandler):
    """Serves byte ranges of the files in `folder`."""

    folder: Path
    protocol_version = "HTTP/1.1"

    def do_HEAD(self):
        self.answer(body=False)

    def do_GET(self):
        self.answer(body=True)

    def answer(self, *, body):
        content = (self.folder / self.path.lstrip("/")).read_bytes()
        size = len(content)
        match = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
        self.send_response(206 if match else 200)
        self.send_header("Accept-Ranges", "bytes")
        if match:
            first, last = int(match[1]), min(int(match[2]), size - 1)
            content = content[first : last + 1]
            self.send_header("Content-Range", f"bytes {first}-{last}/{size}")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if body:
            self.wfile.write(content)

    def log_message(self, *arguments):
        pass


def test_file_behind_http(reference_root, sixty, read_all, assert_same_events):
    handler = type("Handler", (RangeHandler,), {"folder": reference_root})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            address = f"http://127.0.0.1:{server.server_port}/vector_zstd.root"
            assert_same_events(read_all(address), sixty)
            assert_same_events(read_all(f"{address}:tree"), sixty)
        finally:
            server.shutdown()
            thread.join()
