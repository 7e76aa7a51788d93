"""The one function that does a file. torch is imported only when a picture is really coded, after the input was found
sound."""

from __future__ import annotations

import io
import time
import traceback
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from codec.batch import content, files, outputs, shards
from codec.batch.backend import Codecs
from codec.batch.content import TooLarge
from codec.batch.engine import Attempt
from codec.batch.files import STANDARD
from codec.batch.made import make
from codec.batch.outcome import Done, Failure, Needs, StartError, explain
from codec.batch.plan import Task
from codec.batch.settings import Settings, wanted
from codec.errors import CodecError


class Worker:
    """Does the files of one run in one process, and keeps the models, which are loaded at their first use."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._codecs = Codecs(settings)

    def __call__(self, attempt: Attempt[Task], progress: Callable[[float], None] | None = None) -> list[Done] | Needs:
        """What came of a file; of a shard also of each picture in it, the shard last. Raises StartError only."""
        task = attempt.item
        settings = self._settings
        if task.ours:
            settings = replace(settings, existing="replace")
        elif attempt.number and settings.existing == "refuse":  # what is there may be of the first attempt
            settings = replace(settings, existing="same")
        step = progress or _ignore
        try:
            if task.problem:
                raise CodecError(task.problem)
            if (skipped := outputs.skipped(settings, task)) is not None:
                outputs.check_reached(task, settings, self._codecs, attempt.granted)
                return [Done(skipped, task.size, task.stamp)]
            if task.is_shard:
                return self._shard(task, settings, attempt.granted, step)
            return self._file(task, settings, attempt.granted, step)
        except TooLarge as error:
            return Needs(error.megapixels)
        except (BrokenPipeError, StartError):
            raise
        except Exception as error:
            size, stamp = (None, "") if task.problem or task.source == STANDARD else files.facts(task.source)
            return [_failed(settings.command, task.source, error, size, stamp)]

    def _file(self, task: Task, settings: Settings, granted: float, step: Callable[[float], None]) -> list[Done]:
        with files.opened(task.source) as source:
            # What is read later is read within: the codec works on what was in the file at one time.
            found = content.read(source.file, settings, granted)
        made = make(found, settings, self._codecs, step, Path(task.target))
        outputs.put(task, made.data, settings)
        report = replace(
            made.report,
            input=files.said(task.source, "standard input"),
            output=files.said(task.target, "standard output"),
        )
        return [Done(report, source.size, source.stamp)]

    def _shard(self, task: Task, settings: Settings, granted: float, step: Callable[[float], None]) -> list[Done]:
        """Every picture in a shard; those that fail are left out of the new one."""
        done: list[Done] = []
        start = time.perf_counter()
        chosen = wanted(settings)
        out = shards.Writer()
        with files.opened(task.source, in_blocks=True) as source:
            for member in shards.read(source.file):
                step(min(1.0, member.info.offset / source.size) if source.size else 0.0)
                if chosen(Path(member.name)):
                    done.append(self._member(task, member, out, settings, granted))
                else:
                    out.add(member)
        data = out.close()
        outputs.put(task, data, settings)
        seconds = time.perf_counter() - start
        report = shards.report(settings.command, task.source, task.target, done, len(data), source.size or 0, seconds)
        return [*done, Done(report, source.size, source.stamp)]

    def _member(
        self, task: Task, member: shards.Member, out: shards.Writer, settings: Settings, granted: float
    ) -> Done:
        name = shards.member_url(files.shown(task.source), member.name)
        try:
            found = content.read(io.BytesIO(member.data), settings, granted)
            made = make(found, settings, self._codecs, _ignore, Path("member" + settings.suffix))
        except (BrokenPipeError, StartError, TooLarge):
            raise
        except Exception as error:
            return _failed(settings.command, name, error, len(member.data))
        target = out.add_made(member, settings.suffix, made.data)
        output = shards.member_url(files.shown(task.target), target)
        return Done(replace(made.report, input=name, output=output), len(member.data))


def _failed(command: str, source: str, error: BaseException, size: int | None = None, stamp: str = "") -> Done:
    trace = "".join(traceback.format_exception(error))
    return Done(Failure(command, files.said(source, "standard input"), explain(error)), size, stamp, trace)


def _ignore(done: float) -> None:
    pass
