"""Photographs for training: tar shards or a folder, decoded once into one flat file, cut into random crops.

The flat file is the cache. It lies in a folder of its own, never in one that holds files of the user.
"""

import io
import json
import os
import tarfile
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError
from tqdm import tqdm

from codec.training.data.cache import check_cache, check_outside
from codec.training.data.held_out import held_out, listed
from codec.whole import written

#: each photograph is kept at its own size and made smaller (sharper detail, fewer traces of its old file)
SCALES = (1.0, 0.6)
SUFFIXES = (".png", ".jpg", ".jpeg", ".avif", ".webp")
MIN_SIDE = 256
Made = TypeVar("Made")


@dataclass(frozen=True)
class Entry:
    """One stored picture: which photograph (``photo`` counts them), scale, place in the cache file, size."""

    photo: int
    name: str
    scale: float
    offset: int
    height: int
    width: int


def members(source: Path) -> Iterator[tuple[str, Callable[[], bytes]]]:
    """Files of every ``*.tar`` in a folder, or else pictures of the folder itself, sorted: name, and a function that
    reads the bytes, to be called before the next one is asked for. Sample shards (``mini``) are left out beside
    others."""
    shards = sorted(source.glob("*.tar"))
    for shard in [s for s in shards if "mini" not in s.name] or shards:
        with tarfile.open(shard) as tar:
            for member in tar:
                if member.isfile():
                    yield f"{shard.name}/{member.name}", tar.extractfile(member).read
    if not shards:
        for path in sorted(p for p in source.rglob("*") if p.suffix.lower() in SUFFIXES):
            yield str(path.relative_to(source)), path.read_bytes


def read_pictures(source: Path, made: Callable[[Image.Image], Made]) -> Iterator[tuple[str, Made]]:
    """What is made of each picture of ``members``, RGB, in their order; decoded and made on all cores. Raises
    SystemExit for a picture that cannot be read."""

    def decoded(name: str, data: bytes) -> Made:
        try:
            picture = Image.open(io.BytesIO(data)).convert("RGB")
        except (OSError, SyntaxError, ValueError) as error:
            reason = "not a picture" if isinstance(error, UnidentifiedImageError) else str(error)
            raise SystemExit(f"the photograph {name} in {source} cannot be read: {reason}") from None
        return made(picture)

    cores = os.cpu_count() or 1
    with ThreadPoolExecutor(cores) as pool:
        waiting: deque[tuple[str, Future[Made]]] = deque()
        try:
            for name, read in members(source):
                waiting.append((name, pool.submit(decoded, name, read())))
                if len(waiting) > 2 * cores:
                    first, done = waiting.popleft()
                    yield first, done.result()
            for name, done in waiting:
                yield name, done.result()
        finally:
            pool.shutdown(cancel_futures=True)


def sizes_of(picture: Image.Image) -> list[tuple[float, np.ndarray]]:
    """Scale and uint8 (H, W, 3) for each of SCALES that leaves MIN_SIDE pixels a side."""
    found = [(scale, round(picture.width * scale), round(picture.height * scale)) for scale in SCALES]
    return [
        (scale, np.asarray(picture if scale == 1.0 else picture.resize((w, h), Image.Resampling.LANCZOS)))
        for scale, w, h in found
        if min(w, h) >= MIN_SIDE
    ]


class Photos:
    """Decoded photographs in a memory-mapped file under ``cache``; made there on first use from ``source``."""

    def __init__(self, source: Path, cache: Path) -> None:
        index = cache / "index.json"
        check_outside(cache, source)
        check_cache(cache)
        if not index.exists():
            self._build(source, cache)
        found = json.loads(index.read_text())
        if found["source"] != source.name:
            raise SystemExit(
                f"{cache} is the cache of photographs in a folder {found['source']!r}, not in {source.name!r}: "
                "name another folder with --cache"
            )
        self.entries = [Entry(**e) for e in found["entries"]]
        self._bytes, self._areas = np.memmap(cache / "photos.u8", np.uint8, "r"), {}
        away = held_out(found["names"], listed())
        self.train = [e for e in self.entries if e.name not in away]
        self.validation = [e for e in self.entries if e.name in away and e.scale == 1.0]

    @staticmethod
    def _build(source: Path, cache: Path) -> None:
        cache.mkdir(parents=True, exist_ok=True)
        entries, names, offset = [], [], 0
        # Several processes may come here at once. The pixels are there before the index, which says that they are.
        with written(cache / "index.json") as index, written(cache / "photos.u8") as pixels_file:
            with open(pixels_file, "wb") as out:
                for photo, (name, sizes) in enumerate(
                    tqdm(read_pictures(source, sizes_of), desc="photographs", disable=None)
                ):
                    names.append(name)
                    for scale, pixels in sizes:
                        out.write(pixels.tobytes())
                        entries.append(asdict(Entry(photo, name, scale, offset, *pixels.shape[:2])))
                        offset += pixels.size
            if not entries:
                raise SystemExit(f"no photographs of at least {MIN_SIDE} pixels a side in {source}")
            index.write_text(json.dumps({"source": source.name, "names": names, "entries": entries}))

    def describe(self) -> str:
        """How many photographs these are and how they are used, for the record of a model."""
        whole = [e for e in self.entries if e.scale == 1.0]
        megapixels = sum(e.height * e.width for e in whole) / 1e6
        smaller = " and ".join(f"{s:g}" for s in SCALES if s != 1.0)
        return (
            f"{len(whole):,} photographs ({megapixels:.3g} megapixels), each also at {smaller} of its size where that "
            f"has {MIN_SIDE} pixels a side; {len({e.photo for e in self.validation})} held out"
        )

    def pixels(self, e: Entry) -> np.ndarray:
        """(H, W, 3) uint8 view."""
        return self._bytes[e.offset : e.offset + e.height * e.width * 3].reshape(e.height, e.width, 3)

    def places(
        self, rng: np.random.Generator, count: int, size: int, of: list[Entry] | None = None
    ) -> list[tuple[Entry, int, int, bool]]:
        """Random crops of the training split, or of some of its entries: picture (by area), row, column, mirrored.
        Raises SystemExit where none is large enough."""
        of = self.train if of is None else of
        if of is self.train and not of:
            raise SystemExit("there is one photograph alone, and it is held out: training needs two")
        if all(min(e.height, e.width) < size for e in of):
            raise SystemExit(f"no photograph for training has {size} pixels a side")
        if id(of) not in self._areas:
            area = np.array([float(e.height * e.width) for e in of])
            self._areas[id(of)] = np.cumsum(area) / area.sum()
        out = []
        for _ in range(count):
            while True:
                e = of[int(np.searchsorted(self._areas[id(of)], rng.random()))]
                if min(e.height, e.width) >= size:
                    break
            i, j = int(rng.integers(e.height - size + 1)), int(rng.integers(e.width - size + 1))
            out.append((e, i, j, bool(rng.random() < 0.5)))
        return out

    def crops(self, rng: np.random.Generator, count: int, size: int) -> np.ndarray:
        """(count, size, size, 3) uint8: random pictures of the training split by area, random places, random mirror
        images. Raises SystemExit where none is large enough."""
        return self.cut(self.places(rng, count, size), size)

    def cut(self, places: list[tuple[Entry, int, int, bool]], size: int) -> np.ndarray:
        """Crops (N, size, size, 3) uint8 at N ``places``."""
        out = np.empty((len(places), size, size, 3), np.uint8)
        for k, (e, i, j, mirrored) in enumerate(places):
            crop = self.pixels(e)[i : i + size, j : j + size]
            out[k] = crop[:, ::-1] if mirrored else crop
        return out

    def batch(
        self, rng: np.random.Generator, count: int, size: int, device: torch.device, of: list[Entry] | None = None
    ) -> torch.Tensor:
        """``crops``, of some entries if asked, as (count, 3, size, size) in 0..1 on the device. A card holds all
        photographs from the first call on, and cuts there."""
        if device.type != "cuda":
            return to_tensor(self.cut(self.places(rng, count, size, of), size)).to(device)
        if not hasattr(self, "_card"):
            self._card = torch.from_numpy(np.array(self._bytes)).to(device)
        return cut(self._card, self.places(rng, count, size, of), size)

    def validation_places(self, count: int, size: int) -> list[Entry]:
        """The held-out photographs of ``validation_crops``."""
        return [e for e in self.validation if min(e.height, e.width) >= size][:count]

    def validation_crops(self, count: int, size: int) -> np.ndarray:
        """(count, size, size, 3) uint8: the middles of held-out photographs, always the same."""
        return np.stack(
            [
                self.pixels(e)[(e.height - size) // 2 :, (e.width - size) // 2 :][:size, :size]
                for e in self.validation_places(count, size)
            ]
        )


def drawn(rng: np.random.Generator, count: int, size: int) -> np.ndarray:
    """(count, size, size, 3) uint8: what cameras seldom see, one flat colour or two with an edge or a ramp between
    them; most are saturated."""
    out, (i, j) = np.empty((count, size, size, 3), np.uint8), np.mgrid[:size, :size] - size / 2
    for k in range(count):
        a, b = np.where(rng.random((2, 3)) < 0.6, 255 * rng.integers(2, size=(2, 3)), rng.uniform(0, 255, (2, 3)))
        angle, place, width = (
            rng.uniform(0, 2 * np.pi),
            rng.uniform(-0.4, 0.4) * size,
            rng.choice([1.0, size * rng.uniform(0.1, 1.5)]),
        )
        t = np.clip((i * np.sin(angle) + j * np.cos(angle) - place) / width + 0.5, 0, 1)[:, :, None] * (
            rng.random() < 0.7
        )
        out[k] = np.rint(a + (b - a) * t)
    return out


def to_tensor(crops: np.ndarray) -> torch.Tensor:
    """(B, H, W, 3) uint8 -> (B, 3, H, W) float32 in 0..1, channels last in memory."""
    return torch.from_numpy(crops).permute(0, 3, 1, 2).float().div(255).contiguous(memory_format=torch.channels_last)


def to_device(t: torch.Tensor, device: torch.device) -> torch.Tensor:
    """A small tensor from the CPU, without waiting for a card to finish what it does."""
    return t.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else t.to(device)


def cut(photos: torch.Tensor, places: list[tuple[Entry, int, int, bool]], size: int) -> torch.Tensor:
    """Crops of pictures that lie one behind the other in ``photos`` (uint8, on any device) -> (B, 3, size, size) in
    0..1 there, channels last."""
    table = [
        (e.offset + 3 * (i * e.width + j + mirrored * (size - 1)), 3 * e.width, -3 if mirrored else 3)
        for e, i, j, mirrored in places
    ]
    first, row, column = to_device(torch.tensor(table), photos.device).t()[:, :, None, None, None]
    n = torch.arange(size, device=photos.device)
    at = first + row * n[:, None, None] + column * n[:, None] + torch.arange(3, device=photos.device)
    return photos[at].permute(0, 3, 1, 2).float().div(255).contiguous(memory_format=torch.channels_last)
