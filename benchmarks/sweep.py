"""The knobs of the semantic decoder, and super-resolution, measured: python benchmarks/sweep.py [--images DIR] [--out results/semantic] [--only steps,realism,...]

Writes OUT/sweep.csv (one row for each knob, value, quality and picture), OUT/sweep_mean.csv (means over pictures, with sqz_kid of the set) and, for the last knob,
OUT/upscaling.csv and OUT/upscaling_mean.csv. Run again, it measures what is missing; other weights of the decoder begin anew.

codes_back: share of the latents whose symbol was sent (scale above 0) that come out within half a step when the decoded picture is analysed and quantised again with
the same quality; only for the knob consistency. small_rmse: of the enlarged picture, made smaller again, against the picture that was enlarged.
"""

import argparse
import sys
import time
from pathlib import Path

if __package__ in (None, ""):
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import numpy as np
import pandas as pd
import torch
from PIL import Image
from tqdm import tqdm

import codec
from benchmarks.images import folder_images, packaged_images, read_image, source_image
from benchmarks.metrics import MetricOptions, Scorer
from benchmarks.sets import FeatureExtractor, FeatureStore, Kid
from codec import zoo
from codec.bitstream.container import MAX_LEVEL, parse
from codec.models.ratecontrol import error_weight

QUALITIES = (22.0, 42.0, 53.0)  # about .01, .03 and .06 bits/dim on photographs
KNOBS: dict[str, tuple[float, ...]] = {
    "steps": (1, 2, 4, 8, 16, 50), "guidance": (0, 0.5, 1, 1.5, 2, 3), "realism": (0, 0.25, 0.5, 0.75, 1), "consistency": (0, 1),
}  # fmt: skip
METRICS = ("ms_ssim", "sqz_dist")
UPSCALERS = ("bicubic", "lanczos", "ours")


def codes_back(c: codec.Codec, data: bytes, picture: np.ndarray) -> float:
    """See the module."""
    stream = parse(data)
    level, net = stream.header.level, c._model.vqvae
    x = torch.from_numpy(np.pad(picture, ((0, -picture.shape[0] % 32), (0, -picture.shape[1] % 32), (0, 0)), mode="edge")).permute(2, 0, 1)[None].float() / 255
    position = torch.tensor([level / MAX_LEVEL * (net.config.anchors - 1)])
    tokens, sent = c._model.coder.decode(stream.sections, x.shape[2] // 16, x.shape[3] // 16, level)
    with torch.inference_mode():
        v = (net.analyse(x, position)[0] * torch.exp2(net.interpolate(net.log2_gain, position)))[0].numpy()
    passes, again = c._model.coder.quantise(v, tokens, level, error_weight(net, position))
    same = np.abs(again - sent) < 128  # in 1/256 step
    hits = total = 0
    for p in passes:
        group = net.config.groups[p.asked.group]
        coded = p.asked.scale > 0
        hits += int((same[group.start : group.stop, p.asked.rows, p.asked.columns].T & coded).sum())
        total += int(coded.sum())
    return hits / total


class Sweep:
    """All rows of one folder of pictures."""

    def __init__(self, paths: list[Path], out: Path, weights: Path) -> None:
        self.out, self.codec = out, codec.load(threads=torch.get_num_threads())
        self.version = f"ldm {zoo.weights_hash('ldm', self.codec.model_id)}"
        options = MetricOptions(weights)
        self.scorer, self.extract, self.store = Scorer(METRICS, options), FeatureExtractor(["sqz_kid"], options), FeatureStore(out / ".features")
        self.images = [source_image(p, p.name) for p in paths]
        self._paths = {image.digest: p for image, p in zip(self.images, paths, strict=True)}

    def _read(self, name: str) -> pd.DataFrame:
        path = self.out / name
        if not path.is_file():
            return pd.DataFrame(columns=["version"])
        found = pd.read_csv(path)
        return found[found.version == self.version]

    def _features(self, digest: str, knob: str, setting: str, picture: np.ndarray) -> None:
        self.store.save((digest, knob, setting, self.version), self.extract(picture))

    def _original(self, digest: str, crop: int = 1) -> np.ndarray:
        x = read_image(self._paths[digest])
        x = x[: x.shape[0] // crop * crop, : x.shape[1] // crop * crop]
        self.scorer.reference(x)
        if not self.store.has((digest, "original", "", ""), ["sqz_kid"]):
            self.store.save((digest, "original", "", ""), self.extract(x))
        return x

    def knobs(self, names: list[str], qualities: list[float]) -> None:
        done = self._read("sweep.csv")
        have = set(zip(done.knob, done.value, done.quality, done.image_hash, strict=True)) if len(done) else set()
        rows = done.to_dict("records")
        todo = [(i, q, k, v) for i in self.images for q in qualities for k in names for v in KNOBS[k] if (k, v, q, i.digest) not in have]
        for image, quality, knob, value in tqdm(todo, disable=None):
            x = self._original(image.digest)
            data = self.codec.encode(x, quality=quality)
            option = {"steps": int(value)} if knob == "steps" else {"consistency": bool(value)} if knob == "consistency" else {knob: value}
            start = time.perf_counter()
            picture = self.codec.decode_array(data, decoder="ldm", **option)
            seconds = time.perf_counter() - start
            self._features(image.digest, knob, f"{value:g} {quality:g}", picture)
            rows.append({"knob": knob, "value": value, "quality": quality, "version": self.version, "image": image.name, "image_hash": image.digest, "bytes": len(data),
                         "bits_per_dim": 8 * len(data) / x.size, **self.scorer.score(picture), "codes_back": codes_back(self.codec, data, picture) if knob == "consistency" else np.nan,
                         "decode_s": seconds})  # fmt: skip
            self._write("sweep.csv", rows)
        self._means("sweep", ["knob", "value", "quality"], rows, lambda r: (r["knob"], f"{r['value']:g} {r['quality']:g}"))

    def upscaling(self, scales: tuple[int, ...] = (2, 4)) -> None:
        done = self._read("upscaling.csv")
        have = set(zip(done.method, done.scale, done.image_hash, strict=True)) if len(done) else set()
        rows = done.to_dict("records")
        todo = [(i, s, m) for i in self.images for s in scales for m in UPSCALERS if (m, s, i.digest) not in have]
        for image, scale, method in tqdm(todo, disable=None):
            x = self._original(image.digest, 4)
            size = x.shape[1], x.shape[0]
            small = Image.fromarray(x).resize((size[0] // scale, size[1] // scale), Image.Resampling.BICUBIC)
            start = time.perf_counter()
            filters = {"bicubic": Image.Resampling.BICUBIC, "lanczos": Image.Resampling.LANCZOS}
            big = self.codec.upscale(small, scale) if method == "ours" else small.resize(size, filters[method])
            seconds, picture = time.perf_counter() - start, np.asarray(big)
            self._features(image.digest, method, str(scale), picture)
            back = np.asarray(big.resize(small.size, Image.Resampling.BICUBIC), float) - np.asarray(small, float)
            rows.append({"method": method, "scale": scale, "version": self.version, "image": image.name, "image_hash": image.digest, **self.scorer.score(picture),
                         "small_rmse": float(np.sqrt(np.square(back).mean())), "seconds": seconds})  # fmt: skip
            self._write("upscaling.csv", rows)
        self._means("upscaling", ["scale", "method"], rows, lambda r: (r["method"], str(r["scale"])))

    def _write(self, name: str, rows: list[dict]) -> None:
        self.out.mkdir(parents=True, exist_ok=True)
        pd.DataFrame(rows).to_csv(self.out / f"{name}.part", index=False, float_format="%.6g", lineterminator="\n")
        (self.out / f"{name}.part").replace(self.out / name)

    def _means(self, name: str, by: list[str], rows: list[dict], key) -> None:
        """Means over pictures, and KID with its bootstrap interval over them."""
        out = []
        for _, group in pd.DataFrame(rows).groupby(by, sort=True):
            first, digests = group.iloc[0], list(group.image_hash)
            numbers = group.drop(columns=["image", "image_hash", "version"]).select_dtypes("number").mean()
            row = {**{c: first[c] for c in by}, "version": first.version, "images": len(group), **{c: v for c, v in numbers.items() if c not in by}}
            decoded = [self.store.load((d, *key(first), self.version)) for d in digests]
            if all(decoded):
                kid = Kid([self.store.load((d, "original", "", "")) for d in digests], decoded)
                draws = np.random.default_rng(0).multinomial(len(digests), np.full(len(digests), 1 / len(digests)), 500)
                row["sqz_kid"], (row["sqz_kid_low"], row["sqz_kid_high"]) = kid(), np.percentile([kid(d) for d in draws], (2.5, 97.5))
            out.append(row)
        pd.DataFrame(out).to_csv(self.out / f"{name}_mean.csv", index=False, float_format="%.6g", lineterminator="\n")


def main() -> None:
    ap = argparse.ArgumentParser(prog="benchmarks.sweep", description=__doc__.split("\n")[0])
    ap.add_argument("--images", type=Path, help="folder of pictures (default: photographs in installed packages)")
    ap.add_argument("--feature-weights", type=Path, required=True, help="SqueezeNet 1.1 weights for sqz_dist and sqz_kid")
    ap.add_argument("--out", type=Path, default=Path("results/semantic"))
    ap.add_argument("--only", default=",".join((*KNOBS, "upscaling")), help="knobs, with commas")
    ap.add_argument("--qualities", default=",".join(f"{q:g}" for q in QUALITIES))
    ap.add_argument("--every", type=int, default=1, help="only every so many pictures")
    args = ap.parse_args()
    names = args.only.split(",")
    if unknown := set(names) - {*KNOBS, "upscaling"}:
        ap.error(f"unknown knob {sorted(unknown)[0]!r}; known: {', '.join((*KNOBS, 'upscaling'))}")
    torch.set_num_threads(1)
    if "ldm" not in codec.load().decoders():
        sys.exit("there are no weights of the ldm decoder")
    paths = (packaged_images() if args.images is None else folder_images(args.images))[:: args.every]
    sweep = Sweep(paths, args.out, args.feature_weights)
    if knobs := [n for n in names if n in KNOBS]:
        sweep.knobs(knobs, [float(q) for q in args.qualities.split(",")])
    if "upscaling" in names:
        sweep.upscaling()


if __name__ == "__main__":
    main()
