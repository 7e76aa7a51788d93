"""A headless Chromium that a program drives: the DevTools protocol over two pipes, for which no package is needed."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import select
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

PROGRAM = next(
    (path for name in ("chromium", "chromium-browser", "google-chrome", "chrome") if (path := shutil.which(name))), None
)
_FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--disable-dev-shm-usage",
    "--hide-scrollbars",
)


def _stat(process: int) -> list[str]:
    """Fields of /proc/PID/stat from the state on."""
    return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()


def processor_seconds(process: int) -> float:
    """User and system time of a process so far; Linux only."""
    user, system = _stat(process)[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


class Tab:
    """One page. ``errors``: what it wrote to its console as an error, and exceptions nobody caught."""

    def __init__(self, process: subprocess.Popen, to: int, back: int) -> None:
        self.process, self._to, self._back = process, to, back
        self._buffer, self._count = b"", 0
        self.errors: list[str] = []
        self.requests: list[str] = []
        (target,) = [t for t in self._send("Target.getTargets")["targetInfos"] if t["type"] == "page"]
        attached = self._send("Target.attachToTarget", {"targetId": target["targetId"], "flatten": True})
        self._session: str | None = attached["sessionId"]
        for domain in ("Runtime", "Log", "Page", "Network", "DOM"):
            self.send(f"{domain}.enable")

    def send(self, method: str, **parameters: Any) -> dict:
        return self._send(method, parameters, self._session)

    def open(self, url: str) -> None:
        self.errors.clear(), self.requests.clear()
        self.send("Page.navigate", url=url)
        self.wait(f"location.href === {json.dumps(url)} && document.readyState === 'complete'")

    def evaluate(self, expression: str) -> Any:
        """Value of a JavaScript expression; a promise is waited for."""
        said = self.send("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in said:
            raise AssertionError(said["exceptionDetails"].get("exception", said["exceptionDetails"]))
        return said["result"].get("value")

    def wait(self, expression: str, seconds: float = 300) -> Any:
        """Waits until an expression is true -> its value."""
        end = time.monotonic() + seconds
        while not (value := self.evaluate(expression)):
            if time.monotonic() > end:
                raise AssertionError(f"{expression} did not become true in {seconds} s; {self.errors}")
            time.sleep(0.03)
        return value

    def give_file(self, selector: str, path: Path) -> None:
        """As if the user had chosen a file."""
        root = self.send("DOM.getDocument")["root"]["nodeId"]
        node = self.send("DOM.querySelector", nodeId=root, selector=selector)["nodeId"]
        self.send("DOM.setFileInputFiles", nodeId=node, files=[str(path)])

    def resize(self, width: int, height: int, mobile: bool = False, dpr: float = 1) -> None:
        self.send(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, mobile=mobile, deviceScaleFactor=dpr
        )

    def peak_mb(self) -> float:
        """Largest resident size of a tab's process so far, in 10**6 bytes; Linux only."""
        peaks = [0]
        for folder in self._renderers():
            with contextlib.suppress(OSError):  # it has ended
                rows = (folder / "status").read_text().splitlines()
                peaks += [int(row.split()[1]) for row in rows if row.startswith("VmHWM")]
        return max(peaks) * 1024 / 1e6

    def processor_seconds(self) -> float:
        """Processor time of the tab's processes so far; Linux only."""
        total = 0.0
        for folder in self._renderers():
            with contextlib.suppress(OSError):
                total += processor_seconds(int(folder.name))
        return total

    def _renderers(self) -> list[Path]:
        """/proc folders of the processes of our tabs."""
        parents, found = dict[int, int](), []
        for folder in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                parents[int(folder.name)] = int(_stat(int(folder.name))[1])
                if b"--type=renderer" in (folder / "cmdline").read_bytes():
                    found.append(folder)
        return [folder for folder in found if self._is_ours(int(folder.name), parents)]

    def _is_ours(self, number: int, parents: dict[int, int]) -> bool:
        while number > 1 and number != self.process.pid:
            number = parents.get(number, 0)
        return number == self.process.pid

    def screenshot(self, path: Path, whole: bool = False) -> None:
        data = self.send("Page.captureScreenshot", captureBeyondViewport=whole)["data"]
        path.write_bytes(base64.b64decode(data))

    def _send(self, method: str, parameters: dict | None = None, session: str | None = None) -> dict:
        self._count += 1
        number = self._count
        message = {"id": number, "method": method, "params": parameters or {}}
        if session:
            message["sessionId"] = session
        os.write(self._to, json.dumps(message).encode() + b"\0")
        while True:
            said = self._read()
            if said.get("id") == number:
                if "error" in said:
                    raise AssertionError(f"{method}: {said['error']}")
                return said["result"]
            self._note(said)

    def _note(self, event: dict) -> None:
        method, values = event.get("method"), event.get("params", {})
        if method == "Runtime.exceptionThrown":
            self.errors.append(str(values["exceptionDetails"]))
        elif method == "Runtime.consoleAPICalled" and values["type"] == "error":
            self.errors.append(str([a.get("value", a.get("description")) for a in values["args"]]))
        elif method == "Log.entryAdded" and values["entry"]["level"] == "error":
            self.errors.append(f"{values['entry']['text']} {values['entry'].get('url', '')}")
        elif method == "Network.requestWillBeSent":
            self.requests.append(values["request"]["url"])

    def _read(self, seconds: float = 300) -> dict:
        while b"\0" not in self._buffer:
            ready, _, _ = select.select([self._back], [], [], seconds)
            piece = os.read(self._back, 1 << 20) if ready else b""
            if not piece:
                raise AssertionError("Chromium does not answer")
            self._buffer += piece
        message, _, self._buffer = self._buffer.partition(b"\0")
        return json.loads(message)


@contextlib.contextmanager
def browser(*flags: str) -> Iterator[Tab]:
    """A fresh profile and a blank page; all is gone at the end."""
    assert PROGRAM is not None
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        to_child, to = os.pipe()
        back, from_child = os.pipe()
        command = [
            "bash", "-c", f'exec "$@" 3<&{to_child} 4>&{from_child}', "bash", PROGRAM,
            *_FLAGS, f"--user-data-dir={profile}", "--remote-debugging-pipe", *flags, "about:blank",
        ]  # fmt: skip
        process = subprocess.Popen(
            command, pass_fds=(to_child, from_child), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        os.close(to_child), os.close(from_child)
        try:
            yield Tab(process, to, back)
        finally:
            process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(10)
            if process.poll() is None:
                process.kill()
                process.wait()
            os.close(to), os.close(back)
