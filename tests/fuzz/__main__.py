"""python -m tests.fuzz --minutes N [--seed S] [--keep FOLDER]"""

import argparse
import hashlib
import sys
from pathlib import Path

from tests.support.fuzz_targets import all_targets
from tests.support.fuzzer import fuzz


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.fuzz", description="Coverage-guided fuzzing of all that reads foreign bytes."
    )
    parser.add_argument("--minutes", type=float, default=10, help="for all targets together; default 10")
    parser.add_argument("--seed", type=int, default=0, help="of the mutations; default 0")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="write the cases that failed there")
    args = parser.parse_args()
    targets, bad, total = all_targets(), 0, 0
    for target in targets:
        result = fuzz(target, seconds=args.minutes * 60 / len(targets), seed=args.seed)
        total += result.cases
        bad += len(result.faults)
        print(
            f"{target.name}: {result.cases} cases, {result.accepted} accepted, slowest {result.slowest:.2f} s, {len(result.faults)} faults",
            flush=True,
        )
        for reason, case in result.faults[:10]:
            print(f"  {reason.splitlines()[0][:200]}: {case[:24].hex()}... ({len(case)} bytes)")
            if args.keep is not None:
                args.keep.mkdir(parents=True, exist_ok=True)
                (args.keep / hashlib.sha256(case).hexdigest()[:16]).write_bytes(case)
    print(f"{total} cases, {bad} faults")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
