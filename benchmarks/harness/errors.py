"""The one exception of the suite: its text is the sentence that the user reads."""


class BenchmarkError(Exception):
    """Something the user can act on (missing tool, unreadable image, unwritable folder)."""
