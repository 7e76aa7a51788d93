"""`man`: the manual page in troff, made from the parser."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator

from codec import __version__
from codec.cli import PROGRAM

_EXIT = (
    ("0", "all files were done"),
    ("1", "a file failed; what went wrong is one sentence on standard error"),
    ("2", "wrong usage"),
    ("130", "interrupted"),
)


def run_man(args: argparse.Namespace) -> int:
    from codec.cli.parser import make_parser

    print(page(make_parser()), end="")
    return 0


def page(parser: argparse.ArgumentParser) -> str:
    """The page of a program with commands, in the man macros, ASCII."""
    return "\n".join(_page(parser)) + "\n"


def _page(parser: argparse.ArgumentParser) -> Iterator[str]:
    commands = _commands(parser)
    told = _text((parser.description or "").rstrip("."))
    yield f'.TH {PROGRAM.upper()} 1 "" "{PROGRAM} {_text(__version__)}" "User Commands"'
    yield from (".SH NAME", rf"{PROGRAM} \- {told[:1].lower()}{told[1:]}")
    yield ".SH SYNOPSIS"
    for name in commands:
        yield rf".B {PROGRAM} {_text(name)}"
        needed = [_option(a).split(", ")[-1] for a in commands[name]._actions if a.option_strings and a.required]
        yield " ".join([r"[\fIoptions\fR]", *needed, *map(_operand, _operands(commands[name]))])
        yield ".br"
    yield ".SH DESCRIPTION"
    for name, (_, summary) in zip(commands, _summaries(parser), strict=True):
        yield from (".TP", rf".B {_text(name)}", _line(summary))
    yield ".SH OPTIONS"
    yield from _options(parser)
    for name, command in commands.items():
        yield f'.SH "{_text(name.upper())}"'
        yield _line(command.description or "")
        yield from _options(command)
    yield ".SH EXIT STATUS"
    for code, meaning in _EXIT:
        yield from (".TP", rf".B {code}", _line(meaning))


def _options(parser: argparse.ArgumentParser) -> Iterator[str]:
    """The arguments of a parser, what is not an option first, then group by group."""
    for action in _operands(parser):
        yield from (".TP", _operand(action), _line(_help(parser, action)))
    for group in parser._action_groups:
        actions = [action for action in group._group_actions if action.option_strings]
        if actions and group.title not in ("options", "positional arguments"):
            yield f'.SS "{_text((group.title or "").capitalize())}"'
            yield from [_line(group.description)] if group.description else []
        for action in actions:
            yield from (".TP", _option(action), _line(_help(parser, action)))


def _commands(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            return dict(action.choices)
    return {}


def _summaries(parser: argparse.ArgumentParser) -> Iterator[tuple[str, str]]:
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for choice in action._choices_actions:
                yield choice.dest, choice.help or ""


def _operands(parser: argparse.ArgumentParser) -> list[argparse.Action]:
    plain = [action for action in parser._actions if not action.option_strings]
    return [action for action in plain if not isinstance(action, argparse._SubParsersAction)]


def _operand(action: argparse.Action) -> str:
    """INPUT ... in italics."""
    value = rf"\fI{_text(_value(action))}\fR"
    return {"+": rf"{value} \&...", "*": rf"[{value} \&...]"}.get(str(action.nargs), value)


def _option(action: argparse.Action) -> str:
    """-o, --output OUT, with what is typed as it is in bold."""
    value = "" if action.nargs == 0 else rf" \fI{_text(_value(action))}\fR"
    return ", ".join(rf"\fB{_text(name)}\fR{value}" for name in action.option_strings)


def _value(action: argparse.Action) -> str:
    if action.metavar is None and action.choices is not None:
        return "|".join(map(str, action.choices))
    return str(action.metavar or action.dest.upper())


def _help(parser: argparse.ArgumentParser, action: argparse.Action) -> str:
    formatter = parser._get_formatter()
    return formatter._expand_help(action) if action.help else ""


def _line(text: str | None) -> str:
    r"""A line of text, which never begins as a request of troff does."""
    return r"\&" + _text(" ".join((text or "").split()))


def _text(text: str) -> str:
    """What troff would change: backslashes, hyphens that are minus signs, quotes, and what is not ASCII."""
    text = text.replace("\\", r"\e").replace("-", r"\-").replace('"', r"\(dq").replace("'", r"\(aq")
    text = text.replace("`", r"\(ga").replace("^", r"\(ha").replace("~", r"\(ti")
    return re.sub(r"[^\x20-\x7e]", lambda found: rf"\[u{ord(found[0]):04X}]", text)
