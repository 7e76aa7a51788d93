"""What the commands do: from arguments to settings, tasks and an engine. torch is imported by the worker that needs
it."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import fields, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from codec import manifest
from codec.batch.backend import has_onnxruntime, needs_torch
from codec.batch.engine import here
from codec.batch.files import STANDARD, OutputError
from codec.batch.outcome import UsageError
from codec.batch.plan import Task, plan
from codec.batch.run import Engine, cores, left_of, megapixels, run
from codec.batch.settings import Settings, wanted
from codec.batch.work import Worker
from codec.bitstream.container import SUFFIX
from codec.cli import PROGRAM
from codec.cli.report import Terminal, say
from codec.errors import CodecError
from codec.options import DecodeOptions, EncodeOptions, UpscaleOptions

if TYPE_CHECKING:
    from codec.batch.ledger import Ledger

#: Imported once before workers are forked, which then share its memory.
PRELOAD = ("codec.api",)
Options = TypeVar("Options", EncodeOptions, DecodeOptions, UpscaleOptions)


def run_encode(args: argparse.Namespace) -> int:
    _check_model(args)
    if args.lossless:
        _check_lossless(args)
    return _run(args, _options(args, EncodeOptions))


def run_decode(args: argparse.Namespace) -> int:
    _check_decoder(args)
    return _run(args, _options(args, DecodeOptions))


def run_upscale(args: argparse.Namespace) -> int:
    _check_model(args)
    return _run(args, _options(args, UpscaleOptions))


def _check_lossless(args: argparse.Namespace) -> None:
    """What no network does needs none of what networks are told."""
    plain = {"model": "default", "device": "cpu", "precision": "float32", "threads": None}
    asked = [name for name, value in plain.items() if getattr(args, name) != value]
    if hasattr(args, "quality"):
        asked.append("quality")
    if asked:
        raise UsageError(f"{asked[0]} has no effect with lossless")


def _check_decoder(args: argparse.Namespace) -> None:
    """Whether any model has the decoder; whether that of a file has it is seen when the file is read."""
    try:
        names = manifest.read(args.weights).decoder_names()
    except CodecError as error:
        raise UsageError(str(error)) from error
    if args.decoder not in names:
        raise UsageError(f"there is no decoder '{args.decoder}' (there is: {', '.join(names)})")


def _check_model(args: argparse.Namespace) -> None:
    try:
        manifest.read(args.weights).number_of(args.model)
    except CodecError as error:
        raise UsageError(str(error)) from error


def _options(args: argparse.Namespace, kind: type[Options]) -> Options:
    """What was asked for on the command line, which knows some of the options."""
    given = {f.name: getattr(args, f.name) for f in fields(kind) if hasattr(args, f.name)}
    try:
        return kind(**given)
    except CodecError as error:
        raise UsageError(str(error)) from error


def _run(args: argparse.Namespace, options: EncodeOptions | DecodeOptions | UpscaleOptions) -> int:
    """Do the work for each file, go on after failures, and return the exit code."""
    _check_together(args)
    settings = Settings(
        backend=getattr(args, "backend", "torch"),
        options=options,
        model=getattr(args, "model", "default"),
        weights=args.weights,
        device=args.device,
        precision=args.precision,
        threads=args.threads,
        verify=getattr(args, "verify", False),
        existing="replace" if args.force else "skip" if args.skip_existing else "same" if args.resume else "refuse",
    )
    _check_backend(settings)
    tasks = plan(args.inputs, args.output, settings.suffix, wanted(settings), settings.made_suffixes)
    if isinstance(options, EncodeOptions):
        _check_suffixes(tasks)
    else:
        _check_formats(tasks)
    _check_streams(args, tasks)
    _check_manifest(args.manifest, tasks)
    ledger = _ledger(args, settings, tasks)
    done, failed_before = 0, []
    try:
        if ledger is not None and args.resume:
            left = left_of(tasks, ledger, args.retry_failed)
            tasks, done, failed_before = left.tasks, left.done, left.failed
            if not args.quiet:
                for sentence in _where_it_goes_on(done, failed_before, len(tasks)):
                    say(sentence)
        return _do(args, settings, tasks, ledger, failed_before)
    finally:
        if ledger is not None:
            ledger.release()


def _do(
    args: argparse.Namespace, settings: Settings, tasks: list[Task], ledger: Ledger | None, failed_before: list[str]
) -> int:
    failed: list[str] = list(failed_before)
    finished, start = 0, time.perf_counter()
    terminal = Terminal(tasks=tasks, as_json=args.json, quiet=args.quiet, debug=args.debug)
    try:
        summary = run(tasks, _engine(args, settings, len(tasks), terminal), settings, terminal, ledger)
        failed += summary.failed
        if len(tasks) > 1:
            terminal.totals(summary.counted.totals(settings.command, time.perf_counter() - start))
        if ledger is not None:
            ledger.close()
    except KeyboardInterrupt:
        finished = terminal.done
        if len(tasks) == 1 and ledger is None:
            raise
        again = "--resume" if ledger is not None else "--skip-existing"
        raise KeyboardInterrupt(
            f"interrupted after {finished} of {len(tasks)} files; the same command with {again} goes on"
        ) from None
    finally:
        terminal.close()
    if failed and (len(tasks) > 1 or ledger is not None):
        some = ", ".join(failed[:10]) + (f" and {len(failed) - 10} more" if len(failed) > 10 else "")
        say(f"{PROGRAM}: {len(failed)} of {len(tasks) + len(failed_before)} files failed: {some}")
    return 1 if failed else 0


def _where_it_goes_on(done: int, failed: Sequence[str], left: int) -> Iterator[str]:
    yield f"{PROGRAM}: {done} files are done by the manifest, {left} are left"
    if failed:
        yield f"{PROGRAM}: {len(failed)} files failed before and are left alone (--retry-failed tries them again)"


def _check_together(args: argparse.Namespace) -> None:
    """Options that have no effect without another are refused."""
    args.resume = args.resume or args.retry_failed
    if args.resume and args.manifest is None:
        raise UsageError("--resume and --retry-failed need the --manifest of the run that is to go on")
    if args.resume and args.skip_existing:
        raise UsageError("--resume and --skip-existing exclude each other")
    if args.engine != "ray" and args.address is not None:
        raise UsageError("--address has no effect without --engine ray")
    if args.engine == "ray" and args.max_megapixels is not None:
        raise UsageError("--max-megapixels has no effect with --engine ray, whose actors do one picture at a time")
    if STANDARD in args.inputs and (args.manifest is not None or args.engine == "ray"):
        raise UsageError("standard input goes neither with --manifest nor with --engine ray")


def _check_backend(settings: Settings) -> None:
    if settings.backend != "onnx":
        return
    if asked := needs_torch(settings):
        hint = "; OMP_NUM_THREADS sets them" if asked[0] == "threads" else ""
        raise UsageError(f"--{asked[0]} {asked[1]} is not possible with --backend onnx{hint}")
    if not has_onnxruntime():
        raise UsageError("--backend onnx needs onnxruntime (pip install 'ldc-codec[light]')")


def _check_suffixes(tasks: Sequence[Task]) -> None:
    """What is written is no picture that other programs know, and must not be named like one."""
    others = {Path(task.target).suffix.lower() for task in tasks if not task.is_shard} - {SUFFIX, ""}
    if not others:
        return
    from codec.image import formats

    for suffix in sorted(others):
        if suffix in formats.all_suffixes():
            raise UsageError(f"encode writes {SUFFIX} files, and '{suffix}' is the suffix of another kind of picture")


def _check_formats(tasks: Sequence[Task]) -> None:
    from codec.image import write

    for target in {Path(task.target) for task in tasks if not task.problem and not task.is_shard}:
        try:
            write.format_of(target)
        except CodecError as error:
            raise UsageError(str(error)) from error


def _check_streams(args: argparse.Namespace, tasks: Sequence[Task]) -> None:
    if args.json and sys.stdout is None:
        raise OutputError("standard output is closed")
    if tasks[0].target == STANDARD:
        if args.json:
            raise UsageError("--json and an output to standard output exclude each other")
        if args.engine == "ray" or args.manifest is not None:
            raise UsageError("standard output goes neither with --manifest nor with --engine ray")
        if sys.stdout is None:
            raise OutputError("standard output is closed")
        if sys.stdout.isatty():
            raise UsageError("a file cannot be written to the terminal; give an output with -o")


def _check_manifest(name: str | None, tasks: Sequence[Task]) -> None:
    """The manifest is neither read nor written as one of the files: a picture would take its place."""
    if name is None:
        return
    manifest, last = os.path.realpath(name), os.path.basename(name)
    for task in tasks:
        for file in (task.source, task.target):
            if file.endswith(last) and os.path.realpath(file) == manifest:
                raise UsageError(f"'{name}' cannot be both the manifest and an input or output")


def _ledger(args: argparse.Namespace, settings: Settings, tasks: Sequence[Task]) -> Ledger | None:
    if args.manifest is None:
        return None
    from codec.batch.ledger import Ledger

    return Ledger(
        args.manifest,
        settings.command,
        settings.as_text(),
        goes_on=args.resume,
        fresh=args.force,
        more=replace(settings, verify=True).as_text(),
    )


def _engine(args: argparse.Namespace, settings: Settings, count: int, terminal: Terminal) -> Engine:
    """What does the files: this process, several of it, or a cluster."""
    one_each = replace(settings, threads=settings.threads or 1)
    if args.engine == "ray":
        from codec.batch.cluster import Cluster

        return Cluster(partial(Worker, one_each), args.address, args.jobs, args.device != "cpu").run
    processes = args.jobs
    if processes is None:
        processes = max(1, cores() // (args.threads or 1)) if args.device == "cpu" else 1
    processes = min(processes, count)
    if processes <= 1:
        worker = Worker(settings if args.jobs is None else one_each)
        return lambda tasks: here(worker, tasks, terminal.progress)
    from codec.batch.pool import Pool

    # forked after torch was imported, a process has one thread of it only
    preload = PRELOAD if one_each.threads == 1 and args.device == "cpu" and settings.backend != "onnx" else ()
    allowed = megapixels(processes) if args.max_megapixels is None else args.max_megapixels
    pool: Pool[Task, Any] = Pool(partial(Worker, one_each), processes, allowed, preload)
    return pool.run
