"""The fuzzer finds what it should, and a short run of it finds nothing in the package."""

import pytest

from codec.bitstream import container
from tests.support.fuzz_targets import all_targets, containers
from tests.support.fuzzer import Target, fuzz

NAMES = (
    *("pictures", "containers, checksums mended", "containers", "alpha", "lossless", "EXIF and XMP", "metadata"),
    "entropy decoding",
)


@pytest.fixture(scope="module")
def targets():
    return {target.name: target for target in all_targets()}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.slow
def test_a_short_run(targets, name):
    result = fuzz(targets[name], cases=400, seconds=20)
    assert not result.faults, [(reason, case.hex()) for reason, case in result.faults[:3]]
    assert result.accepted  # the seeds at least


def test_a_fault_is_found():
    def weak(case: bytes) -> None:
        try:
            container.read_header(case)
        except container.FormatError:
            if case[:1] == b"\0":
                raise KeyError("found") from None
            raise

    result = fuzz(Target("weak", weak, containers()), cases=2000)
    assert result.faults and "KeyError" in result.faults[0][0]
