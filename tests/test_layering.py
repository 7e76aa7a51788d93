"""Imports go one way only. The arrows, and what may be loaded by whom, are read off the source."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

import codec

PACKAGE = Path(codec.__file__).parent
ROOT = PACKAGE.parent

#: What a layer (a module or folder of codec/) may import of codec/, besides itself. "root" is codec/__init__.py.
#: A dotted name allows that one module. A new layer needs a line here, and a permission that nothing uses must go.
ALLOWED = {
    "root": {"_start", "api", "module", "manifest", "options", "bitstream.container", "bitstream.source", "errors"},
    "_start": {"api", "module"},
    "module": {"api", "coding", "models", "options", "bitstream.container", "manifest", "zoo", "whole", "errors"},
    "__main__": {"cli"},
    "cli": {"root", "batch", "export", "view", "pillow_plugin", "manifest", "options", "image", "bitstream", "errors"},
    "batch": {
        "_start",
        "api",
        "light",
        "manifest",
        "options",
        "image",
        "bitstream.container",
        "bitstream.source",
        "whole",
        "errors",
    },
    "options": {"errors"},
    "pillow_plugin": {"root", "coarse", "light", "manifest", "opened", "options", "bitstream", "errors"},
    "imageio_plugin": {"pillow_plugin", "bitstream.container"},
    "coarse": {"manifest", "options", "opened", "coding", "image.write", "models.config", "bitstream", "errors"},
    "api": {
        "loaded",
        "manifest",
        "options",
        "opened",
        "restoration",
        "coding",
        "image",
        "zoo",
        "models",
        "bitstream",
        "errors",
    },
    "loaded": {"manifest", "zoo", "coding", "models"},
    "light": {"manifest", "options", "opened", "coding", "bitstream", "errors"},
    "opened": {"coding", "image", "bitstream", "errors"},
    "view": {"bitstream.container", "errors"},
    "export": {"manifest", "zoo", "coding", "models", "bitstream", "whole", "errors"},
    "image": {"bitstream.container", "errors"},
    "zoo": {"manifest", "coding", "models", "bitstream", "whole", "errors"},
    "manifest": {"errors"},
    "restoration": {"models", "diffusion", "coding", "options", "errors"},
    "coding": {"models", "bitstream", "errors"},
    "models": {"layers", "bitstream"},
    "diffusion": set(),
    "layers": set(),
    "bitstream": {"errors"},
    "errors": set(),
    "told": {"errors"},
    "whole": set(),
    "_compat": set(),
    "training": {
        "told",
        "whole",
        "errors",
        "root",
        "restoration",
        "coding",
        "image",
        "zoo",
        "manifest",
        "models",
        "layers.block",
        "layers.lapped",
        "diffusion",
        "bitstream",
    },
}

#: Layers, and modules of layers, that work without torch, at least until something is really coded.
LIGHT = {
    "root", "_start", "options", "__main__", "cli", "batch", "light", "opened", "coarse", "pillow_plugin", "imageio_plugin", "view", "image", "manifest", "bitstream", "whole", "errors",
    *(f"coding.{name}" for name in ("compiled", "heap", "kernels", "latents", "padding", "stored", "tiles", "tokens", "trellis")),
    *(f"models.{name}" for name in ("alike", "config", "exact", "integer_prior", "integer_tokens", "passes")),
}  # fmt: skip


def layer_of(module: str) -> str:
    """codec.bitstream.container -> bitstream.container; codec -> root."""
    return module.removeprefix("codec").removeprefix(".") or "root"


@cache
def imports(path: Path) -> tuple[tuple[str, bool], ...]:
    """The modules that a file imports, and whether it does so as soon as it is loaded."""
    return tuple(_imports(ast.parse(path.read_text())))


def _imports(tree: ast.AST) -> Iterator[tuple[str, bool]]:
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
    path = ROOT / Path(*module.split("."))
    return path.is_dir() or path.with_suffix(".py").exists()


def sources(folder: Path = PACKAGE) -> list[Path]:
    return sorted(folder.rglob("*.py"))


def own_layer(path: Path) -> str:
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return "root" if parts == ("__init__",) else parts[0]


def own_module(path: Path) -> str:
    return ".".join(path.relative_to(PACKAGE).with_suffix("").parts)


def arrows(path: Path) -> Iterator[tuple[str, str]]:
    """Layer and module of every import of codec/ that leaves a file's own layer."""
    for module, _ in imports(path):
        if module.split(".")[0] == "codec":
            layer = layer_of(module)
            if layer.split(".")[0] != own_layer(path):
                yield layer.split(".")[0], layer


@pytest.mark.parametrize("path", sources(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_arrows(path):
    own = own_layer(path)
    assert own in ALLOWED, f"codec/{own} is not in the table of layers"
    for module, _ in imports(path):
        assert not module.startswith("."), f"{path.name}: relative imports are not used here"
        assert module.split(".")[0] not in ("benchmarks", "tests", "notebooks"), f"{path.name} imports {module}"
    for top, layer in arrows(path):
        assert ALLOWED[own] & {top, layer}, f"{path.name} ({own}) imports codec.{layer}"


@pytest.mark.parametrize("own", ALLOWED)
def test_every_permission_is_used(own):
    used = {name for path in sources() if own_layer(path) == own for arrow in arrows(path) for name in arrow}
    assert not ALLOWED[own] - used


@pytest.mark.parametrize("path", sources(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_light_layers_do_not_load_torch(path):
    if LIGHT & {own_layer(path), own_module(path)}:
        for module, at_once in imports(path):
            layer = layer_of(module)
            if at_once or own_layer(path) in LIGHT:
                assert module.split(".")[0] not in ("torch", "torchvision", "compressai"), f"{path.name}: {module}"
            if at_once and module.startswith("codec"):
                assert LIGHT & {layer.split(".")[0], layer}, f"{path.name} loads {module}, which needs torch, at once"


def test_one_file_names_the_coder_library():
    users = [path.name for path in sources() if any(name.startswith("constriction") for name, _ in imports(path))]
    assert users in ([], ["entropy.py"])


def test_only_studies_use_the_training_code():
    studies = ROOT / "benchmarks" / "studies"
    for path in sources(ROOT / "benchmarks"):
        if studies not in path.parents:
            assert not any(module.startswith("codec.training") for module, _ in imports(path)), path


def test_tests_import_no_tests():
    for path in sources(ROOT / "tests"):
        for module, _ in imports(path):
            assert module.split(".")[0] != "tests" or module == "tests" or module.startswith("tests.support"), path


@pytest.mark.parametrize(
    "code, absent",
    [
        ("import codec, codec.errors, codec.pillow_plugin, codec.image.read, codec.image.write, codec.cli", {"torch"}),
        ("from codec import CodecError, decode, encode, model, upscale", {"torch", "numpy", "PIL"}),
        ("import codec.cli, codec.cli.info", {"torch", "numpy", "PIL", "tqdm"}),
    ],
)
def test_loaded_modules(code, absent):
    heavy = absent | {"compressai", "pandas", "matplotlib", "scipy", "torchvision"}
    program = f"{code}\nimport sys\nprint(sorted(set(sys.modules) & {heavy!r}))"
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT)
    assert result.stdout.strip() == "[]"
