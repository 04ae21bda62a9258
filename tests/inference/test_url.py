"""Inputs behind a URL."""

import http.server
import re
import threading

import numpy as np
import pytest

from xec_deploy import infer

OPTIONS = {"batch": 16, "sessions": 1, "threads": 1, "backend": "onnxruntime"}


class RangeHandler(http.server.BaseHTTPRequestHandler):
    """Serves byte ranges of one file."""

    protocol_version = "HTTP/1.1"
    content = b""

    def do_HEAD(self):
        self.answer()

    def do_GET(self):
        self.answer()

    def answer(self):
        body, size = self.content, len(self.content)
        match = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
        self.send_response(206 if match else 200)
        self.send_header("Accept-Ranges", "bytes")
        if match:
            first, last = int(match[1]), min(int(match[2]), size - 1)
            body = body[first : last + 1]
            self.send_header("Content-Range", f"bytes {first}-{last}/{size}")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def log_message(self, *arguments):
        pass


@pytest.fixture
def address(reference_root):
    content = (reference_root / "fixed_lz4.root").read_bytes()
    handler = type("Handler", (RangeHandler,), {"content": content})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/run1.root"
        server.shutdown()
        thread.join()


def test_a_url_gives_the_values_of_the_file(bundle, address, tmp_path, read, reference_root):
    infer(bundle, reference_root / "fixed_lz4.root", tmp_path / "local.root", **OPTIONS)
    (file,) = infer(bundle, address, tmp_path / "far", **OPTIONS).files
    assert file.output == str(tmp_path / "far" / "run1_xec.root")
    expected = read(tmp_path / "local.root")
    for name, values in read(file.output).items():
        np.testing.assert_array_equal(values, expected[name])
    (again,) = infer(bundle, f"{address}:tree", tmp_path / "far", **OPTIONS).files
    assert again.outcome == "skipped"
