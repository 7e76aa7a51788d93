"""A file in memory that says how far it was read."""

import io


class Watched(io.BytesIO):
    """furthest: end of the last byte that was read."""

    furthest = 0

    def read(self, size: int | None = -1) -> bytes:
        data = super().read(size)
        self.furthest = max(self.furthest, self.tell())
        return data
