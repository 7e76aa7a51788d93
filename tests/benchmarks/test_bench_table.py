"""The table of measurements: resuming, kills at any byte, new columns, new versions, two writers."""

from pathlib import Path

import pytest

from benchmarks.harness.errors import BenchmarkError
from benchmarks.harness.table import Table, row_key


def row(
    image: str = "aa", codec: str = "jpeg", setting: str = "10", version: str = "v1", **values: object
) -> dict[str, object]:
    base = {
        "codec": codec, "setting": setting, "version": version, "image": f'{image}, "x".png', "image_hash": image,
        "width": 8, "height": 4, "bytes": 12, "bits_per_dim": 1.0, "bpp": 3.0, "rmse": 2.5, "psnr": 40.1, "ms_ssim": 0.9,
        "encode_s": 0.1, "decode_s": 0.1, "metrics_s": 0.1,
    }  # fmt: skip
    return {**base, **values}


def filled(path: Path) -> bytes:
    table = Table(path, ["ms_ssim"])
    for setting in ("10", "20", "5"):
        table.append(row(setting=setting))
    table.finish({})
    table.close()
    return path.read_bytes()


def test_first_columns_are_the_stable_ones(tmp_path: Path) -> None:
    header = filled(tmp_path / "rd.csv").decode().splitlines()[0].split(",")
    stable = ["codec", "setting", "version", "image", "width", "height", "bytes", "bits_per_dim", "bpp", "rmse", "psnr"]
    stable += ["ms_ssim", "encode_s", "decode_s"]
    assert [name for name in header if name in stable] == stable


def test_cut_at_every_byte_it_opens_and_completes_to_the_same_file(tmp_path: Path) -> None:
    path = tmp_path / "rd.csv"
    whole = filled(path)
    for length in range(len(whole) + 1):
        path.write_bytes(whole[:length])
        table = Table(path, ["ms_ssim"])
        for setting in ("5", "10", "20"):
            if not table.has(("aa", "jpeg", setting, "v1"), ["ms_ssim"]):
                table.append(row(setting=setting))
        table.finish({})
        table.close()
        assert path.read_bytes() == whole, length


def test_a_new_metric_is_measured_again_without_losing_the_old(tmp_path: Path) -> None:
    path = tmp_path / "rd.csv"
    filled(path)
    table = Table(path, ["ms_ssim", "gmsd"])
    key = ("aa", "jpeg", "10", "v1")
    assert table.has(key, ["ms_ssim"]) and not table.has(key, ["gmsd"])
    table.append(row(ms_ssim=None, gmsd=0.05))
    assert table.has(key, ["ms_ssim", "gmsd"])
    table.close()  # killed before `finish`: two lines with one key are in the file
    again = Table(path, ["gmsd"])
    assert len(again.rows) == 3 and again.rows[key]["gmsd"] == "0.05" and again.rows[key]["ms_ssim"] == "0.9"
    again.close()
    assert len(path.read_text().splitlines()) == 4


def test_rows_of_an_old_version_are_moved_not_lost(tmp_path: Path) -> None:
    path = tmp_path / "rd.csv"
    filled(path)
    table = Table(path, ["ms_ssim"])
    table.append(row(version="v2"))
    table.finish({"jpeg": "v2"})
    table.close()
    text = path.read_text()
    assert text.count("v2") == 1 and text.count("v1") == 2  # settings 5 and 20 were not measured anew
    assert (tmp_path / "superseded.csv").read_text().count("v1") == 1


def test_rows_of_a_picture_that_has_changed_are_moved_not_lost(tmp_path: Path) -> None:
    path = tmp_path / "rd.csv"
    filled(path)
    table = Table(path, ["ms_ssim"])
    table.append(row(image="bb"))
    name, other = 'aa, "x".png', 'bb, "x".png'
    assert table.retire({name: "aa", other: "bb"}) == table.retire({other: "bb"}) == []
    assert table.retire({name: "bb", other: "aa"}) == []  # two that changed places
    assert table.retire({name: "cc"}) == [name]
    table.append({**row(image="cc"), "image": name})
    table.close()
    assert path.read_text().count(",aa,") == 0 and path.read_text().count(",cc,") == path.read_text().count(",bb,") == 1
    assert (tmp_path / "superseded.csv").read_text().count(",aa,") == 3


def test_two_writers_are_refused_and_the_lock_is_let_go(tmp_path: Path) -> None:
    first = Table(tmp_path / "rd.csv", [])
    with pytest.raises(BenchmarkError, match="another run"):
        Table(tmp_path / "rd.csv", [])
    first.close()
    Table(tmp_path / "rd.csv", []).close()


@pytest.mark.parametrize("text", ["name,age\nx,1\n", "not a table at all\n"])
def test_a_foreign_file_is_refused_and_left_alone(tmp_path: Path, text: str) -> None:
    path = tmp_path / "rd.csv"
    path.write_text(text)
    with pytest.raises(BenchmarkError, match="not a table of measurements"):
        Table(path, [])
    assert path.read_text() == text


def test_a_damaged_line_in_the_middle_is_named_and_nothing_is_changed(tmp_path: Path) -> None:
    path = tmp_path / "rd.csv"
    lines = filled(path).decode().splitlines()
    lines[2] = lines[2][:20]
    path.write_text("\n".join(lines) + "\n")
    before = path.read_bytes()
    with pytest.raises(BenchmarkError, match="line 3 is damaged"):
        Table(path, [])
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        (b"jpeg,10", b"jpeg\xe9,10", "line 3 is not UTF-8 text"),
        (b"jpeg,10", b"jpeg,ten", "line 3 is damaged \\(setting is 'ten'\\)"),
        (b"jpeg,10", b"jpeg,nan", "line 3 is damaged \\(setting is 'nan'\\)"),
        (b"8,4,12,", b"8,4,0,", "line 2 is damaged \\(bytes is '0'\\)"),
        (b"8,4,12,1.0,", b"8,4,12,nan,", "line 2 is damaged \\(bits_per_dim is 'nan'\\)"),
        (b",2.5,40.1,", b",-2.5,40.1,", "line 2 is damaged \\(rmse is '-2.5'\\)"),
        (b",2.5,40.1,", b",2.5,nan,", "line 2 is damaged \\(psnr is 'nan'\\)"),
        (b",2.5,40.1,", b",2.5,,", "line 2 is damaged \\(psnr is ''\\)"),
        (b",0.9,0.1,", b",good,0.1,", "line 2 is damaged \\(ms_ssim is 'good'\\)"),
        (b",0.9,0.1,", b",0.9,soon,", "line 2 is damaged \\(encode_s is 'soon'\\)"),
    ],
)
def test_other_text_in_the_table_is_named_and_nothing_is_changed(
    tmp_path: Path, old: bytes, new: bytes, words: str
) -> None:
    path = tmp_path / "rd.csv"
    before = filled(path).replace(old, new)
    path.write_bytes(before)
    with pytest.raises(BenchmarkError, match=words):
        Table(path, [])
    assert path.read_bytes() == before


def test_what_cannot_be_computed_is_no_damage(tmp_path: Path) -> None:
    path = tmp_path / "rd.csv"
    path.write_bytes(filled(path).replace(b",2.5,40.1,0.9,", b",0.0,inf,nan,"))
    table = Table(path, [])
    assert {item["psnr"] for item in table.rows.values()} == {"inf"}
    table.close()


def test_names_with_commas_and_quotes_come_back(tmp_path: Path) -> None:
    filled(tmp_path / "rd.csv")
    table = Table(tmp_path / "rd.csv", [])
    assert {item["image"] for item in table.rows.values()} == {'aa, "x".png'}
    assert all(key == row_key(item) for key, item in table.rows.items())
    table.close()


def test_an_output_folder_that_is_a_file_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("")
    with pytest.raises(BenchmarkError, match="cannot write to the output folder"):
        Table(tmp_path / "out" / "rd.csv", [])
