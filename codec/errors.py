"""The errors of this package: one family, so that `except CodecError` catches every refusal.

A message is one sentence that says what is wrong; it does not name the file, which the caller knows.

    CodecError
    ├── FormatError (also a ValueError)   these bytes are not a file that can be decoded
    │   ├── CorruptError                  ... because they were damaged or cut
    │   ├── UnsupportedError              ... because this version of the package does not know them
    │   │   └── UnknownModelError         ... or has no weights of their model
    │   └── LimitError                    ... or the picture is larger than the format allows
    ├── PictureError                      an input picture cannot be read
    └── RateError                         a wanted size cannot be reached
"""


class CodecError(Exception):
    """Base of every error this package raises on purpose."""


class FormatError(CodecError, ValueError):
    """The bytes are not a valid compressed file; raised itself when the magic bytes are missing."""


class CorruptError(FormatError):
    """The file was one of ours, but bytes are damaged, missing or left over."""


class UnsupportedError(FormatError):
    """The file may be sound, but its format version, a feature flag or its model is not known here."""


class UnknownModelError(UnsupportedError):
    """There are no weights of a model here."""


class LimitError(FormatError):
    """A size is outside what the format allows (see `codec.bitstream.container` for the limits).

    Raised before memory of that size is asked for, for compressed files and for input pictures alike.
    """


class PictureError(CodecError):
    """An input picture cannot be read, or has a form (mode, shape, value range) that is not accepted."""


class RateError(CodecError):
    """No quality gives a file as small as the target that was asked for."""
