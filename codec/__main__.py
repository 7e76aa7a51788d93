"""`python -m codec`."""

import sys

if __name__ == "__main__":
    try:
        from codec.cli import main
    except KeyboardInterrupt:
        if sys.stderr is not None:
            print("ldc: error: interrupted", file=sys.stderr)
        sys.exit(130)
    sys.exit(main())
