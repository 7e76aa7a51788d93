"""A Ray cluster of three nodes on this machine, one of which is killed in the middle: the same files and the same
rows."""

import sys

import pandas as pd
import pytest
from PIL import Image

from benchmarks import rd_curve
from codec import cli
from tests.support import long
from tests.support.many import draw

pytest.importorskip("ray", reason="the extra ray is not installed")


@pytest.fixture(scope="module")
def cluster():
    with long.ray_cluster() as cluster:
        yield cluster


@pytest.mark.slow
def test_a_node_that_is_killed_costs_no_file(cluster, tmp_path, capfd):
    found = long.lost_node(tmp_path, cluster, 30)  # 300: results/scale/checks.csv
    assert found == {"exit_code": 1, "outputs": 29, "rows": 30, "sources": 30, "identical": 29, "rows_alike": 30}
    assert capfd.readouterr().err.count("ldc: error:") == 2  # of the picture that cannot be read, in both runs


@pytest.mark.slow
def test_the_benchmark_measures_the_same_on_a_cluster(cluster, tmp_path):
    folder = draw(tmp_path / "in", 3, side=32)
    command = ["--images", str(folder), "--codecs", "jpeg", "--points", "2", "--metrics", "", "--no-report"]
    engines = {"ray": ["--engine", "ray", "--address", cluster.address, "--jobs", "2"], "here": ["--jobs", "1"]}
    tables = []
    for name, engine in engines.items():
        assert rd_curve.main([*command, *engine, "--out", str(tmp_path / name)]) == 0
        table = pd.read_csv(tmp_path / name / "rd.csv", dtype=str)
        tables.append(table.drop(columns=["encode_s", "decode_s", "metrics_s"]).sort_values(["image", "setting"]))
    assert len(tables[0]) == 6
    pd.testing.assert_frame_equal(*(table.reset_index(drop=True) for table in tables))


def test_without_the_extra_it_is_one_sentence(tmp_path, capfd, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    assert cli.main(["encode", str(tmp_path / "a.png"), "--engine", "ray"]) == 2
    assert capfd.readouterr().err == "ldc: error: --engine ray needs the extra 'ray' (pip install 'ldc-codec[ray]')\n"
