"""A Ray cluster of three nodes on this machine, one of which is killed in the middle: the same files and the same rows."""

import csv
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from codec import cli
from tests.support.many import ROOT, made

pytest.importorskip("ray", reason="the extra ray is not installed")
COUNT = 40  # 300: python -m benchmarks.scale.cluster


@pytest.fixture(scope="module")
def cluster():
    """Three nodes of one CPU, the first without the driver's work."""
    import os

    from ray.cluster_utils import Cluster

    before = os.environ.get("PYTHONPATH")
    os.environ |= {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "RAY_DEDUP_LOGS": "0"}
    memory = {"object_store_memory": 80 * 2**20, "num_cpus": 1}
    made = Cluster(initialize_head=True, head_node_args={**memory, "include_dashboard": False})
    for _ in range(2):
        made.add_node(**memory)
    yield made
    made.shutdown()
    if before is None:
        del os.environ["PYTHONPATH"]
    else:
        os.environ["PYTHONPATH"] = before


def rows(path: Path) -> list[dict[str, str]]:
    with open(path, newline="") as file:
        return sorted(csv.DictReader(file), key=lambda row: row["source"])


def test_a_node_that_is_killed_costs_no_file(cluster, tmp_path, small, shipped, capfd):
    folder, out = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    for number in range(COUNT):
        Image.fromarray(np.roll(small, number, 0)[:16, :24]).save(folder / f"{number:04d}.png")
    (folder / "0007.png").write_bytes(b"no picture")

    def kill() -> None:
        while not out.exists() or len(made(out)) < COUNT // 4:
            time.sleep(0.02)
        cluster.remove_node(cluster.list_all_nodes()[-1], allow_graceful=False)

    killer = threading.Thread(target=kill)
    killer.start()
    manifest = tmp_path / "m.csv"
    command = ["encode", str(folder), "-o", str(out), "--manifest", str(manifest)]
    assert cli.main([*command, "--engine", "ray", "--address", cluster.address]) == 1
    killer.join()
    assert capfd.readouterr().err.count("codec: error:") == 1
    expected = {f"{n:04d}.ldc": shipped.encode(folder / f"{n:04d}.png") for n in range(COUNT) if n != 7}
    assert made(out) == expected
    here = tmp_path / "here.csv"
    again = ["encode", str(folder), "-o", str(tmp_path / "out2"), "--manifest", str(here), "--jobs", "1"]
    assert cli.main(again) == 1
    for one, other in zip(rows(here), rows(manifest), strict=True):
        other |= {"seconds": one["seconds"], "output": other["output"].replace(str(out), str(tmp_path / "out2"))}
        assert one == other


def test_a_cluster_that_is_not_there_is_one_sentence(tmp_path, capfd, monkeypatch):
    monkeypatch.setenv("RAY_raylet_start_wait_time_s", "1")
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    assert cli.main(["encode", str(tmp_path / "a.png"), "--engine", "ray", "--address", "nowhere:1"]) == 2
    assert "there is no Ray cluster 'nowhere:1'" in capfd.readouterr().err.splitlines()[-1]
