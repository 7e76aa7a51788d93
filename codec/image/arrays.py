"""Pictures of arrays and tensors."""

from __future__ import annotations

from typing import Any

import numpy as np

from codec.errors import PictureError
from codec.image.limits import check_size
from codec.image.picture import Picture, picture_of


def from_array(array: np.ndarray) -> Picture:
    """uint8, H W or H W C with C = 1 gray, 2 gray + alpha, 3 RGB, 4 RGBA. Raises PictureError for another form."""
    array = np.asarray(array)  # np.matrix has two axes whatever is done to it
    if array.dtype != np.uint8:
        raise PictureError(f"a picture array must be uint8, not {array.dtype}")
    if array.ndim == 2:
        array = array[..., None]
    if array.ndim != 3 or not 1 <= array.shape[2] <= 4:
        raise PictureError(f"a picture array must have shape H W or H W C with C = 1..4, not {array.shape}")
    height, width, channels = array.shape
    check_size(width, height)
    gray = channels < 3
    alpha = np.array(array[..., -1]) if channels in (2, 4) else None
    # a plain picture is not copied: nothing here writes into it
    rgb = np.repeat(array[..., :1], 3, axis=2) if gray else np.ascontiguousarray(array[..., :3])
    return picture_of(rgb, alpha, gray, [])


def from_tensor(tensor: Any) -> Picture:
    """C H W of torch, float in [0, 1] or uint8. Raises PictureError for another form."""
    if any(getattr(tensor, name, False) for name in ("is_meta", "is_quantized", "is_nested")):
        raise PictureError("a picture cannot be made from a meta, quantized or nested tensor")
    try:
        values = tensor.detach().cpu()
        values = (values.to_dense() if str(values.layout) != "torch.strided" else values).resolve_neg()
        # numpy has no bfloat16; float32 holds every float16 and bfloat16 exactly
        array: np.ndarray = np.asarray((values.float() if values.is_floating_point() else values).numpy())
    except MemoryError:
        raise
    except Exception as error:  # of torch, or of another library's tensor
        raise PictureError(f"the tensor cannot be read: {' '.join(str(error).split())[:200]}") from error
    if array.ndim != 3 or not 1 <= array.shape[0] <= 4:
        raise PictureError(f"a picture tensor must have shape C H W with C = 1..4, not {tuple(array.shape)}")
    array = array.transpose(1, 2, 0)
    check_size(array.shape[1], array.shape[0])
    if array.dtype.kind == "f":
        # What rounding errors push over the edge is clipped; another value range is a mistake to be told.
        slack = 0.5 / 255
        if not (array.min() >= -slack and array.max() <= 1 + slack):
            raise PictureError("a picture tensor must have values in [0, 1]")
        array = np.rint(np.clip(array, 0, 1) * 255).astype(np.uint8)
    return from_array(array)
