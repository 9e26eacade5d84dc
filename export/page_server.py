# SPDX-License-Identifier: Apache-2.0
"""A page's folder on this machine, with the headers that let WebAssembly use several threads."""

import contextlib
import functools
import threading
import webbrowser
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from pipelines.errors import UserError

POLICY = ("default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; style-src 'self'; "
          "img-src 'self' blob:; connect-src 'self'; worker-src 'self'; base-uri 'none'; "
          "form-action 'none'; frame-ancestors 'none'")
HEADERS = {
    "Content-Security-Policy": POLICY,
    "Cross-Origin-Opener-Policy": "same-origin",  # these two: threads in WebAssembly
    "Cross-Origin-Embedder-Policy": "require-corp",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}
TYPES = {".mjs": "text/javascript", ".js": "text/javascript", ".wasm": "application/wasm",
         ".onnx": "application/octet-stream", ".json": "application/json", ".css": "text/css",
         ".html": "text/html; charset=utf-8", ".png": "image/png"}


class _Handler(SimpleHTTPRequestHandler):
    extensions_map = TYPES
    isolated = True

    def end_headers(self):
        for name, value in HEADERS.items():
            if self.isolated or not name.startswith("Cross-Origin"):
                self.send_header(name, value)
        super().end_headers()

    def log_message(self, *_):
        pass


class _Single(_Handler):
    isolated = False


@contextlib.contextmanager
def serving(folder: str | Path, port: int = 0, isolated: bool = True) -> Iterator[str]:
    """Serve a folder at 127.0.0.1 while the block runs; yields the address.

    Args:
        port: 0 takes a free one.
        isolated: send the headers of cross-origin isolation; without them WebAssembly has one
            thread, as on a host that sends none.
    Raises:
        UserError: the port is taken.
    """
    handler = functools.partial(_Handler if isolated else _Single, directory=str(folder))
    server = _server(port, handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


def refuse_taken(port: int) -> None:
    """Before minutes of work, the UserError that `serving` would end in after them."""
    _server(port, _Handler).server_close()


def _server(port, handler):
    try:
        return ThreadingHTTPServer(("127.0.0.1", port), handler)
    except OSError as error:
        raise UserError(f"--port {port}: {error.strerror}") from None


def show(folder: str | Path, port: int, browser: bool = True) -> None:
    """Serve a folder until Ctrl-C, and open it in the user's browser."""
    with serving(folder, port) as address:
        print(f"{address} shows {folder}; Ctrl-C ends it", flush=True)
        if browser:
            webbrowser.open(address)
        threading.Event().wait()
