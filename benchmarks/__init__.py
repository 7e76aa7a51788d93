"""Benchmark suite: rate against distortion on the bytes of real files."""
