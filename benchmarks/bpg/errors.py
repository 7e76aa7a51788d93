"""Error of the BPG reader and writer."""

from benchmarks.harness.errors import BenchmarkError


class BpgError(BenchmarkError):
    """A BPG file that is damaged or uses something unsupported, or a picture that BPG cannot hold."""
