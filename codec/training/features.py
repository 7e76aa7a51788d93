"""Feature loss of the perceptual and the GAN decoder, on a SqueezeNet 1.1 whose weights the user has."""

from __future__ import annotations

from pathlib import Path

import torch
import torch.nn as nn
from safetensors import SafetensorError
from safetensors.torch import load_file

from codec._compat import import_torchvision

LAYERS = (1, 4, 7, 9, 10, 11, 12)  # of squeezenet1_1.features, those of LPIPS


class FeatureLoss(nn.Module):
    """Sum over layers of the mean squared difference of unit-normalised features (LPIPS, Zhang et al. 2018, without its learned weights).

    weights: safetensors file with torchvision's names. Raises SystemExit with one sentence if it is no such file.
    """

    def __init__(self, weights: Path) -> None:
        super().__init__()
        network = import_torchvision().models.squeezenet1_1()
        try:
            network.load_state_dict(load_file(weights))
        except (OSError, SafetensorError, RuntimeError) as error:
            raise SystemExit(f"{weights} does not hold the weights of SqueezeNet 1.1 ({str(error).splitlines()[0]})") from None
        self.layers = network.features.eval().requires_grad_(False).to(memory_format=torch.channels_last)
        self.register_buffer("mean", torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1))
        self.register_buffer("deviation", torch.tensor([0.229, 0.224, 0.225]).view(1, 3, 1, 1))

    def features(self, x: torch.Tensor) -> list[torch.Tensor]:
        """x (B, 3, H, W) in 0..1 -> one tensor (B, C, h, w) for each layer, unit length over channels."""
        h, found = ((x - self.mean) / self.deviation).contiguous(memory_format=torch.channels_last), []
        for k, layer in enumerate(self.layers):
            h = nn.functional.relu(h) if isinstance(layer, nn.ReLU) else layer(h)  # its own ReLU works in place
            if k in LAYERS:
                found.append(h / (h.square().sum(1, keepdim=True) + 1e-10).sqrt())
        return found

    def forward(self, x_hat: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        """-> (B,)."""
        with torch.no_grad():
            wanted = self.features(x)
        return sum((a - b).square().sum(1).mean((1, 2)) for a, b in zip(self.features(x_hat), wanted, strict=True))
