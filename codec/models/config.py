"""Shape of the VQ-VAE: what a set of weights needs to be loaded."""

from dataclasses import dataclass, field

ARITHMETICS = ("wide", "narrow")  # of codec.models.exact
PATCH = 16  # pixels a side that one position of y stands for


@dataclass(frozen=True)
class Group:
    """Channels start..stop of y, coded together in ``passes`` spatial passes (1, 2 or 3)."""

    start: int
    stop: int
    passes: int


@dataclass(frozen=True)
class VQVAEConfig:
    """Shape of the VQ-VAE.

    channels: of y, at 1/16 resolution; groups: their order in the stream; width8, width16: of the nonlinear paths at
    1/8 and 1/16; enc8 .. dec16: blocks there; prior_width, prior_blocks: of each context network; arithmetic: its
    numbers where bits are decided, one of ARITHMETICS; tokens: size of the codebook; token_channels: leading channels
    of y that a token describes, over 2x2 positions; anchors: quality levels between which step sizes are
    interpolated; filter_width, filter_blocks: of the filter in the pixel domain (0 blocks: none); scales: whether the
    level also multiplies what goes into a body; lambda_min, lambda_max: weight of the MSE (0..255 scale) against bits
    per pixel at the lowest and the highest of them.
    """

    channels: int = 384
    groups: tuple[Group, ...] = field(
        default=(Group(0, 16, 3), Group(16, 64, 2), Group(64, 192, 2), Group(192, 384, 1))
    )
    width8: int = 128
    width16: int = 256
    enc8: int = 3
    enc16: int = 2
    dec8: int = 4
    dec16: int = 3
    prior_width: int = 128
    prior_blocks: int = 2
    arithmetic: str = "wide"
    tokens: int = 1024
    token_channels: int = 16
    anchors: int = 8
    filter_width: int = 64
    filter_blocks: int = 0
    scales: bool = False
    lambda_min: float = 4e-5
    lambda_max: float = 1e-1

    def lambdas(self) -> list[float]:
        """Weight of the MSE at each anchor, geometric from lambda_min to lambda_max."""
        ratio = (self.lambda_max / self.lambda_min) ** (1 / (self.anchors - 1))
        return [self.lambda_min * ratio**k for k in range(self.anchors)]


def model_config(values: dict) -> VQVAEConfig:
    """Inverse of dataclasses.asdict, for what was stored beside weights. Raises ValueError for an arithmetic that this
    version does not know."""
    if (named := values.get("arithmetic", "wide")) not in ARITHMETICS:
        raise ValueError(f"this version has no arithmetic {named!r}")
    return VQVAEConfig(**{**values, "groups": tuple(Group(**g) for g in values["groups"])})
