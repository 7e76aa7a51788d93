"""Writes the middles of held-out photographs as PNG files, for benchmarks on them.

    python -m benchmarks.studies.held_out --data DIR --out DIR

Held out is what `codec/training/recipe/held_out.txt` lists, or every 20th photograph where none of them is in DIR.
"""

import argparse
import io
from pathlib import Path

from PIL import Image

from benchmarks.harness.told import count, told
from codec.training.data.cache import check_outside
from codec.training.data.held_out import held_out, listed
from codec.training.data.photos import members


@told
def main() -> None:
    ap = argparse.ArgumentParser(
        prog="benchmarks.studies.held_out", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    ap.add_argument("--data", type=Path, required=True, help="folder of tar shards or of photographs; it is only read")
    ap.add_argument("--out", type=Path, required=True)
    ap.add_argument("--count", type=count, default=14, help="photographs at most")
    ap.add_argument("--width", type=count, default=704, help="pixels at most")
    ap.add_argument("--height", type=count, default=512, help="pixels at most")
    ap.add_argument("--minimum", type=count, default=448, help="smaller photographs are left out")
    args = ap.parse_args()
    check_outside(args.out, args.data)
    kept = held_out([name for name, _ in members(args.data)], listed())
    if not kept:
        raise SystemExit(f"there are no photographs in {args.data}")
    args.out.mkdir(parents=True, exist_ok=True)
    written = 0
    for name, read in members(args.data):
        picture = Image.open(io.BytesIO(read())).convert("RGB") if name in kept and written < args.count else None
        if picture is None or min(picture.size) < args.minimum:
            continue
        w, h = min(picture.width, args.width), min(picture.height, args.height)
        left, top = (picture.width - w) // 2, (picture.height - h) // 2
        picture.crop((left, top, left + w, top + h)).save(args.out / f"{Path(name).stem}.png")
        written += 1


if __name__ == "__main__":
    main()
