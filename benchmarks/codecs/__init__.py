"""The codecs that can be measured, by their stable names."""

from benchmarks.codecs.base import Allowed, BenchCodec, CodecAbsent, CodecBroken, CodecOptions, Image8, Search
from benchmarks.codecs.registry import CLASSIC, NAMES, OURS, expand_names, make_codec, makers

__all__ = [
    "CLASSIC",
    "NAMES",
    "OURS",
    "Allowed",
    "BenchCodec",
    "CodecAbsent",
    "CodecBroken",
    "CodecOptions",
    "Image8",
    "Search",
    "expand_names",
    "make_codec",
    "makers",
]
