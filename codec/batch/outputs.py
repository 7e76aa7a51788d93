"""The file that is written: whether it may be, whether what is there can stay, and how it comes there."""

from __future__ import annotations

from typing import Any

from codec import manifest
from codec.batch import content, files
from codec.batch.backend import Codecs
from codec.batch.files import STANDARD, OutputError
from codec.batch.outcome import Skipped
from codec.batch.plan import Task
from codec.batch.settings import Settings
from codec.bitstream import container
from codec.errors import CodecError
from codec.options import EncodeOptions


def skipped(settings: Settings, task: Task) -> Skipped | None:
    """Whether the target is there and may be left alone. OutputError where it must not or cannot be written."""
    if settings.existing == "skip" and task.target != STANDARD and files.exists(task.target):
        if isinstance(settings.options, EncodeOptions) and not task.is_shard:
            _check_same(settings, settings.options, task.target)
        shown = files.shown(task.target)
        return Skipped(settings.command, files.shown(task.source), shown, f"'{shown}' is there")
    files.check_target(task.source, task.target, settings.existing in ("replace", "same"), task.made_folder)
    return None


def _check_same(settings: Settings, options: EncodeOptions, target: str) -> None:
    """OutputError for a compressed file that is damaged, or was made with other settings, as far as it says."""
    data = files.content(target) or b""
    try:
        stream = container.parse(data)
    except CodecError as error:
        raise _other(target, f"is there but damaged: {error}") from error
    header = stream.header
    wrong = bool(stream.metadata) and options.metadata == "drop"  # a picture may have none to keep
    if header.lossless or options.lossless:  # made by no model
        wrong |= options.lossless is False or (options.lossless is True and not header.exact)
    else:
        wrong |= header.seed != options.seed
        wrong |= header.model_id != manifest.read(settings.weights).number_of(settings.model)
    if not header.exact and (options.target_bpp, options.target_bytes, options.target_psnr) == (None, None, None):
        wrong |= header.level != container.level_of(options.quality)
    if wrong:
        raise _other(target, "was made with other settings")
    most = options.most_bytes(header.width, header.height)
    if most is not None and len(data) > most:
        raise _other(target, f"has {len(data)} bytes, more than the {most} wanted")


def check_reached(task: Task, settings: Settings, codecs: Codecs, granted: float) -> None:
    """OutputError for a compressed file that is there and misses the PSNR that is wanted, if one is."""
    from codec.image import lossless, reduced

    options = settings.options
    if not isinstance(options, EncodeOptions) or options.target_psnr is None or task.is_shard:
        return
    data = files.content(task.target) or b""
    header = container.read_header(data).header
    if header.exact:
        return
    with files.opened(task.source) as source:
        picture = content.read(source.file, settings, granted).picture
    assert picture is not None
    decoder: Any = lossless if header.lossless else codecs(settings.model)
    same = (header.width, header.height) == (picture.width, picture.height)
    decoded = decoder.decode_array(data) if same else None
    if decoded is None or reduced.margin(picture, decoded, options.target_psnr, options.keep_hidden) < 0:
        raise _other(task.target, "misses the PSNR that is wanted")


def _other(target: str, why: str) -> OutputError:
    return OutputError(f"the output '{files.shown(target)}' {why} (-f overwrites it)")


def put(task: Task, data: bytes, settings: Settings) -> None:
    """Write what was made, or leave the same there. Raises OutputError."""
    if task.target == STANDARD:
        files.put(task.target, data, task.made_folder)
        return
    if settings.existing == "same" and (there := files.content(task.target)) is not None:
        if there != data:
            raise OutputError(f"the output '{files.shown(task.target)}' exists and is another (-f overwrites it)")
        return
    # again: another process may have made the file in the meantime
    files.check_target(task.source, task.target, settings.existing in ("replace", "same"), task.made_folder)
    files.write(task.target, data, task.made_folder)
