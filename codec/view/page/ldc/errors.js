/** The errors of the decoder. A message is one sentence; kind is the name of the class in codec/errors.py. */

export class LdcError extends Error {
  /** @param {"FormatError"|"CorruptError"|"UnsupportedError"|"LimitError"} kind */
  constructor(kind, message) {
    super(message);
    this.name = "LdcError";
    this.kind = kind;
  }
}

/** What is there of a file ends before its header does. */
export class CutHeaderError extends LdcError {
  constructor() {
    super("CorruptError", "the file ends inside its header");
  }
}

export const corrupt = (message) => new LdcError("CorruptError", message);
export const unsupported = (message) => new LdcError("UnsupportedError", message);
export const limit = (message) => new LdcError("LimitError", message);
