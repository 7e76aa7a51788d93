"""What the tests of the shipped model share: the model, loaded once, and photographs from an installed package."""

import signal

import matplotlib.cbook
import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from PIL import Image, ImageOps

import codec

if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:  # as in the background of a shell; children would ignore it too
    signal.signal(signal.SIGINT, signal.default_int_handler)

# the same examples in every run, and no limit of time for them: how busy a machine is decides no test. New examples are
# drawn with --hypothesis-profile default
settings.register_profile("fixed", derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("fixed")


@pytest.fixture(scope="session")
def shipped() -> codec.Codec:
    """The codec that users get, on one thread."""
    return codec.load(threads=1)


@pytest.fixture(scope="session")
def photo() -> Image.Image:
    """A photograph, RGB, 512x600."""
    with Image.open(matplotlib.cbook.get_sample_data("grace_hopper.jpg", asfileobj=False)) as image:
        return image.convert("RGB")


@pytest.fixture(scope="session")
def small(photo: Image.Image) -> np.ndarray:
    """The same photograph as 256x300 pixels, uint8 (300, 256, 3)."""
    return np.asarray(ImageOps.fit(photo, (256, 300)))


@pytest.fixture(scope="module", name="small_codec")
def _small_codec() -> codec.Codec:
    """A small untrained codec with all decoders."""
    from tests.support.small import small_codec

    return small_codec()
