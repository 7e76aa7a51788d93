"""Names of the codecs, groups of names, and how one is made."""

from collections.abc import Callable, Sequence

from benchmarks.codecs.base import BenchCodec, CodecOptions
from benchmarks.codecs.bpg_codec import Bpg
from benchmarks.codecs.compressai_codec import ARCHITECTURES, CompressAi
from benchmarks.codecs.heic import Heic
from benchmarks.codecs.jxl import JpegXl
from benchmarks.codecs.ours import DECODERS, Ours
from benchmarks.codecs.pillow_codecs import Avif, Jpeg, Jpeg444, Jpeg2000, JpegProgressive, WebP
from benchmarks.codecs.plugins import checked, outside
from benchmarks.codecs.vvc import Vvc
from benchmarks.harness.errors import BenchmarkError

_MAKERS: dict[str, Callable[[CodecOptions], BenchCodec]] = {
    **{f"ours-{decoder}": (lambda options, decoder=decoder: Ours(decoder, 1, options)) for decoder in DECODERS},
    "ours-vq-e2": lambda options: Ours("vq", 2, options),
    "ours-vq-e9": lambda options: Ours("vq", 9, options),
    "jpeg": lambda options: Jpeg(),
    "jpeg-progressive": lambda options: JpegProgressive(),
    "jpeg-444": lambda options: Jpeg444(),
    "jpeg2000": lambda options: Jpeg2000(),
    "webp": lambda options: WebP(),
    "avif": lambda options: Avif(),
    "jxl": lambda options: JpegXl(),
    "heic": lambda options: Heic(),
    "bpg-420": lambda options: Bpg("420"),
    "bpg-444": lambda options: Bpg("444"),
    "vvc": lambda options: Vvc(),
    **{f"compressai-{name}": (lambda options, name=name: CompressAi(name, options)) for name in ARCHITECTURES},
}

NAMES = tuple(_MAKERS)
OURS = tuple(f"ours-{decoder}" for decoder in DECODERS)
CLASSIC = tuple(name for name in NAMES if not name.startswith(("ours", "compressai")))
_GROUPS: dict[str, tuple[str, ...]] = {
    "ours": OURS,
    "classic": CLASSIC,
    "bpg": ("bpg-420", "bpg-444"),
    "compressai": tuple(name for name in NAMES if name.startswith("compressai")),
    "all": NAMES,
}


def makers(plugins: tuple[str, ...] = ()) -> dict[str, Callable[[CodecOptions], BenchCodec]]:
    """Name -> maker of all codecs, those from outside last."""
    own = outside(plugins)
    if taken := sorted((set(_MAKERS) | set(_GROUPS)) & set(own)):
        raise BenchmarkError(f"the name {taken[0]!r} of a codec from outside is taken")
    return {**_MAKERS, **own}


def expand_names(wanted: Sequence[str], plugins: tuple[str, ...] = ()) -> tuple[str, ...]:
    """Codec names of a list that may hold group names; order kept, doubles dropped."""
    known, names = makers(plugins), []
    groups = {**_GROUPS, "all": tuple(known)}
    for word in wanted:
        if word not in groups and word not in known:
            raise BenchmarkError(f"unknown codec {word!r}; known: {', '.join((*groups, *known))}")
        names.extend(groups.get(word, (word,)))
    return tuple(dict.fromkeys(names))


def make_codec(name: str, options: CodecOptions) -> BenchCodec:
    """The codec of that name, or `CodecAbsent` with the reason."""
    maker = makers(options.plugins)[name]
    return maker(options) if name in _MAKERS else checked(name, maker, options)
