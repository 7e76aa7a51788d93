"""A Ray cluster of three nodes on this machine, one of which is killed in the middle: the same files and the same rows."""

import sys

import pytest
from PIL import Image

from codec import cli
from tests.support import long

pytest.importorskip("ray", reason="the extra ray is not installed")


def test_a_node_that_is_killed_costs_no_file(tmp_path, capfd):
    with long.ray_cluster() as cluster:
        found = long.lost_node(tmp_path, cluster, 30)  # 300: results/scale/checks.csv
    assert found == {"exit_code": 1, "outputs": 29, "rows": 30, "sources": 30, "identical": 29, "rows_alike": 30}
    assert capfd.readouterr().err.count("codec: error:") == 2  # of the picture that cannot be read, in both runs


def test_without_the_extra_it_is_one_sentence(tmp_path, capfd, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    assert cli.main(["encode", str(tmp_path / "a.png"), "--engine", "ray"]) == 2
    assert capfd.readouterr().err == "codec: error: --engine ray needs the extra 'ray' (pip install 'ldc-codec[ray]')\n"
