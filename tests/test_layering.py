"""Imports go one way only. The arrows, and what may be loaded by whom, are read off the source."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import codec

PACKAGE = Path(codec.__file__).parent

#: What a layer (a module or folder of codec/) may import of codec/, besides itself. "root" is codec/__init__.py.
#: A dotted name allows that one module. A new layer needs a line here.
ALLOWED = {
    "root": {"api"},
    "__main__": {"cli"},
    # train is a command too; cli imports it only when that command runs (see LIGHT below)
    "cli": {"root", "api", "pictures", "saving", "files", "fileinfo", "terminal", "errors", "bitstream", "training"},
    "pillow_plugin": {"root", "api", "bitstream", "errors"},
    "terminal": {"errors"},
    "fileinfo": {"bitstream", "errors"},
    "files": {"errors"},
    "saving": {"errors"},
    "pictures": {"icc", "bitstream.container", "errors"},
    "icc": set(),
    "api": {"zoo", "latents", "refine", "restore", "tiles", "models", "layers", "diffusion", "bitstream", "pictures", "errors"},
    "restore": {"models", "diffusion", "tiles", "errors"},
    "refine": {"zoo", "latents", "models", "tiles"},
    "tiles": {"models"},
    "zoo": {"models", "latents", "bitstream", "errors"},
    "latents": {"models", "bitstream", "errors"},
    # the integer prior and the trellis share sizes and bounds with the tables they choose from
    "models": {"layers", "bitstream.tables", "bitstream.container", "errors"},
    "diffusion": set(),
    "layers": set(),
    "bitstream": {"errors"},
    "errors": set(),
    "_compat": set(),
    "training": {"root", "models", "diffusion", "layers", "bitstream", "latents", "refine", "restore", "zoo", "errors", "pictures", "_compat"},
}

#: Layers that work without torch, at least until something is really coded.
LIGHT = {"root", "__main__", "cli", "pillow_plugin", "terminal", "fileinfo", "files", "saving", "pictures", "icc",
         "bitstream", "errors"}


def layer_of(module: str) -> str:
    """codec.bitstream.container -> bitstream.container; codec -> root."""
    return module.removeprefix("codec").removeprefix(".") or "root"


def imports(path: Path) -> Iterator[tuple[str, bool]]:
    """The modules that a file imports, and whether it does so as soon as it is loaded."""
    tree = ast.parse(path.read_text())
    later = {
        inner
        for node in ast.walk(tree)
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) or is_type_checking(node)
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, node not in later
        elif isinstance(node, ast.ImportFrom):
            if node.level:
                yield "." * node.level + (node.module or ""), node not in later
                continue
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                is_module = node.module.split(".")[0] == "codec" and exists(inner)
                yield inner if is_module else node.module, node not in later


def is_type_checking(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


def exists(module: str) -> bool:
    path = PACKAGE.parent / Path(*module.split("."))
    return path.is_dir() or path.with_suffix(".py").exists() or module in ("codec.api", "codec.zoo")


def sources() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def own_layer(path: Path) -> str:
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return "root" if parts == ("__init__",) else parts[0]


@pytest.mark.parametrize("path", sources(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_arrows(path):
    own = own_layer(path)
    assert own in ALLOWED, f"codec/{own} is not in the table of layers"
    for module, _ in imports(path):
        assert not module.startswith("."), f"{path.name}: relative imports are not used here"
        root = module.split(".")[0]
        assert root not in ("benchmarks", "tests", "notebooks"), f"{path.name} imports {module}"
        if root != "codec":
            continue
        layer = layer_of(module)
        top = layer.split(".")[0]
        assert top == own or ALLOWED[own] & {top, layer}, f"{path.name} ({own}) imports {module}"


@pytest.mark.parametrize("path", sources(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_light_layers_do_not_load_torch(path):
    own = own_layer(path)
    if own in LIGHT:
        for module, at_once in imports(path):
            top = layer_of(module).split(".")[0]
            assert module.split(".")[0] not in ("torch", "torchvision", "compressai"), f"{path.name}: {module}"
            if at_once and module.startswith("codec"):
                assert top in LIGHT, f"{path.name} loads {module}, which needs torch, at once"


def test_one_file_names_the_coder_library():
    users = [path.name for path in sources() if any(name.startswith("constriction") for name, _ in imports(path))]
    assert users in ([], ["entropy.py"])


def test_benchmarks_and_notebooks_do_not_use_the_training_code():
    for path in sorted((PACKAGE.parent / "benchmarks").rglob("*.py")):
        assert not any(module.startswith("codec.training") for module, _ in imports(path)), path


@pytest.mark.parametrize(
    "code, absent",
    [
        ("import codec, codec.errors, codec.pillow_plugin, codec.pictures, codec.cli", {"torch"}),
        ("import codec.cli, codec.fileinfo", {"torch", "numpy", "PIL", "tqdm"}),
    ],
)
def test_loaded_modules(code, absent):
    heavy = absent | {"compressai", "pandas", "matplotlib", "scipy", "torchvision"}
    program = f"{code}\nimport sys\nprint(sorted(set(sys.modules) & {heavy!r}))"
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True,
                            cwd=PACKAGE.parent)
    assert result.stdout.strip() == "[]"
