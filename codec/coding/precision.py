"""Whether networks that make pictures run in bfloat16, those that only the encoder looks at among them. What a decoder
makes of bits is exact whatever is said here, and the linear paths stay in float32."""

from __future__ import annotations

import torch

from codec.errors import CodecError

PRECISIONS = ("auto", "float32", "bfloat16")


def has_bfloat16(device: torch.device) -> bool:
    """Whether the processor or card multiplies bfloat16 numbers itself, and torch is allowed to use that."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    allowed = torch.backends.cpu.get_cpu_capability() == "AVX512" and torch.backends.mkldnn.is_available()
    return allowed and bool(torch.cpu.get_capabilities().get("avx512_bf16", False))


def narrow(precision: str, device: torch.device) -> bool:
    """precision: one of PRECISIONS -> whether to use bfloat16. Raises CodecError for another name."""
    if precision not in PRECISIONS:
        raise CodecError(f"there is no precision {precision!r} (auto, float32 or bfloat16)")
    return precision == "bfloat16" or (precision == "auto" and has_bfloat16(device))
