"""Work around a CUDA build of torchvision beside a CPU build of torch.

Default indexes carry only CUDA builds of torchvision for Linux x86-64. With a CPU torch its C++ library
does not load, and its Python part then registers a fake for an operator that does not exist
(pytorch/vision #9077, #9085). Declaring the operators' schemas is enough; where the builds match, nothing is done.
"""

import sys
from types import ModuleType

_LIBRARY = None  # owns the schemas: must stay alive


def import_torchvision() -> ModuleType:
    """Import torchvision; call this before anything that imports it (compressai, piq, lpips, ...)."""
    global _LIBRARY
    try:
        import torchvision
    except RuntimeError as error:
        if "torchvision::nms does not exist" not in str(error):
            raise
        import torch

        for name in [module for module in sys.modules if module.split(".")[0] == "torchvision"]:
            del sys.modules[name]
        _LIBRARY = torch.library.Library("torchvision", "DEF")
        for operator in ("nms", "qnms"):
            _LIBRARY.define(f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        import torchvision
    return torchvision
