"""BPG files, written and read without libbpg.

A BPG file is a short header around one HEVC intra picture (Bellard, BPG specification 0.9.5).
The HEVC part comes from x265 and FFmpeg's decoder, both inside the PyAV wheel; the container,
the parameter sets, the colour conversion and the chroma filters are here. Files written here
open in any BPG viewer; files of bpgenc open here.
"""

from benchmarks.bpg.errors import BpgError
from benchmarks.bpg.reader import decode
from benchmarks.bpg.writer import encode, writer_version

__all__ = ["BpgError", "decode", "encode", "writer_version"]
