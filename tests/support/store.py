"""An S3 server on the loopback (moto's), which may fail now and then."""

from __future__ import annotations

import contextlib
import logging
import socket
import threading
import urllib.request
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from moto.server import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import make_server

BUCKET = "pictures"


class Server:
    """requests: what was asked so far. Every `every`-th request for an object answers 500 or is cut off, in turns."""

    def __init__(self) -> None:
        self._app = DomainDispatcherApplication(create_backend_app)
        self._lock = threading.Lock()
        self.every = 0
        self.faults = 0
        self.requests: list[str] = []
        logging.getLogger("werkzeug").setLevel(logging.ERROR)
        self._server = make_server("127.0.0.1", 0, self, threaded=True)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self._server.port}"

    def __call__(self, environ: dict[str, Any], respond: Callable[..., Any]) -> Iterable[bytes]:
        with self._lock:
            self.requests.append(f"{environ['REQUEST_METHOD']} {environ['PATH_INFO']}")
            fails = self.every and environ["PATH_INFO"].count("/") > 1 and len(self.requests) % self.every == 0
            self.faults += bool(fails)
        if fails and self.faults % 2:
            respond("500 Internal Server Error", [("Content-Length", "0")])
            return [b""]
        if fails:
            environ["werkzeug.socket"].shutdown(socket.SHUT_RDWR)
            raise ConnectionResetError
        return self._app(environ, respond)

    def close(self) -> None:
        """The store is empty then: moto keeps what it holds for the process."""
        self.every = 0
        urllib.request.urlopen(f"{self.url}/moto-api/reset", b"", timeout=120).close()
        self._server.shutdown()
        self._server.server_close()


@contextlib.contextmanager
def served(environment: Callable[[str, str], None]) -> Iterator[Server]:
    """A server with an empty bucket. environment: sets variables by which clients find it."""
    server = Server()
    values = {
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "a-secret-of-the-test",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": server.url,
        "AWS_EC2_METADATA_DISABLED": "true",
    }
    for name, value in values.items():
        environment(name, value)
    import s3fs

    s3fs.S3FileSystem.clear_instance_cache()
    s3fs.S3FileSystem().mkdir(BUCKET)
    try:
        yield server
    finally:
        s3fs.S3FileSystem.clear_instance_cache()
        server.close()
