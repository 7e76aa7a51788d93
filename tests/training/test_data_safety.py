"""No command of training writes among the user's pictures, or into a folder that holds other files than its own."""

import hashlib
import importlib
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image

from benchmarks.studies.assignment import curvature
from benchmarks.studies.assignment import measure as assignment
from benchmarks.studies.search_share import measure as search_share
from codec.training import everything
from codec.training.data.cache import CACHE_FILES, check_cache, check_ours
from codec.training.data.photos import Photos
from tests.support.tiny import RECIPE, feature_networks

pytestmark = pytest.mark.slow

STUDIES = (
    "held_out",
    "ablations.measure",
    "quantisers.measure",
    "search_share.measure",
    "assignment.measure",
    "assignment.curvature",
    "narrow_prior",
)
COMMANDS = {
    **{
        name: f"codec.training.base.{name}"
        for name in ("train", "adapt", "narrow", "decoded", "train_refiner", "train_tokens")
    },
    **{f"restoration.{name}": f"codec.training.restoration.{name}" for name in ("crops", "train", "labels", "ship")},
    **{name.removesuffix(".measure"): f"benchmarks.studies.{name}" for name in STUDIES},
    "minutes": "codec.training.base.__main__",
    "ship": "codec.training.shipping.ship",
    "everything": "codec.training.everything",
}
NEIGHBOURS = (
    "data/index.json",
    "run/notes.txt",
    "photos/photos.u8.mine",
    "manifest.json",
    "ablate-reference/thesis.tex",
    "cache/cat.txt",
)


def listing(folder: Path) -> dict[str, str]:
    """Every path below a folder with the hash of what it holds."""
    return {
        str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() if p.is_file() else ""
        for p in folder.rglob("*")
    }


@pytest.fixture(scope="module")
def home(tmp_path_factory, photo) -> Path:
    """What a user has: photographs in a folder "data", and other files beside them, some by names that training uses
    too."""
    home = tmp_path_factory.mktemp("home")
    (home / "data").mkdir()
    for k in range(3):
        photo.rotate(90 * k, expand=True).resize((400, 400)).save(home / "data" / f"{k}.png")
    for name in NEIGHBOURS:
        (home / name).parent.mkdir(exist_ok=True)
        (home / name).write_text("{}")
    return home


@pytest.fixture(scope="module")
def work(tmp_path_factory) -> Path:
    """Recipe, subjects and a feature network, away from the user's files."""
    work = tmp_path_factory.mktemp("work")
    (work / "recipe").mkdir()
    for name, text in RECIPE.items():
        (work / "recipe" / f"{name}.toml").write_text(text)
    (work / "subjects.csv").write_text("photograph,subject\n0.png,upright\n1.png,lying\n2.png,upright\n")
    feature_networks(work)
    return work


def commands(home: Path, work: Path) -> dict[str, list]:
    """Every training command that takes --data, in an order in which each finds what it needs; a run beside the
    photographs, as a user would name it."""
    out, data = home / "out", ["--data", home / "data"]

    def recipe(name: str) -> list:
        return ["--config", work / "recipe" / f"{name}.toml"]

    base, adapted = out / "run1" / "last.pt", out / "run2" / "last.pt"
    shipped = out / "w" / "vqvae-1007.safetensors"
    return {
        "train": [*data, "--out", base.parent, *recipe("train")],
        "adapt": [*data, "--out", adapted.parent, "--base", base, *recipe("adapt")],
        "ship": [*data, "--adapted", adapted, "--out", shipped, "--id", 1007, "--crops", 2, "--tokens", work / "recipe" / "tokens.toml"],
        "narrow": [*data, "--out", out / "run3", "--base", shipped, *recipe("narrow")],
        "train_refiner": [*data, "--out", out / "run4", "--model", shipped, *recipe("refiner"), "--weights", out / "w" / "refiner-1007.safetensors", "--id", 1007],
        "train_tokens": [*data, "--out", out / "run5", "--model", shipped, *recipe("tokens"), "--weights", shipped, "--id", 1007],
        "restoration.crops": [*data, "--out", out / "crops", "--density", 10, "--validation", 1, "--processes", 1],
        "decoded": [*data, "--out", out / "decoded", "--model", shipped, "--shards", 1, "--size", 1],
        "minutes": [*data, "--cache", out / "cache", "--out", out / "lent", "--leave", out / "left", "--minutes", 0.05, *recipe("train"), "--adapt", work / "recipe" / "adapt.toml", "--narrow", work / "recipe" / "narrow.toml"],
        "held_out": [*data, "--out", out / "held-out", "--minimum", 64],
        "ablations": [*data, "--runs", out / "ablations", "--out", out / "results", "--only", "nothing"],
        "quantisers": [*data, "--cache", out / "cache", "--out", out / "results", "--base", base, "--crops", 1, "--validation", 1, "--rounds", 0],
        "search_share": [*data, "--cache", out / "cache", "--out", out / "results", "--count", 1],
        "assignment": [*data, "--cache", out / "cache", "--out", out / "results", "--points", out / "points.csv", "--count", 1],
        "assignment.curvature": [*data, "--cache", out / "cache", "--out", out / "results", "--count", 1],
        "narrow_prior": [*data, "--cache", out / "cache", "--run", out / "run3", "--model", shipped, "--results", out / "results", "--crops", 1, "--rounds", 1],
        "everything": [*data, "--runs", out / "runs", "--weights", out / "weights", "--id", 1007, "--recipe", work / "recipe", "--density", 10, "--crops", 2,
                       "--subjects", work / "subjects.csv", "--vgg", work / "vgg.safetensors", "--alex", work / "alex.safetensors", "--heads", work / "heads.safetensors"],
    }  # fmt: skip


def call(monkeypatch, command: str, arguments: list) -> None:
    with monkeypatch.context() as here:
        here.setattr(sys, "argv", [command, *map(str, arguments)])
        importlib.import_module(COMMANDS[command]).main()


def test_every_command_leaves_the_photographs_and_their_neighbours_as_they_are(home, work, monkeypatch):
    torch.set_num_threads(1)
    for study in (search_share, assignment, curvature):
        monkeypatch.setattr(study, "LEVELS", study.LEVELS[:1])
    monkeypatch.setattr(search_share, "SHARES", ())
    monkeypatch.chdir(work)
    monkeypatch.setattr(
        everything,
        "run",
        lambda command: call(
            monkeypatch,
            command[2].removeprefix("codec.training.").removeprefix("base.").removeprefix("shipping."),
            command[3:],
        ),
    )
    before = listing(home)
    assert len(before) > 3 + len(NEIGHBOURS)
    for command, arguments in commands(home, work).items():
        if command == "search_share":  # the shipped model on 256 pixels
            for study in (search_share, assignment, curvature):
                monkeypatch.setattr(study, "SIZE", 64)
            monkeypatch.setattr(assignment, "LARGE", 64)
        call(monkeypatch, command, arguments)
        after = listing(home)
        assert {name: after.get(name) for name in before} == before, command
        assert {name.split("/")[0] for name in set(after) - set(before)} == {"out"}, command


def test_all_commands_with_data_are_in_this_test(home, work):
    root = Path(everything.__file__).parents[2]
    sources = [p for name in ("codec", "benchmarks") for p in (root / name).rglob("*.py")]
    asked = {
        ".".join(p.relative_to(root).with_suffix("").parts)
        for p in sources
        if "data_options(ap" in p.read_text() and p.stem != "cache"
    }
    assert asked | {COMMANDS["restoration.crops"], COMMANDS["held_out"]} == {
        COMMANDS[name] for name in commands(home, work)
    }


@pytest.mark.parametrize(
    "command, option",
    [
        *((name, "--out") for name in ("train", "adapt", "restoration.crops", "decoded", "held_out", "ablations")),
        *(
            (name, "--out")
            for name in ("ship", "minutes", "quantisers", "search_share", "train_refiner", "train_tokens")
        ),
        *((name, "--weights") for name in ("train_refiner", "train_tokens")),
        *((name, "--cache") for name in ("train", "minutes", "everything")),
        *(("everything", "--runs"), ("everything", "--weights"), ("ablations", "--runs"), ("minutes", "--leave")),
    ],
)
def test_a_folder_among_the_photographs_is_refused(home, work, monkeypatch, command, option):
    arguments = commands(home, work)[command]
    arguments += [] if option in arguments else [option, ""]
    arguments[arguments.index(option) + 1] = home / "data" / "run1" / "vqvae-1007.safetensors"
    before = listing(home)
    with pytest.raises(SystemExit, match="inside the folder of photographs"):
        call(monkeypatch, command, arguments)
    assert listing(home) == before


@pytest.mark.parametrize("option", ["--out", "--cache", "--leave"])
@pytest.mark.parametrize("command", ["train", "adapt", "minutes"])
def test_a_folder_among_the_photographs_of_a_second_pack_is_refused(home, work, monkeypatch, tmp_path, command, option):
    if option == "--leave" and command != "minutes":
        option = "--out"
    arguments = [*commands(home, work)[command], "--fine", tmp_path / "fine"]
    (tmp_path / "fine").mkdir()
    Image.new("RGB", (300, 300)).save(tmp_path / "fine" / "0.png")
    arguments += [] if option in arguments else [option, ""]
    arguments[arguments.index(option) + 1] = tmp_path / "fine" / "sub"
    before = listing(tmp_path), listing(home)
    with pytest.raises(SystemExit, match="inside the folder of photographs, .*fine"):
        call(monkeypatch, command, arguments)
    assert (listing(tmp_path), listing(home)) == before


@pytest.mark.parametrize("command", ["train", "adapt", "decoded"])
def test_a_cache_in_a_folder_of_other_files_is_refused(home, work, monkeypatch, command):
    before = listing(home)
    for cache in (home / "cache", home / "run"):
        with pytest.raises(SystemExit, match="other files|index.json"):
            call(monkeypatch, command, [*commands(home, work)[command], "--cache", cache])
    assert listing(home) == before


@pytest.mark.parametrize("command", ["train", "adapt", "restoration.crops", "decoded"])
def test_a_run_in_a_folder_of_other_files_is_refused(home, work, monkeypatch, command):
    arguments = commands(home, work)[command]
    arguments[arguments.index("--out") + 1] = home / "run"
    before = listing(home)
    with pytest.raises(SystemExit, match=r"holds other files.*notes.txt"):
        call(monkeypatch, command, arguments)
    assert listing(home) == before


@pytest.mark.parametrize("kind", ["missing", "garbage"])
@pytest.mark.parametrize(
    "command, option",
    [
        *(("train", option) for option in ("--data", "--config")),
        *(("adapt", option) for option in ("--base", "--config")),
        *(("ship", "--adapted"), ("decoded", "--model"), ("quantisers", "--base"), ("held_out", "--data")),
        *(("minutes", option) for option in ("--config", "--adapt")),
        *(("everything", option) for option in ("--data", "--recipe", "--subjects", "--vgg")),
    ],
)
def test_what_cannot_be_read_is_one_sentence(home, work, monkeypatch, tmp_path, command, option, kind):
    arguments, path = commands(home, work)[command], tmp_path / ("given.pt" if option == "--base" else "given")
    if kind == "garbage" and option in ("--data", "--recipe"):
        path.mkdir()
    elif kind == "garbage":
        path.write_bytes(b"garbage\n\x00\xff" * 9)
    arguments[arguments.index(option) + 1] = path
    for where in ("--out", "--runs", "--weights", "--leave"):
        if where in arguments:
            arguments[arguments.index(where) + 1] = tmp_path / where / "w.safetensors"
    before = listing(home)
    with pytest.raises(SystemExit, match="given") as told:
        call(monkeypatch, command, arguments)
    assert isinstance(told.value.code, str) and "\n" not in told.value.code
    assert listing(home) == before


def test_one_photograph_alone_and_one_that_is_none_are_told(home, work, monkeypatch, tmp_path):
    (tmp_path / "one").mkdir()
    Image.new("RGB", (300, 300)).save(tmp_path / "one" / "0.png")
    for command in ("train", "everything"):
        arguments = commands(home, work)[command]
        arguments[arguments.index("--data") + 1] = tmp_path / "one"
        for option in ("--out", "--runs", "--weights"):
            if option in arguments:
                arguments[arguments.index(option) + 1] = tmp_path / "out" / option
        with pytest.raises(SystemExit, match="^there is one photograph alone"):
            call(monkeypatch, command, arguments)
    (tmp_path / "one" / "1.png").write_bytes(b"nothing of the kind")
    with pytest.raises(SystemExit, match=r"^the photograph 1.png in .*one cannot be read: not a picture$"):
        Photos(tmp_path / "one", tmp_path / "cache")


def test_a_recipe_is_read_before_the_first_stage(home, work, monkeypatch, tmp_path):
    for name, text in RECIPE.items():
        (tmp_path / f"{name}.toml").write_text(text + ("speling = 3\n" if name == "gan" else ""))
    arguments = commands(home, work)["everything"]
    arguments[arguments.index("--recipe") + 1] = tmp_path
    monkeypatch.setattr(everything, "run", lambda command: pytest.fail("a stage began"))
    with pytest.raises(SystemExit, match="gan.toml: unknown setting"):
        call(monkeypatch, "everything", arguments)


def test_no_sentence_says_that_a_folder_can_be_removed(home, tmp_path):
    Photos(home / "data", tmp_path / "cache")
    with pytest.raises(SystemExit) as refused:
        Photos(tmp_path / "elsewhere", tmp_path / "cache")
    assert "another folder" in str(refused.value) and "remove" not in str(refused.value)


def test_an_index_of_another_program_is_not_a_cache(tmp_path):
    (tmp_path / "index.json").write_text("[1, 2]")
    with pytest.raises(SystemExit, match="not of a cache"):
        check_cache(tmp_path)
    check_ours(tmp_path, CACHE_FILES, "a cache")


def test_a_manifest_of_another_program_is_not_written_to(tmp_path):
    from codec.training.shipping.manifest import write_manifest

    (tmp_path / "manifest.json").write_text('{"name": "my app"}')
    (tmp_path / "w.safetensors").write_bytes(b"")
    with pytest.raises(SystemExit, match="not a list of weights"):
        write_manifest(tmp_path / "w.safetensors", "models", "7", {})
    assert (tmp_path / "manifest.json").read_text() == '{"name": "my app"}'


def test_pictures_beside_a_run_are_no_cache_of_it(tmp_path):
    """What lost data before: runs in PICTURES/.. with a folder "data" of pictures beside them."""
    (tmp_path / "data").mkdir()
    Image.new("RGB", (300, 300)).save(tmp_path / "data" / "0.png")
    Photos(tmp_path / "data", tmp_path / "run" / "cache")
    assert [p.name for p in (tmp_path / "data").iterdir()] == ["0.png"]
