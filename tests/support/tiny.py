"""Settings of runs that end in a second, by their number of steps, and feature networks that know nothing."""

from pathlib import Path

import torch
from safetensors.torch import save_file

from codec.training.base.train_tokens import TokenTraining

CONFIG = """
steps = 6
batch = 4
crop = 64
crop_late = 128
late = 0.7
warmup = 2
validate = 6
save = 2
start_crops = 100
[model]
channels = 24
groups = [[0, 16, 3], [16, 24, 2]]
width8 = 16
width16 = 16
enc8 = 1
enc16 = 1
dec8 = 1
dec16 = 1
prior_width = 16
prior_blocks = 1
tokens = 32
"""

NETWORK = "[painter]\nlatent = 4\nwidth4 = 8\nblocks4 = 1\nwidth8 = 8\nblocks8 = 1\nencoder8 = 1\n[denoiser]\nlatent = 16\nwidth = 16\nblocks = 2\nattend = 1\nheads = 2\ncontext = 8\nembedding = 16\n"
TOKENS = TokenTraining(steps=3, batch=8, width=16, turns=1)
SHORT = "seconds = 3600\nsteps = 2\nbatch = 2\nwindow = 64\nwarmup = 1\n"
RECIPE = {
    "train": CONFIG.replace("steps = 6", "steps = 2\nlr_muon = 0.01") + "filter_width = 8\nfilter_blocks = 1\n",
    "adapt": 'steps = 2\nbatch = 2\ncrop = 64\nquantizer = "tcq4"\n',
    "narrow": "steps = 2\nbatch = 2\ncrops = 4\ncrop = 64\n",
    "tokens": "steps = 2\nbatch = 8\nwidth = 16\nturns = 1\n",
    "refiner": "steps = 2\nseconds = 0\nbatch = 2\ncrop = 64\nwidth = 16\nblocks = 1\n",
    **{name: SHORT + NETWORK for name in ("autoencoder", "ldm", "perceptual", "gan")},
    "label": SHORT + "tokens = 2\n",
}


def feature_networks(folder: Path) -> None:
    """VGG16, AlexNet and the heads of LPIPS with random weights: vgg.safetensors, alex.safetensors,
    heads.safetensors."""
    from codec.training.restoration.perception import ALEXNET, VGG16

    g, heads = torch.Generator().manual_seed(0), {}
    for trunk in (VGG16, ALEXNET):
        state, last, number = {}, 3, 0
        for width, kernel, _ in trunk.layers:
            if width:
                scale = (2 / (last * kernel * kernel)) ** 0.5
                state[f"features.{number}.weight"] = (
                    torch.randn(width, last, kernel, kernel, generator=g) * scale
                ).half()
                state[f"features.{number}.bias"] = torch.zeros(width).half()
                last = width
            number += 2 if width else 1
        save_file(state, folder / f"{trunk.name}.safetensors")
        heads |= {
            f"{trunk.name}.lin{k}.weight": torch.rand(1, c, 1, 1, generator=g) for k, c in enumerate(trunk.channels)
        }
    save_file(heads, folder / "heads.safetensors")
