"""What the tests of many files share."""

import pytest

from tests.support.fake_codec import SHIPPED, FakeCodec


@pytest.fixture
def fake(monkeypatch):
    """The command line over a codec without a network, in this process."""
    fake = FakeCodec()
    fake.model_id = SHIPPED
    monkeypatch.setattr("codec.batch.backend.load_codec", lambda settings, model: fake)
    monkeypatch.setattr("codec.cli.commands.cores", lambda: 1)
    return fake
