"""Running the command-line tool of a codec: one sentence on failure, nothing left behind."""

import subprocess
from collections.abc import Sequence

from benchmarks.harness.errors import BenchmarkError

TIMEOUT_S = 600


def run_tool(command: Sequence[str]) -> str:
    """Standard output and error of a tool that must succeed."""
    try:
        done = subprocess.run(command, capture_output=True, timeout=TIMEOUT_S, check=False)
    except OSError as error:
        raise BenchmarkError(f"{command[0]} cannot be started ({error.strerror})") from None
    except subprocess.TimeoutExpired:
        raise BenchmarkError(f"{command[0]} did not finish within {TIMEOUT_S} s") from None
    text = (done.stdout + done.stderr).decode(errors="replace")
    if done.returncode:
        last = (text.strip().splitlines() or ["no message"])[-1]
        raise BenchmarkError(f"{command[0]} failed with exit code {done.returncode}: {last}")
    return text
