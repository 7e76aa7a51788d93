"""Bit input and output, most significant bit first, with HEVC's Exp-Golomb codes."""

from benchmarks.bpg.errors import BpgError


class BitReader:
    """Reads from `data`; running past the end is a `BpgError`, never garbage."""

    def __init__(self, data: bytes) -> None:
        self._value = int.from_bytes(data, "big")
        self._left = 8 * len(data)

    def u(self, bits: int) -> int:
        """Unsigned integer of a fixed number of bits."""
        if bits > self._left:
            raise BpgError("damaged BPG file: a header ends too early")
        self._left -= bits
        return (self._value >> self._left) & ((1 << bits) - 1)

    def ue(self) -> int:
        """Unsigned Exp-Golomb code, HEVC 9.2."""
        zeros = 0
        while not self.u(1):
            zeros += 1
            if zeros > 32:
                raise BpgError("damaged BPG file: a number in a header is too long")
        return (1 << zeros) - 1 + self.u(zeros)


class BitWriter:
    """Collects bits; `bytes_padded` fills the last byte with zero bits."""

    def __init__(self) -> None:
        self._value = 0
        self._bits = 0

    def u(self, value: int, bits: int) -> None:
        """Append `value` in a fixed number of bits."""
        if not 0 <= value < (1 << bits):
            raise ValueError(f"{value} does not fit in {bits} bits")
        self._value = (self._value << bits) | value
        self._bits += bits

    def ue(self, *values: int) -> None:
        """Append unsigned Exp-Golomb codes."""
        for value in values:
            length = (value + 1).bit_length()
            self.u(value + 1, 2 * length - 1)

    def bytes_padded(self) -> bytes:
        """Everything so far, zero bits up to the byte boundary."""
        padding = -self._bits % 8
        return (self._value << padding).to_bytes((self._bits + padding) // 8, "big")

    def bytes_rbsp(self) -> bytes:
        """As an HEVC raw byte sequence payload: stop bit, then zero bits."""
        self.u(1, 1)
        return self.bytes_padded()


def write_ue7(value: int) -> bytes:
    """BPG's variable-length number: base 128, most significant group first, shortest form."""
    groups = [value & 0x7F]
    while value := value >> 7:
        groups.append(0x80 | (value & 0x7F))
    return bytes(reversed(groups))


def read_ue7(data: bytes, position: int) -> tuple[int, int]:
    """Number at `position` and the position after it (at most 32 bits)."""
    value = 0
    for offset in range(5):
        if position + offset >= len(data):
            raise BpgError("damaged BPG file: the header ends too early")
        byte = data[position + offset]
        if offset == 0 and byte == 0x80:
            raise BpgError("damaged BPG file: a number is not in its shortest form")
        value = (value << 7) | (byte & 0x7F)
        if byte < 0x80:
            if value >= 1 << 32:
                break
            return value, position + offset + 1
    raise BpgError("damaged BPG file: a number in the header is too long")


def add_emulation_prevention(payload: bytes) -> bytes:
    """Insert 03 after two zero bytes where HEVC demands it (7.4.2)."""
    out = bytearray()
    zeros = 0
    for byte in payload:
        if zeros == 2 and byte <= 3:
            out.append(3)
            zeros = 0
        out.append(byte)
        zeros = zeros + 1 if byte == 0 else 0
    return bytes(out)


def remove_emulation_prevention(payload: bytes) -> bytes:
    """Inverse of `add_emulation_prevention`."""
    return payload.replace(b"\x00\x00\x03", b"\x00\x00")
