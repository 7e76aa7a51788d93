"""EfficientNet-lite0 (Tan and Le 2019; the "lite" variant has ReLU6 and no squeeze-and-excitation) for measuring.

Tensor names are those of the package efficientnet-lite-pytorch, whose weights it takes. Padding follows TensorFlow's
SAME for even sides.
"""

from pathlib import Path
from typing import Any

from torch import nn
from torch.nn import functional as F

SIDE = 224  # the side it was trained with
_STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)


class _Convolution(nn.Conv2d):
    """Convolution with TensorFlow's SAME padding: the odd row goes to the end."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1) -> None:
        super().__init__(inputs, outputs, kernel, stride, groups=groups, bias=False)
        self._total = max(kernel - stride, 0)

    def forward(self, x: Any) -> Any:
        low = self._total // 2
        high = self._total - low
        return super().forward(F.pad(x, (low, high, low, high)))


def _norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=1e-3)


class _Block(nn.Module):
    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, expand: int) -> None:
        super().__init__()
        inner = inputs * expand
        if expand != 1:
            self._expand_conv, self._bn0 = _Convolution(inputs, inner, 1), _norm(inner)
        self._depthwise_conv, self._bn1 = _Convolution(inner, inner, kernel, stride, inner), _norm(inner)
        self._project_conv, self._bn2 = _Convolution(inner, outputs, 1), _norm(outputs)
        self._skip, self._expand = stride == 1 and inputs == outputs, expand != 1

    def forward(self, x: Any) -> Any:
        y = F.relu6(self._bn0(self._expand_conv(x))) if self._expand else x
        y = F.relu6(self._bn1(self._depthwise_conv(y)))
        y = self._bn2(self._project_conv(y))
        return x + y if self._skip else y


class EfficientNetLite0(nn.Module):
    """B 3 H W in [0, 1], sides divisible by 32 -> features of the blocks, pooled features (1280) and logits (1000)."""

    def __init__(self) -> None:
        super().__init__()
        self._conv_stem, self._bn0 = _Convolution(3, 32, 3, 2), _norm(32)
        blocks, channels = [], 32
        for repeats, kernel, stride, expand, outputs in _STAGES:
            for index in range(repeats):
                blocks.append(_Block(channels, outputs, kernel, stride if index == 0 else 1, expand))
                channels = outputs
        self._blocks = nn.ModuleList(blocks)
        self._conv_head, self._bn1 = _Convolution(channels, 1280, 1), _norm(1280)
        self._fc = nn.Linear(1280, 1000)

    def layers(self, x: Any) -> list[Any]:
        """Outputs before each change of resolution (strides 2, 4, 8, 16) and of the head (stride 32)."""
        y = F.relu6(self._bn0(self._conv_stem((255 * x - 127) / 128)))
        kept = []
        for block in self._blocks:
            if block._depthwise_conv.stride[0] == 2:
                kept.append(y)
            y = block(y)
        return [*kept, F.relu6(self._bn1(self._conv_head(y)))]

    def forward(self, x: Any) -> Any:
        """Logits of the 1000 ImageNet classes."""
        return self._fc(self.layers(x)[-1].mean((2, 3)))


def load_efficientnet(weights: Path) -> EfficientNetLite0:
    """The network with weights from a safetensors file."""
    from safetensors.torch import load_file

    network = EfficientNetLite0()
    network.load_state_dict(load_file(weights))
    return network.eval()
