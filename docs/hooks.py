"""For mkdocs: the page of the file format holds FORMAT.md, which lies beside the code."""

from pathlib import Path
from typing import Any

FORMAT = Path(__file__).parents[1] / "codec" / "bitstream" / "FORMAT.md"


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    return FORMAT.read_text() if page.file.src_uri == "format.md" else markdown


def on_files(files: Any, **_: Any) -> Any:
    """No Python file is part of the site."""
    for file in [file for file in files if file.src_uri.endswith(".py")]:
        files.remove(file)
    return files
