"""A server of a fixed set of files for the browser of this machine.

It listens on 127.0.0.1 only. Every path begins with a random token, so that no other page and no other user can guess
an address. A path is looked up in a table made beforehand and never made into a file name: there is nothing to
traverse.
"""

from __future__ import annotations

import http.server
import mimetypes
import secrets
import shutil
import socketserver
from collections.abc import Mapping
from http import HTTPStatus
from pathlib import Path
from urllib.parse import quote

from codec.bitstream.container import MIME_TYPE, SUFFIX

ADDRESS = "127.0.0.1"
TYPES = {
    ".js": "text/javascript",
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".json": "application/json",
    ".svg": "image/svg+xml",
    SUFFIX: MIME_TYPE,
}
POLICY = (
    "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; style-src 'self'; img-src 'self' blob:; "
    "connect-src 'self'; worker-src 'self'; base-uri 'none'; form-action 'none'"
)
_HEADERS = {
    "Content-Security-Policy": f"{POLICY}; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",
}
_TIMEOUT = 30  # seconds that a connection may be silent


class Server(socketserver.ThreadingMixIn, http.server.HTTPServer):
    """``files``: path below the token -> file. ``address``: where the first page is, with the token."""

    daemon_threads = True

    def __init__(self, files: Mapping[str, Path], port: int = 0) -> None:
        """port: 0 takes a free one."""
        self.token = secrets.token_urlsafe(24)
        self.table = {f"/{self.token}/{quote(path)}": file for path, file in files.items()}
        super().__init__((ADDRESS, port), _Handler)
        # a page elsewhere that makes its name point here (DNS rebinding) is told by the name
        self.hosts = {f"{name}:{self.server_port}" for name in (ADDRESS, "localhost")}

    @property
    def address(self) -> str:
        return f"http://{ADDRESS}:{self.server_port}/{self.token}/"


class _Handler(http.server.BaseHTTPRequestHandler):
    server: Server
    timeout = _TIMEOUT
    protocol_version = "HTTP/1.1"
    server_version, sys_version = "codec", ""

    def do_GET(self) -> None:
        self._answer(body=True)

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def _answer(self, body: bool) -> None:
        if self.headers.get("Host") not in self.server.hosts:
            return self._refuse(HTTPStatus.FORBIDDEN)
        file = self.server.table.get(self.path.partition("?")[0])
        if file is None:
            return self._refuse(HTTPStatus.NOT_FOUND)
        try:
            with open(file, "rb") as source:
                size = file.stat().st_size
                self.send_response(HTTPStatus.OK)
                self._headers(_type_of(file), size)
                if body:
                    shutil.copyfileobj(source, self.wfile)
        except ConnectionError:  # the browser went away
            self.close_connection = True
        except OSError:
            self._refuse(HTTPStatus.NOT_FOUND)

    def _refuse(self, status: HTTPStatus) -> None:
        self.send_response(status)
        self._headers("text/plain", 0)

    def _headers(self, kind: str, size: int) -> None:
        for name, value in {"Content-Type": kind, "Content-Length": str(size), **_HEADERS}.items():
            self.send_header(name, value)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: the terminal is the user's."""


def _type_of(file: Path) -> str:
    return TYPES.get(file.suffix) or mimetypes.guess_type(file.name)[0] or "application/octet-stream"
