"""Completion scripts and the manual page: made from the parser, and read by the programs that they are for."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from codec import __version__, cli
from codec.cli.completion import actions
from codec.cli.man import page
from codec.cli.parser import make_parser
from tests.support.process import loaded_modules

SHELLS = ("bash", "zsh", "fish")
COMMANDS = ("encode", "decode", "upscale", "info", "export", "view", "thumbnail", "integrate", "completion", "man")
#: A line, where the cursor stands at its end -> what Tab offers, in a folder with a photo.jpg and a folder "holiday".
OFFERED = {
    "ldc enc": {"encode"},
    "ldc ": set(COMMANDS),
    "ldc encode --meta": {"--metadata"},
    "ldc encode --metadata ": {"keep", "drop"},
    "ldc decode --backend o": {"onnx"},
    "ldc upscale --scale ": {"2", "4"},
    "ldc completion ": set(SHELLS),
    "ldc encode ph": {"photo.jpg"},
    "ldc encode photo.jpg -o hol": {"holiday"},
    "ldc encode --weights ": {"holiday"},
    "ldc info --json ph": {"photo.jpg"},
    "ldc encode --quality ": set(),
}


@pytest.fixture(scope="module")
def scripts() -> dict[str, str]:
    def made(shell: str) -> str:
        command = [sys.executable, "-m", "codec", "completion", shell]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    return {shell: made(shell) for shell in SHELLS}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "photo.jpg").touch()
    (tmp_path / "holiday").mkdir()
    return tmp_path


def test_bash_offers_commands_options_choices_and_files(scripts, folder):
    (folder / "ldc.bash").write_text(scripts["bash"])
    script = "source ldc.bash\n"
    for line in OFFERED:
        words = " ".join(f"'{word}'" for word in line.split(" "))
        script += f'COMP_WORDS=({words}); COMP_CWORD=$((${{#COMP_WORDS[@]}}-1)); _shtab_ldc; echo "${{COMPREPLY[*]}}"\n'
    said = subprocess.run(["bash", "-c", script], capture_output=True, text=True, cwd=folder, check=True)
    assert "complete -o bashdefault -F _shtab_ldc ldc" in scripts["bash"] and said.stderr == ""
    for (line, wanted), offered in zip(OFFERED.items(), said.stdout.split("\n"), strict=False):
        assert set(offered.split()) - {"-h", "--help", "--version"} == wanted, line


def test_fish_offers_the_same(scripts, folder):
    """Where there is a fish; its script has all options in any case."""
    assert all(f"-l {name}" in scripts["fish"] for name in ("metadata", "skip-existing", "backend"))
    assert "'keep drop'" in scripts["fish"] or re.search(r"metadata.*keep.*drop", scripts["fish"])
    fish = shutil.which("fish")
    if fish is None:
        return
    (folder / "ldc.fish").write_text(scripts["fish"])
    for line, wanted in OFFERED.items():
        if wanted:
            command = [fish, "--no-config", "-c", f"source ldc.fish; complete -C '{line}'"]
            said = subprocess.run(command, capture_output=True, text=True, cwd=folder, check=True).stdout
            offered = {entry.split("\t")[0].rstrip("/") for entry in said.splitlines()}
            assert wanted <= offered and not offered & {"CHANGELOG.md"}, line


def test_zsh_knows_them_too(scripts):
    assert scripts["zsh"].startswith("#compdef ldc")
    for text in ("--metadata", "(keep drop)", "--weights", "_files -/", "_files", *COMMANDS):
        assert text in scripts["zsh"], text
    if (zsh := shutil.which("zsh")) is not None:
        assert (
            subprocess.run([zsh, "-n"], input=scripts["zsh"], text=True, capture_output=True, check=True).stderr == ""
        )


def test_every_argument_that_is_a_file_completes_as_one(scripts):
    """In bash, where an argument that does not is left out of the list of functions."""
    taken = {
        max(action.option_strings, key=len)
        for action in actions(make_parser())
        if action.metavar in ("FILE", "DIR", "OUT") and action.option_strings
    }
    assert taken == {"--output", "--manifest", "--weights", "--export"}
    for name in taken:
        assert re.search(rf"_{name.replace('-', '_')}_COMPGEN=_shtab_\w*compgen_(files|dirs)", scripts["bash"]), name


def test_without_shtab_it_says_what_to_install(monkeypatch, capfd):
    monkeypatch.setitem(sys.modules, "shtab", None)
    assert cli.main(["completion", "bash"]) == 1
    output = capfd.readouterr()
    assert (
        output.out == "" and output.err == "ldc: error: completion needs shtab (pip install 'ldc-codec[completion]')\n"
    )


def test_the_manual_page_has_every_argument(tmp_path):
    parser = make_parser()
    text = page(parser)
    assert text.startswith(f'.TH LDC 1 "" "ldc {__version__}" "User Commands"\n') and text.isascii()
    assert re.findall(r'^\.SH "?([A-Z ]+)"?$', text, re.M)[4:-1] == [name.upper() for name in COMMANDS]
    plain = text.replace(r"\-", "-").replace(r"\(dq", '"').replace(r"\(aq", "'").replace(r"\&", "")
    for action in actions(parser):
        for name in action.option_strings:
            assert rf"\fB{name}\fR" in plain, name
    assert ".ldc files -> picture files" in plain  # begins with a point, as a request does
    known = {".TH", ".SH", ".SS", ".TP", ".B", ".br"}
    requests = {line.split()[0] for line in text.splitlines() if line.startswith((".", "'"))}
    assert requests <= known
    assert not re.search(r"\\(?!&|-|e|fI|fB|fR|\(dq|\(aq|\(ga|\(ha|\(ti|\[u[0-9A-F]{4,6}\])", text)


def test_groff_sets_the_page_without_a_warning():
    groff = shutil.which("groff")
    if groff is None:  # the test above looks at its lines
        return
    command = [groff, "-man", "-Tascii", "-ww", "-P-c"]
    made = subprocess.run(command, input=page(make_parser()), text=True, capture_output=True, check=True)
    shown = re.sub(r".\x08", "", made.stdout)
    assert made.stderr == "" and "--target-psnr X" in shown and ".ldc files -> picture files" in shown
    assert "ldc export [options] --format onnx|graph --output DIR" in shown and "ldc view [options] [FILE ...]" in shown


def test_man_is_printed_and_loads_nothing_heavy():
    command = [sys.executable, "-m", "codec", "man"]
    environment = {**os.environ, "COLUMNS": "30"}  # of no consequence
    made = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    assert made.stdout == page(make_parser())
    assert loaded_modules("man") == loaded_modules("completion", "bash") == set()
