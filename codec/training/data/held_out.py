"""Which photographs are held out of training, by name: a shard that is missing changes nothing for the others."""

from __future__ import annotations

from pathlib import Path

LIST = Path(__file__).parents[1] / "recipe" / "held_out.txt"
EVERY = 20  # one photograph in so many, where the list names none


def listed() -> set[str]:
    """File names of the list: of the photographs the shipped models were made with."""
    return set(LIST.read_text().split())


def held_out(names: list[str], names_listed: set[str]) -> set[str]:
    """names: FOLDER/FILE or FILE, once each, in order -> those whose file is listed, or every 20th where none is."""
    return {name for name in names if Path(name).name in names_listed} or set(names[::EVERY])
