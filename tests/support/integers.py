"""The networks of the prior in integers alone."""

import numpy as np

from codec.models.exact import CLIP, NARROW, WEIGHT_BITS, Profile


def int_net(arrays: dict[str, np.ndarray], number: int, x: np.ndarray, profile: Profile) -> np.ndarray:
    """One context network in integers, as FORMAT.md has it; x (H, W, C) of int64 or of Python's own."""
    kind, narrow = x.dtype, profile is NARROW

    def layer(name: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        key = f"nets.{number}.{name}"
        shift = arrays[f"{key}.shift"] if narrow else np.full(len(arrays[f"{key}.bias"]), WEIGHT_BITS)
        return arrays[f"{key}.weight"].astype(kind), arrays[f"{key}.bias"].astype(kind), shift.astype(kind)

    def rs(v, n):
        right, left = np.maximum(n, 0), np.maximum(-n, 0)
        return (v * 2**left + np.where(n > 0, 2 ** np.maximum(right - 1, 0), 0)) // 2**right

    def clip(v, limit=profile.clip):
        return np.clip(v, -limit, limit)

    def dense(v, name):
        w, b, n = layer(name)
        return rs(v @ w.T + b, n)

    def leaky(v):
        return np.maximum(v, (v + 4) // 8 if narrow else v // 8)

    def depthwise(v, name):
        w, b, n = layer(name)
        p = np.pad(v, ((1, 1), (1, 1), (0, 0)))
        h, wide, _ = v.shape
        out = sum(p[i : i + h, j : j + wide] * w[:, i, j] for i in range(3) for j in range(3))
        return rs(out + b, n)

    def hidden(v):
        return clip(leaky(v), profile.hidden)

    x = clip(leaky(dense(x, "stem")))
    h = hidden(dense(x, "body.0.a"))
    h = hidden(depthwise(h, "body.0.d"))
    x = clip(x + dense(h, "body.0.b"))
    x = clip(x + dense(hidden(dense(x, "body.0.f")), "body.0.g"))
    return clip(dense(clip(leaky(x)), "head"), CLIP)
