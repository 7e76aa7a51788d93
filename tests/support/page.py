"""The page that decodes in the browser, served for a test."""

import contextlib
import threading
from collections.abc import Iterator
from pathlib import Path

from codec.view import assets
from codec.view.server import Server

STATE = "document.body.dataset.state"  # of the page, in JavaScript


@contextlib.contextmanager
def serving(files: dict[str, Path]) -> Iterator[str]:
    """files: below the page, in addition to its own or in their place -> its address."""
    with Server({**assets.files(), **files}) as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        yield running.address
        running.shutdown()
        thread.join()
