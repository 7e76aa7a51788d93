"""Settings of runs that end in a second."""

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

NETWORK = "[model]\nchannels = 24\nwidth = 16\nblocks = 2\nkernel = 3\nattend = 1\nheads = 2\ncontext = 8\nembedding = 16\n"
SHORT = "steps = 2\nbatch = 2\nwindow = 4\nvalidate = 2\nsave = 1\n"
RECIPE = {
    "train": CONFIG.replace("steps = 6", "steps = 2\nlr_muon = 0.01") + "filter_width = 8\nfilter_blocks = 1\n",
    "adapt": 'steps = 2\nbatch = 2\ncrop = 64\nquantizer = "tcq4"\n',
    "ldm": SHORT + "feature = 0.5\n" + NETWORK,
    "perceptual": SHORT + NETWORK,
    "gan": SHORT + "adversarial = 0.1\n" + NETWORK,
    "label": SHORT + "tokens = 2\n",
}
