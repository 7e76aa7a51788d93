"""The command line in a process of its own."""

import subprocess
import sys
from pathlib import Path

import codec

ROOT = Path(codec.__file__).parent.parent


def codec_process(*args: object, code: int = 0, **options) -> subprocess.CompletedProcess:
    result = subprocess.run(
        [sys.executable, "-m", "codec", *map(str, args)], capture_output=True, cwd=ROOT, check=False, **options
    )
    assert result.returncode == code, result.stderr.decode()
    assert b"Traceback" not in result.stderr
    return result


def loaded_modules(*args: object) -> set[str]:
    """Which of the heavy packages a run of the command line loads."""
    program = (
        "import sys\nfrom codec.cli import main\ntry:\n    main(sys.argv[1:])\nexcept SystemExit: pass\n"
        "heavy = {'torch', 'compressai', 'torchvision', 'pandas', 'matplotlib', 'scipy', 'PIL', 'numpy'}\n"
        "print('loaded:', *sorted(heavy & set(sys.modules)))"
    )
    result = subprocess.run(
        [sys.executable, "-c", program, *map(str, args)], capture_output=True, text=True, cwd=ROOT, check=True
    )
    return set(result.stdout.splitlines()[-1].split()[1:])
