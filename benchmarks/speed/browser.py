"""Time and memory of the decoder in the browser beside those of the package, on the same files.

    python -m benchmarks.speed.browser
    python -m benchmarks.speed.browser --repeats 5 --large 0 --out results/browser

Six pictures of 768x512 at six qualities, and one of 12 megapixels, cut from a photograph of an installed package, are
encoded. Headless Chromium opens the built page (`python -m codec view --build`) and decodes them in WebAssembly, one
thread; the package decodes them with PyTorch and with onnxruntime, in processes of their own with one thread, in
turns with the browser. Codes have to be the same and pixels within one grey level, or nothing is written. Written,
after each file: OUT.csv, in which rows of other files stay, so that a run can be broken off and gone on with
(--qualities); OUT.json. Exit code 0; 1 if something differs or cannot be measured; 2 for wrong usage.
"""

import argparse
import base64
import csv
import hashlib
import os
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from statistics import median

import numpy as np
from PIL import Image, ImageOps

import codec
from benchmarks.analysis.summary import run_metadata
from benchmarks.harness.chromium import PROGRAM, Tab, browser, processor_seconds
from benchmarks.harness.errors import BenchmarkError
from benchmarks.harness.images import packaged_images, read_image
from benchmarks.harness.table import write_rows
from benchmarks.harness.told import told
from benchmarks.speed.measure import ROOT, Worker
from benchmarks.speed.worker import Job
from codec.bitstream.container import parse
from codec.coding.padding import latent_size
from codec.view import assets
from codec.view.server import Server

SMALL, LARGE = (768, 512), (4000, 3000)
QUALITIES = (10, 25, 40, 55, 70, 85)
COLUMNS = (
    "decoder", "width", "height", "quality", "bytes", "processor_s", "ratio_torch", "seconds", "codes_s", "picture_s", "repeats", "first_s", "peak_mb",
    "max_difference", "stall_ms", "progress_steps",
)  # fmt: skip
METHOD = {
    "processor_s": "median of processor time per decode of a file (one thread: on an idle machine about as much as wall time), start-up and first run excluded; in the browser that of the tab's process",
    "ratio_torch": "median over turns of the browser's processor time divided by that of the package with PyTorch in the same turn",
    "seconds": "median of wall time per decode of a file, start-up and first run excluded; codes_s and picture_s: its two parts in the browser",
    "first_s": "from opening the page, or starting the process, to the first picture",
    "peak_mb": "largest resident size in 10**6 bytes of the tab's process, or of the process of the package; each decodes that file only",
    "stall_ms": "longest time, in milliseconds, in which the page could not do anything else while a file was decoded: between two turns of a timer of 10 ms, which waits for other programs too",
    "progress_steps": "how many states of the progress bar that timer saw",
    "max_difference": "largest difference in grey levels from the package's picture; the codes were compared by their SHA-256",
}
_PACKAGE = {"torch": "ours", "onnx": "ours-onnx"}  # decoder -> codec of a worker
_STATE = "document.body.dataset.state"
#: Pixels of an opaque picture as base64, a few rows at a time.
_PIXELS = """
(async () => {
  const canvas = document.getElementById("decoded");
  const data = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
  const reader = new FileReader();
  return await new Promise((resolve) => {
    reader.onload = () => resolve(reader.result.split(",")[1]);
    reader.readAsDataURL(new Blob([data]));
  });
})()
"""
#: Looks at the page while it decodes; what it returns ends that.
_WATCH = """
window.watched = (() => {
  const bar = document.getElementById("progress");
  const seen = new Set();
  let [last, longest] = [performance.now(), 0];
  const timer = setInterval(() => {
    const now = performance.now();
    longest = Math.max(longest, now - last - 10);
    last = now;
    if (!bar.hidden) seen.add(bar.value);
  }, 10);
  return () => {
    clearInterval(timer);
    return [longest, seen.size];
  };
})();
"""


class Page:
    """The page with one file open; a decode is asked for by choosing it again. stall: milliseconds, steps: of its
    progress bar."""

    stall, steps = 0.0, 0

    def __init__(self, tab: Tab, address: str, path: str) -> None:
        self._tab = tab
        start = time.perf_counter()
        tab.open(f"{address}index.html?backend=wasm&src={path}")
        self._wait()
        self.first = time.perf_counter() - start

    def _wait(self) -> None:
        self._tab.wait(f"['done', 'refused'].includes({_STATE})", 3600)
        if self._tab.evaluate(_STATE) != "done":
            raise BenchmarkError(f"the page refused a file: {self._tab.evaluate('reason.textContent')}")

    def decode(self) -> list[float]:
        """-> seconds for all, the codes, the picture, as the page measures them."""
        self._tab.evaluate(_WATCH)
        self._tab.evaluate("files.dispatchEvent(new Event('change'))")
        self._wait()
        stall, steps = self._tab.evaluate("watched()")
        self.stall, self.steps = max(self.stall, float(stall)), int(steps)
        return [float(s) for s in self._tab.evaluate("JSON.parse(document.body.dataset.seconds)")]

    def codes(self) -> str:
        self._tab.evaluate("digest.click()")
        return self._tab.wait("codes.hidden ? '' : codes.textContent")

    def pixels(self, size: tuple[int, int]) -> np.ndarray:
        data = base64.b64decode(self._tab.evaluate(_PIXELS))
        return np.frombuffer(data, np.uint8).reshape(size[1], size[0], 4)[..., :3]


@contextmanager
def _served(files: dict[str, Path]) -> Iterator[str]:
    with Server({**assets.files(), **files}) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield server.address
        server.shutdown()
        thread.join()


def _case(
    picture: Image.Image, quality: float, one: codec.Codec, repeats: int, folder: Path
) -> list[dict[str, object]]:
    """The rows of one file."""
    size, path = picture.size, folder / "picture.ldc"
    data = one.encode(picture, quality=quality)
    path.write_bytes(data)
    np.save(folder / "pixels.npy", np.asarray(picture))
    workers, ready, ours, busy = list[Worker](), list[float](), list[list[float]](), list[list[float]]()
    try:
        for name in _PACKAGE.values():
            start = time.perf_counter()
            workers.append(Worker(Job(name, "decode", 1, quality, 0, str(folder / "pixels.npy"), str(path), "vq")))
            ready.append(time.perf_counter() - start)
        with _served({"files/picture.ldc": path}) as address, browser() as tab:
            page = Page(tab, address, "files/picture.ldc")
            runs = [lambda: ours.append(page.decode()), *(worker.run for worker in workers)]
            clocks = [tab.processor_seconds, *(partial(processor_seconds, worker.process) for worker in workers)]
            for turn in range(repeats):
                busy.append([0.0] * len(runs))
                for k in sorted(range(len(runs)), reverse=bool(turn % 2)):
                    before = clocks[k]()
                    runs[k]()
                    busy[-1][k] = clocks[k]() - before
            peak = tab.peak_mb()
            codes, pixels = page.codes(), page.pixels(size)
        for worker in workers:
            worker.finish()
    finally:
        for worker in workers:
            worker.close()
    if codes != _digest(one, data):
        raise BenchmarkError(f"the codes of quality {quality:g} differ")
    apart = int(np.abs(pixels.astype(int) - one.decode_array(data)).max())
    if apart > 1:
        raise BenchmarkError(f"the picture of quality {quality:g} differs by up to {apart} grey levels")
    same = {"width": size[0], "height": size[1], "quality": quality, "bytes": len(data), "repeats": repeats}
    seconds, codes_s, picture_s = (round(median(part), 3) for part in zip(*ours, strict=True))
    ratio = median(page_s / torch_s for page_s, torch_s, *_ in busy)
    processor = [round(median(times), 2) for times in zip(*busy, strict=True)]
    return [
        {
            "decoder": "browser", **same, "processor_s": processor[0], "ratio_torch": round(ratio, 2), "seconds": seconds, "codes_s": codes_s,
            "picture_s": picture_s,
            "first_s": round(page.first, 2), "peak_mb": round(peak), "max_difference": apart,
            "stall_ms": round(page.stall), "progress_steps": page.steps,
        },
        *(
            {
                "decoder": decoder, **same, "processor_s": own, "seconds": round(median(worker.seconds), 3), "first_s": round(first, 2),
                "peak_mb": round(worker.facts["peak_mb"]),
            }
            for decoder, worker, first, own in zip(_PACKAGE, workers, ready, processor[1:], strict=True)
        ),
    ]  # fmt: skip


def _digest(one: codec.Codec, data: bytes) -> str:
    """SHA-256 over shapes and values of tokens and v_hat, as little-endian int32."""
    stream = parse(data)
    h, w = latent_size(stream.header.height, stream.header.width)
    seen = hashlib.sha256()
    for a in one.model.coder.decode(stream.sections, h, w, stream.header.level):
        seen.update(str(a.shape).encode() + np.ascontiguousarray(a, "<i4").tobytes())
    return seen.hexdigest()


def run(options: argparse.Namespace) -> list[dict[str, object]]:
    """Measure and write the table; returns its rows."""
    if PROGRAM is None:
        raise BenchmarkError("there is no Chromium on the PATH")
    if not assets.built():
        raise BenchmarkError("the page is not built; run 'python -m codec view --build'")
    source, one, load = packaged_images()[0], codec.load(threads=1), os.getloadavg()[0]
    photo, rows = Image.fromarray(read_image(source)), []
    cases = [
        (window(photo, SMALL, QUALITIES.index(q)), q, options.repeats) for q in options.qualities if options.repeats
    ]
    cases += [(window(photo, LARGE, 0), 50.0, options.large)] if options.large else []
    options.out.parent.mkdir(parents=True, exist_ok=True)
    for picture, quality, repeats in cases:
        with tempfile.TemporaryDirectory() as folder:
            new = _case(picture, quality, one, repeats, Path(folder))
        for row in new:
            print(" ".join(f"{name} {row[name]}" for name in COLUMNS if name in row), flush=True)
        rows = merged(options.out.with_suffix(".csv"), new)
        write_rows(options.out.with_suffix(".csv"), COLUMNS, rows)
        options.out.with_suffix(".json").write_text(facts(source.name, one.model_id, load))
    return rows


def facts(picture: str, model: int, load: float) -> str:
    """The JSON beside the table; load: average before the run."""
    return run_metadata(
        picture=picture,
        model=model,
        page_mb=round(assets.size() / 1e6, 1),
        load_average_before=round(load, 2),
        load_average_after=round(os.getloadavg()[0], 2),
        method=METHOD,
    )


def merged(path: Path, new: Sequence[dict[str, object]]) -> list[dict[str, object]]:
    """The rows of the table that is there, without those of the same files, and the new ones."""

    def file_of(row: dict[str, object]) -> tuple[int, float]:
        return int(str(row["width"])), float(str(row["quality"]))

    old: list[dict[str, object]] = []
    if path.is_file():
        with open(path, newline="") as file:
            old = [dict(row) for row in csv.DictReader(file)]
    measured = {file_of(row) for row in new}
    return sorted([row for row in old if file_of(row) not in measured] + list(new), key=file_of)


def window(photo: Image.Image, size: tuple[int, int], k: int) -> Image.Image:
    """The photograph at that size, seen through another window for each k."""
    return ImageOps.fit(photo, size, centering=(0.5, k / 5))


@told
def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point; turns errors into a sentence and an exit code."""
    parser = argparse.ArgumentParser(
        prog="browser.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeats", type=int, default=5, help="decodes of each small picture, 0 for none (default 5)")
    parser.add_argument(
        "--qualities",
        type=lambda text: [int(part) for part in text.split(",")],
        default=list(QUALITIES),
        metavar="A,B",
        help=f"which of the small pictures (default {','.join(map(str, QUALITIES))})",
    )
    parser.add_argument("--large", type=int, default=1, help="decodes of the large picture, 0 for none (default 1)")
    parser.add_argument(
        "--out", type=Path, default=ROOT / "results" / "browser", help="without suffix (default results/browser)"
    )
    options = parser.parse_args(arguments)
    if min(options.repeats, options.large) < 0 or not options.repeats + options.large:
        parser.error("repeats and large are at least 0, and not both 0")
    if unknown := set(options.qualities) - set(QUALITIES):
        parser.error(f"there is no small picture of quality {min(unknown)}")
    run(options)
    return 0


if __name__ == "__main__":
    sys.exit(main())
