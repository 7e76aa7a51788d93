"""Codec: pictures to bytes and back. It joins pictures, networks, entropy coding and the container."""

from __future__ import annotations

import contextlib
import os
import pickle
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image

from codec import manifest, zoo
from codec.bitstream import source
from codec.bitstream.container import Header, level_of, pack, parse, read_header
from codec.bitstream.tables import UNIT
from codec.coding import heap, look, search
from codec.coding.latents import Encoded
from codec.coding.model import Base, pad
from codec.coding.precision import narrow
from codec.coding.sealed import building, sealed
from codec.coding.targets import OutOfReach, TooSmall, largest_below, smallest_reaching
from codec.errors import CodecError, UnsupportedError
from codec.image import lossless as exact
from codec.image import read, reduced
from codec.image.alpha import fill_hidden, pack_alpha
from codec.image.limits import check_size
from codec.image.metadata import section
from codec.image.picture import Picture
from codec.image.write import assemble
from codec.loaded import Loaded
from codec.manifest import Weights
from codec.models.restorer import UPSCALES, Restorer
from codec.opened import Decoded, lossless_picture, opened
from codec.options import LDM_STEPS, DecodeOptions, EncodeOptions, UpscaleOptions, check_whole
from codec.restoration import restore
from codec.restoration.consistency import CELL, back_project, stream_agreement
from codec.restoration.strength import said


def _ignore(done: float) -> None:
    pass


class Codec:
    """One model on one device. Make it with ``load``."""

    def __init__(
        self,
        model: Base,
        device: torch.device,
        threads: int | None,
        weights: Weights | None = None,
        precision: str = "float32",
    ) -> None:
        self._model, self._device, self._threads = model, device, threads
        self._narrow, self._narrow_analysis = narrow(precision, device), precision == "bfloat16"
        # nobody sees the pictures that it looks at
        self._narrow_search = self._narrow_analysis or narrow("auto", device)
        self._weights = weights or Weights(model.model_id)
        self._loaded = Loaded(self._weights, model.model_id, device, threads)
        self._origin: tuple[Any, ...] | None = None  # what load() was given, for pickle
        self.model_id = model.model_id

    @property
    def model(self) -> Base:
        """The base model: networks, and the coder of its latents."""
        return self._model

    def decoders(self) -> tuple[str, ...]:
        """Names of the decoders that have weights here."""
        return self._weights.decoders_of(self.model_id)

    def labels(self) -> tuple[str, ...]:
        """What a picture may be said to show, for the ``label`` of the ldm decoder and of ``upscale``. Raises
        UnsupportedError where there are no labels for this model."""
        return self._loaded.labels.names

    def decoder_id(self, decoder: str) -> str:
        """What decides the pictures of a decoder: model, name, hash of the weights it uses, and the sampler's
        defaults."""
        sampler = f", {LDM_STEPS} step" if decoder == "ldm" else ""
        if decoder != "vq":
            sampler += f", {said(decoder)} within {CELL:g}"
        return f"model {self.model_id}, {decoder} {zoo.weights_hash(self._weights, decoder, self.model_id)}{sampler}"

    def search_id(self, effort: int) -> str:
        """What decides the files of an effort besides the model: the refiner by its hash, where it is used, and
        whether the search is in bfloat16."""
        plan = self._plan(effort)
        look = [f"refiner {zoo.file_hash(self._weights.refiners[self.model_id])}"] if plan.look else []
        return ", ".join([*look, *(["bfloat16"] if plan and self._narrow_search else [])])

    def encode(
        self,
        image: Any,
        *,
        quality: float = 50.0,
        target_bpp: float | None = None,
        target_bytes: int | None = None,
        target_psnr: float | None = None,
        effort: int = 1,
        seed: int = 0,
        keep_hidden: bool = False,
        lossless: bool | None = None,
        metadata: str = "drop",
        progress: Callable[[float], None] | None = None,
    ) -> bytes:
        """Picture -> bytes of an .ldc file.

        image: what codec.image.read.load takes (path, bytes, file, PIL image, uint8 array HWC or HW, float tensor CHW).
        quality: 0 (small) .. 100 (good), in steps of 1/64; not used with a target.
        target_bpp: the best quality that needs at most so many bits per pixel.
        target_bytes: the best quality in at most so many bytes.
        target_psnr: the smallest file whose 8-bit RGB pixels, decoded by `vq`, reach so many dB, 0 .. 100; lossless
            where no quality does. Pixels under alpha 0 do not count, unless they are kept.
        effort: 1 (one pass), 2 (a look at the decoded picture) .. 9 (minutes): searches for a better picture at the
            same quality. At 9 it is clearly better, and the file about a tenth larger at the same quality number.
        seed: of the noise of decoders that make detail; kept in the file.
        keep_hidden: code the pixels under alpha 0 as they are, in place of smooth ones, which cost less.
        lossless: True: every pixel as it is. None: so where that file is no larger than the other one, or fits the
            target; mostly drawings, seldom photographs. Where it is larger, a drawing may be kept in fewer colours, if
            that is no larger than the file of the networks (or fits the target) and clearly nearer to the picture; the
            file says so, it is not lossless then. False: neither.
        metadata: "drop", or "keep": EXIF and XMP in a section of their own. They say what the picture is now (upright,
            this size, sRGB) and have no thumbnail; what is broken is left out.
        progress: called with 0..1.

        Raises PictureError for a picture that cannot be read, RateError when no quality is small or good enough,
        LimitError for metadata of more than 64 KiB when compressed, CodecError for options out of range.
        """
        options = EncodeOptions(
            quality=quality,
            target_bpp=target_bpp,
            target_bytes=target_bytes,
            target_psnr=target_psnr,
            effort=effort,
            seed=seed,
            keep_hidden=keep_hidden,
            lossless=lossless,
            metadata=metadata,
        )
        picture, step = read.load(image), progress or _ignore
        kept = section(picture.metadata, picture.width, picture.height).data if options.metadata == "keep" else b""
        plainly = partial(exact.encode, picture, effort=options.effort, keep_hidden=options.keep_hidden, kept=kept)
        target = options.most_bytes(picture.width, picture.height)
        if options.lossless:
            data = plainly()
            step(1.0)
            return data
        within = partial(
            exact.encode_within, picture, effort=options.effort, keep_hidden=options.keep_hidden, kept=kept
        )
        if options.lossless is None and target is not None and (found := within(target)) is not None:
            step(1.0)
            return found
        try:
            data = self._lossy(picture, options, target, kept, step)
        except OutOfReach:
            if options.lossless is False:
                raise
            return plainly()
        except TooSmall as error:
            if options.lossless is None and (found := within(error.least - 1)) is not None:
                raise TooSmall(len(found), error.target) from error
            raise
        if options.lossless is not None:
            return data
        if target is None and (found := within(len(data))) is not None:
            return found
        fewer = reduced.encode_within(
            picture,
            target or len(data),
            lambda: reduced.squared_error(picture, self.decode_array(data), options.keep_hidden),
            level=read_header(data).header.level,
            effort=options.effort,
            keep_hidden=options.keep_hidden,
            kept=kept,
        )
        return fewer or data

    def _lossy(
        self,
        picture: Picture,
        options: EncodeOptions,
        target: int | None,
        kept: bytes,
        step: Callable[[float], None],
    ) -> bytes:
        """Bytes of a file made by the networks; target: the most of them, None: at the quality that was asked for.
        kept: the metadata section."""
        alpha = b"" if picture.alpha is None else pack_alpha(picture.alpha)
        with self._settings():
            coded = picture.rgb if options.keep_hidden else fill_hidden(picture.rgb, picture.alpha)

            def at(level: int, effort: int, step: Callable[[float], None]) -> bytes:
                header = Header(
                    picture.width,
                    picture.height,
                    self.model_id,
                    self._model.table_hash,
                    level,
                    picture.gray,
                    options.seed,
                )
                return pack(header, self._sections(coded, level, effort, step), alpha, kept)

            if (wanted := options.target_psnr) is not None:

                def margin(data: bytes) -> float:
                    return reduced.margin(picture, self.decode_array(data), wanted, options.keep_hidden)

                return smallest_reaching(margin, at, options.effort, step)
            if target is None:
                return at(level_of(options.quality), options.effort, step)
            return largest_below(target, at, options.effort, step)

    def decode(
        self,
        data: Any,
        *,
        decoder: str = "vq",
        realism: float | None = None,
        steps: int | None = None,
        sampler: str | None = None,
        guidance: float | None = None,
        consistency: bool | None = None,
        seed: int | None = None,
        context: Any = None,
        label: str | None = None,
        max_bytes: int | None = None,
        allow_truncated: bool = False,
        progress: Callable[[float], None] | None = None,
    ) -> Image.Image:
        """An .ldc file -> PIL image of mode L, LA, RGB or RGBA. EXIF and XMP that the file holds are in its `info`.

        data: a path (str or os.PathLike), the bytes of a file, or an open binary file, which is read from its start.
        decoder: vq is nearest to the original; the others (`Codec.decoders()`) make detail that was not sent.
        realism: 0 (no detail that was not sent) .. 1 (all of the decoder's, the default).
        steps: 1, the default, makes detail at once; 2 .. 1000 follow the diffusion process, and are slower.
        sampler: of more than one step: dpmpp_2m (the default), heun or ancestral.
        guidance: classifier-free guidance by the context, 0 .. 20; 1, the default, is none.
        consistency: make the sample agree with what is known of the picture (the default).
        seed: of the noise; the default is the one in the file, 0 for upscale.
        context: array or tensor of numbers (N, D) for cross-attention, N tokens in place of what is known of the
            picture; D is 64 in model 6.
        label: what the picture shows, one of `Codec.labels()`.
        max_bytes: use no more than the first so many bytes, for a coarser picture.
        allow_truncated: accept a file that was cut short, for a coarser picture.
        progress: called with 0..1.

        An option that has no effect with the decoder is refused. A lossless file gives its picture whatever the
        decoder, and only as a whole. Raises FormatError for bytes that are no sound file, UnsupportedError for
        another model or a decoder without weights, CodecError for options out of range.
        """
        options = DecodeOptions(
            decoder=decoder,
            realism=realism,
            steps=steps,
            sampler=sampler,
            guidance=guidance,
            consistency=consistency,
            seed=seed,
            context=context,
            label=label,
            max_bytes=max_bytes,
            allow_truncated=allow_truncated,
        )
        return self.decode_parts(data, options, progress).image()

    def decode_array(
        self,
        data: Any,
        *,
        decoder: str = "vq",
        realism: float | None = None,
        steps: int | None = None,
        sampler: str | None = None,
        guidance: float | None = None,
        consistency: bool | None = None,
        seed: int | None = None,
        context: Any = None,
        label: str | None = None,
        max_bytes: int | None = None,
        allow_truncated: bool = False,
        progress: Callable[[float], None] | None = None,
    ) -> np.ndarray:
        """An .ldc file -> uint8 (H, W, 3), without alpha; the arguments are those of ``decode``."""
        options = DecodeOptions(
            decoder=decoder,
            realism=realism,
            steps=steps,
            sampler=sampler,
            guidance=guidance,
            consistency=consistency,
            seed=seed,
            context=context,
            label=label,
            max_bytes=max_bytes,
            allow_truncated=allow_truncated,
        )
        return self.decode_parts(data, options, progress).rgb

    def decode_parts(self, data: Any, asked: DecodeOptions, progress: Callable[[float], None] | None = None) -> Decoded:
        """An .ldc file -> pixels and metadata. See ``decode``."""
        decoder, options = asked.decoder, _generation(asked)
        content = source.content(data, asked.max_bytes)
        stream = parse(content, max_bytes=asked.max_bytes, allow_truncated=asked.allow_truncated)
        header, step = stream.header, progress or _ignore
        if header.lossless:
            if decoder not in self.decoders():
                raise UnsupportedError(f"there is no decoder {decoder!r} (there is: {', '.join(self.decoders())})")
            found = lossless_picture(stream)
            step(1.0)
            return found
        file = opened(stream, self.model_id, self._model.table_hash)
        net = self._restorer(decoder, options) if decoder != "vq" else None
        with self._settings(), torch.inference_mode():
            tokens, v_hat = self._model.coder.decode(file.sections, file.h, file.w, header.level)
            if net is None or options.realism == 0:
                with self._networks(self._narrow):
                    rgb = self._model.decoded(v_hat, header.level, step, (header.height, header.width))
            else:  # not narrow: restorers take the rounding for detail
                rgb = self._model.decoded(v_hat, header.level, lambda done: step(done * 0.1))
                whole = None not in file.sections
                with self._networks(self._narrow):
                    rgb = self._restore(
                        decoder,
                        net,
                        rgb,
                        tokens,
                        v_hat if whole else None,
                        header.level,
                        options,
                        header.seed,
                        lambda done: step(0.1 + 0.9 * done),
                    )
        return Decoded(file.cut(rgb), header.gray, file.alpha, file.metadata)

    def upscale(
        self,
        image: Any,
        scale: int = 2,
        *,
        realism: float | None = None,
        steps: int | None = None,
        sampler: str | None = None,
        guidance: float | None = None,
        consistency: bool | None = None,
        seed: int | None = None,
        context: Any = None,
        label: str | None = None,
        progress: Callable[[float], None] | None = None,
    ) -> Image.Image:
        """Picture -> PIL image ``scale`` (2 or 4) times as wide and high, whose reduction is the picture again.

        image: what codec.image.read.load takes; alpha is enlarged bicubically.
        scale: times as wide and as high, 2 or 4.
        realism: 0 (the bicubic enlargement) .. 1 (all of the decoder's, the default).
        steps: 1, the default, makes detail at once; 2 .. 1000 follow the diffusion process, and are slower.
        sampler: of more than one step: dpmpp_2m (the default), heun or ancestral.
        guidance: classifier-free guidance by the context, 0 .. 20; 1, the default, is none.
        consistency: make the sample agree with what is known of the picture (the default).
        seed: of the noise; the default is the one in the file, 0 for upscale.
        context: array or tensor of numbers (N, D) for cross-attention, N tokens in place of what is known of the
            picture; D is 64 in model 6.
        label: what the picture shows, one of `Codec.labels()`.
        progress: called with 0..1.

        Raises CodecError for options out of range, LimitError for a result above 64 megapixels.
        """
        options = _generation(
            UpscaleOptions(
                scale=scale,
                realism=realism,
                steps=steps,
                sampler=sampler,
                guidance=guidance,
                consistency=consistency,
                seed=seed,
                context=context,
                label=label,
            )
        )
        net = self._restorer("ldm", options)
        task = net.anchors + UPSCALES.index(scale)
        picture = read.load(image)
        h, w = (n * scale for n in picture.rgb.shape[:2])
        check_size(w, h)
        bicubic = np.asarray(Image.fromarray(picture.rgb).resize((w, h), Image.Resampling.BICUBIC))
        with self._settings(), torch.inference_mode(), self._networks(self._narrow):
            x = pad(bicubic).to(self._device)
            small = torch.from_numpy(picture.rgb.copy()).to(self._device).permute(2, 0, 1)[None].float() / 255
            small = F.pad(
                small,
                (0, x.shape[3] // scale - small.shape[3], 0, x.shape[2] // scale - small.shape[2]),
                mode="replicate",
            )
            condition = restore.conditioned(net, x.float() / 255, task, None, options, self._label(options))
            known = restore.Known(condition, partial(back_project, small=small, factor=scale, rounds=6))
            x_hat = restore.restore("ldm", net, known, options, options.seed or 0, progress or _ignore)
            rgb = restore.blend(x, x_hat, options.realism)[0].permute(1, 2, 0).cpu().numpy()[:h, :w]
        alpha = (
            None
            if picture.alpha is None
            else np.asarray(Image.fromarray(picture.alpha).resize((w, h), Image.Resampling.BICUBIC))
        )
        return assemble(rgb, picture.gray, alpha)

    # parts

    @torch.no_grad()
    def _sections(self, rgb: np.ndarray, level: int, effort: int, step: Callable[[float], None]) -> list[bytes]:
        plan = self._plan(effort)
        x = pad(rgb).to(self._device) if plan else rgb
        with self._networks(self._narrow_analysis):
            asked = self._model.to_steps(x, level, progress=lambda done: step(done / 2), by_group=not plan)
        tokens = asked.tokens[0].cpu().numpy()

        def coded(v: np.ndarray | list[np.ndarray], weight: np.ndarray, keep: bool = False) -> Encoded:
            return self._model.coder.encode(v, tokens, level, weight, keep=keep)

        if not isinstance(x, torch.Tensor):
            encoded = coded(asked.take(), asked.weight)
        else:
            with self._networks(self._narrow_search):
                if plan.look:
                    seen = look.again(
                        self._model, self._loaded.refiner, x, asked, level, lambda done: step(0.5 + 0.4 * done)
                    )
                    encoded = coded(seen.v[0].cpu().numpy(), asked.weight, keep=True)
                    if look.is_worse(self._model, x, seen, encoded, level, asked.position):
                        encoded = coded(asked.v[0].cpu().numpy(), asked.weight)
                else:
                    best = search.refine(self._model, x, asked.v, asked.tokens, level, asked.position, plan, step)
                    encoded = coded(best.v[0].cpu().numpy(), best.weight)
        step(1.0)
        return encoded.sections

    def _plan(self, effort: int) -> search.Plan:
        return search.plan_of(effort, self.model_id in self._weights.refiners)

    def _restorer(self, name: str, options: restore.Options) -> Restorer:
        net = self._loaded.restorer(name)
        options.check(net.denoiser.config.context)
        self._label(options)
        return net

    def _label(self, options: restore.Options) -> torch.Tensor | None:
        """Context tokens (N, D) of the label that was asked for."""
        if options.label is None:
            return None
        known = self._loaded.labels
        if options.label not in known.names:
            raise CodecError(f"there is no label {options.label!r} (there is: {', '.join(known.names)})")
        return known.conditioner.tokens[known.names.index(options.label)]

    def _restore(
        self,
        name: str,
        net: Restorer,
        rgb: np.ndarray,
        tokens: np.ndarray,
        v_hat: np.ndarray | None,
        level: int,
        options: restore.Options,
        seed: int,
        step: Callable[[float], None],
    ) -> np.ndarray:
        """rgb (H, W, 3): the vq picture, padded; v_hat None: the stream was cut, and what is missing of it says
        nothing -> uint8 (H, W, 3)."""
        model, position = self._model.vqvae, self._model.position(level)
        x = torch.from_numpy(rgb).to(self._device).permute(2, 0, 1)[None]
        codewords = model.tokens.centroids(model.sd)[torch.from_numpy(tokens).to(self._device)].permute(2, 0, 1)[None]
        agree = None
        if v_hat is not None:
            agree = stream_agreement(model, torch.from_numpy(v_hat)[None].to(self._device).float() / UNIT, position)
        task = min(float(position), model.config.anchors - 1.0)
        condition = restore.conditioned(net, x.float() / 255, task, codewords, options, self._label(options))
        x_hat = restore.restore(
            name, net, restore.Known(condition, agree), options, seed if options.seed is None else options.seed, step
        )
        return restore.blend(x, x_hat, options.realism)[0].permute(1, 2, 0).cpu().numpy()

    def _networks(self, narrow: bool) -> torch.autocast:
        """In here networks run in bfloat16 if ``narrow``; the models keep their linear paths out of it."""
        return torch.autocast(self._device.type, torch.bfloat16, enabled=narrow)

    def _settings(self) -> contextlib.AbstractContextManager[None]:
        """Of torch, for the time of a call."""
        return sealed(self._threads)

    def __reduce__(self) -> tuple[Any, ...]:
        if self._origin is None:
            raise pickle.PicklingError("a Codec that load() did not make cannot be pickled")
        return load, self._origin


def _generation(asked: DecodeOptions | UpscaleOptions) -> restore.Options:
    """What was asked for, with defaults for the rest."""
    given = asked.generation()
    if "context" in given:
        given["context"] = _tokens(given["context"])
    return restore.Options(**given)


def _tokens(context: Any) -> torch.Tensor:
    """Numbers in any form -> float32 tensor of the same shape."""
    try:
        values = context if isinstance(context, torch.Tensor) else torch.from_numpy(np.array(context, np.float32))
        tokens = values.detach().to(torch.float32)
    except (TypeError, ValueError, RuntimeError):
        raise CodecError(f"a context is an array or tensor of numbers, not {type(context).__name__}") from None
    if not tokens.isfinite().all():
        raise CodecError("a context has to be finite")
    return tokens


def ms_ssim(a: np.ndarray, b: np.ndarray) -> float:
    """MS-SSIM (Wang et al. 2003) of two uint8 pictures (H, W, 3) of at least 161 pixels a side, as pytorch-msssim has
    it: five scales, data range 255, mean over colours."""
    from codec.coding import similarity  # whose library takes a while to import

    with sealed(), torch.inference_mode():
        return similarity.ms_ssim(a, b)


def device_of(device: str) -> torch.device:
    """ "cpu", "cuda" or "auto" -> a device that is there. Raises CodecError for another."""
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cuda" and not torch.cuda.is_available():
        raise CodecError("there is no CUDA device")
    if device not in ("cpu", "cuda"):
        raise CodecError(f"there is no device {device!r} (cpu, cuda or auto)")
    return torch.device(device)


def load(
    model: str | int = "default",
    device: str = "cpu",
    threads: int | None = None,
    weights: str | os.PathLike[str] | None = None,
    precision: str = "float32",
) -> Codec:
    """Codec with the weights of a model ("default", an id, or the path of a model file), on "cpu", "cuda" or "auto".

    weights: a folder of weights beside those of the package and of LDC_WEIGHTS. threads: for the time of each call,
    None leaves torch's own number.
    precision: of the networks that make pictures. "float32" gives the same picture on all machines but for the last
    bit of a few pixels; "auto" takes bfloat16 where processor or card has it, in which pictures are a grey level off
    here and there and as good; "bfloat16" takes it anywhere, also to encode. What is decoded of the bytes is the
    same. An encoder that looks at its own pictures (effort 2 and more) does so in bfloat16 where that is fast.
    Raises CodecError for a device that is not there.
    """
    place = device_of(device)
    if threads is not None:
        threads = check_whole("threads", threads, 1)
    there = manifest.read(weights)
    heap.keep()
    with building(threads):
        made = Codec(zoo.load(model, place, there), place, threads, there, precision)
    made._origin = (model, place.type, threads, weights, precision)
    return made
