"""Runs over many pictures that are checked at any size: small in the tests, full by hand, with a table of what came
out.

python -m tests.support.long memory --pictures 10000 --out results/scale/checks.csv
python -m tests.support.long kills --pictures 60 --kills 10 --out results/scale/checks.csv
python -m tests.support.long cluster --pictures 300 --out results/scale/checks.csv
python -m tests.support.long disk --pictures 200
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import os
import random
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from tests.support.fake_cli import BLUE
from tests.support.fake_codec import SHIPPED, FakeCodec
from tests.support.many import ROOT, draw, made, start
from tests.support.store import BUCKET, Server, served

BAD = 7  # number of the picture that cannot be read


def rows(path: Path) -> list[dict[str, str]]:
    with open(path, newline="", encoding="utf-8") as file:
        return sorted(csv.DictReader(file), key=lambda row: row["source"])


def memory(work: Path, count: int) -> dict[str, float]:
    """Memory and open files of the process that leads a run, means over the first and the last tenth of the files."""
    tenth = count // 10
    slow = [*range(tenth), *range(count - tenth, count)]  # so that there are samples of them on a busy machine too
    folder = draw(work / "in", count, dict.fromkeys(slow, BLUE))
    for number in range(BAD, count, 100):
        (folder / f"{number:04d}.png").write_bytes(b"no picture")
    manifest = work / "m.csv"
    with open(work / "said", "w") as said:
        command = ["encode", folder, "-o", work / "out", "--manifest", manifest, "--jobs", 2]
        process = start(*command, stderr=said, FAKE_SECONDS=".02")
        samples: list[tuple[int, int, int]] = []
        seen, position = 0, 0
        while process.poll() is None:
            if manifest.exists():
                with open(manifest, "rb") as file:
                    file.seek(position)
                    new = file.read()
                seen, position = seen + new.count(b"\n"), position + len(new)
            with contextlib.suppress(OSError, StopIteration):
                status = Path(f"/proc/{process.pid}/status").read_text().splitlines()
                resident = next(int(line.split()[1]) for line in status if line.startswith("VmRSS"))
                samples.append((seen, resident, len(os.listdir(f"/proc/{process.pid}/fd"))))
            time.sleep(0.02)
    first = np.array([sample for sample in samples if 1 < sample[0] <= tenth], float).mean(0)
    last = np.array([sample for sample in samples if sample[0] > count - tenth], float).mean(0)
    text = (work / "said").read_text()
    return {
        "exit_code": process.returncode,
        "outputs": len(made(work / "out")),
        "rows": len(rows(manifest)),
        "unreadable": text.count("ldc: error: "),
        "first_tenth_mb": round(first[1] / 1024, 2),
        "last_tenth_mb": round(last[1] / 1024, 2),
        "growth_percent": round(100 * (last[1] / first[1] - 1), 2),
        "first_tenth_files_open": round(first[2], 1),
        "last_tenth_files_open": round(last[2], 1),
    }


def kills(work: Path, server: Server, count: int, wanted: int) -> dict[str, float]:
    """A run from store to store that is killed so often at random moments, and then goes on to its end."""
    import s3fs

    folder = draw(work / "in", count)
    fs = s3fs.S3FileSystem()
    for name, data in made(folder).items():
        fs.pipe_file(f"{BUCKET}/in/{name}", data)
    manifest, moment, done = work / "m.csv", random.Random(5), 0
    command = ["encode", f"s3://{BUCKET}/in", "-o", f"s3://{BUCKET}/out", "--manifest", manifest, "--jobs", 1]
    while True:
        seen = len(server.requests)
        process = start(*command, *["--resume"] * (done > 0))
        target = seen + moment.randrange(3, 9)  # in requests, for that is what can be cut in the middle
        while process.poll() is None and (done >= wanted or len(server.requests) < target):
            time.sleep(0.002)
        if process.poll() is not None:
            break
        process.send_signal(signal.SIGKILL)
        process.communicate()
        done += 1
    said = process.communicate()[1]
    fs.invalidate_cache()
    outputs = {name.rpartition("/")[2]: fs.cat_file(name) for name in fs.find(f"{BUCKET}/out")}
    codec = FakeCodec()
    codec.model_id = SHIPPED
    expected = {path.with_suffix(".ldc").name: codec.encode(path) for path in folder.iterdir()}
    assert process.returncode == 0, said
    return {
        "kills": done,
        "exit_code": process.returncode,
        "outputs": len(outputs),
        "rows": len(rows(manifest)),
        "sources": len({row["source"] for row in rows(manifest)}),
        "identical": sum(outputs.get(name) == data for name, data in expected.items()),
    }


@contextlib.contextmanager
def ray_cluster(nodes: int = 3) -> Iterator[Any]:
    """A cluster of nodes of one CPU on this machine, whose processes import this checkout."""
    from ray.cluster_utils import Cluster

    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = str(ROOT)
    # a busy machine needs longer than the half minute of Ray
    os.environ["RAY_raylet_start_wait_time_s"] = "120"  # noqa: SIM112
    memory = {"object_store_memory": 80 * 2**20, "num_cpus": 1}
    cluster = Cluster(initialize_head=True, head_node_args={**memory, "include_dashboard": False})
    try:
        for _ in range(nodes - 1):
            cluster.add_node(**memory)
        yield cluster
    finally:
        cluster.shutdown()
        if before is None:
            del os.environ["PYTHONPATH"]
        else:
            os.environ["PYTHONPATH"] = before


def lost_node(work: Path, cluster: Any, count: int) -> dict[str, float]:
    """A run of the real codec on a cluster that loses a node after a quarter of the files, against one process."""
    from codec import cli

    folder, out = draw(work / "in", count, side=16), work / "out"
    (folder / f"{BAD:04d}.png").write_bytes(b"no picture")

    def kill() -> None:
        while not out.exists() or len(made(out)) < count // 4:
            time.sleep(0.02)
        cluster.remove_node(cluster.list_all_nodes()[-1], allow_graceful=False)

    killer = threading.Thread(target=kill)
    killer.start()
    command = ["encode", str(folder), "--quiet"]
    on_ray = ["--engine", "ray", "--address", cluster.address, "--manifest", str(work / "m.csv"), "-o", str(out)]
    code = cli.main([*command, *on_ray])
    killer.join()
    here = work / "here"
    cli.main([*command, "--jobs", "1", "--manifest", str(work / "here.csv"), "-o", str(here)])
    # a node that is killed while it writes leaves a part of a file, under a hidden name
    found, expected = {name: data for name, data in made(out).items() if not name.startswith(".")}, made(here)
    one, other = rows(work / "m.csv"), rows(work / "here.csv")
    for row in (*one, *other):
        row |= {"seconds": "", "output": row["output"].replace(str(out), "").replace(str(here), "")}
    return {
        "exit_code": code,
        "outputs": len(found),
        "rows": len(one),
        "sources": len({row["source"] for row in one}),
        "identical": sum(found.get(name) == data for name, data in expected.items()),
        "rows_alike": sum(a == b for a, b in zip(one, other, strict=True)),
    }


def disk(work: Path, count: int, turns: int = 3) -> dict[str, float]:
    """What it costs to wait until each file is on the disk: the least of some turns with and without, by the clock, and
    the median of the waits themselves."""
    from codec import cli, whole

    folder, waits, wait = draw(work / "in", count, side=64), [], whole._to_disk

    def timed(path: Path) -> None:
        begin = time.perf_counter()
        wait(path)
        waits.append(time.perf_counter() - begin)

    seconds: dict[bool, list[float]] = {True: [], False: []}
    try:
        for turn in range(2 * turns + 1):  # the first one loads what is needed
            waited = turn % 2 == 0
            whole._to_disk = timed if waited else lambda path: None
            begin = time.perf_counter()
            assert not cli.main(["encode", str(folder), "-o", str(work / f"out{turn}"), "--jobs", "1", "--quiet"])
            if turn:
                seconds[waited].append(time.perf_counter() - begin)
    finally:
        whole._to_disk = wait
    return {
        "ms_a_picture": round(1000 * min(seconds[True]) / count, 1),
        "ms_a_picture_without": round(1000 * min(seconds[False]) / count, 1),
        "ms_a_wait": round(1000 * float(np.median(waits)), 2),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("check", choices=("memory", "kills", "cluster", "disk"))
    parser.add_argument("--pictures", type=int, default=300)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--out", type=Path, help="table to which the result is written, in place of an older one")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        work = Path(folder)
        if args.check == "memory":
            found = memory(work, args.pictures)
        elif args.check == "disk":
            found = disk(work, args.pictures)
        elif args.check == "kills":
            found = kills(work, stack.enter_context(served(os.environ.__setitem__)), args.pictures, args.kills)
        else:
            found = lost_node(work, stack.enter_context(ray_cluster()), args.pictures)
    table = [(args.check, "pictures", str(args.pictures)), *((args.check, name, f"{v:g}") for name, v in found.items())]
    for row in table:
        print(*row)
    if args.out is not None:
        old = []
        if args.out.exists():
            with open(args.out, newline="") as file:
                old = [tuple(row) for row in csv.reader(file)][1:]
        args.out.parent.mkdir(parents=True, exist_ok=True)
        with open(args.out, "w", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(("check", "what", "value"))
            writer.writerows(sorted([row for row in old if row[0] != args.check] + table, key=lambda row: row[0]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
