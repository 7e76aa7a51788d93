/** The metadata section, EXIF and XMP: the page shows neither, but refuses what codec/image/metadata.py refuses. */

import { adler32 } from "./checksums.js";
import { corrupt } from "./errors.js";
import { inflate } from "./inflate.js";

const MAX_INFLATED = 2 ** 20;
const EXIF = 1;
const XMP = 2;
const HEAD_BYTES = 5;
const MARKS = ["II*\0", "MM\0*"];

/**
 * Throws for a section that no writer makes; an empty one is none.
 * @param {Uint8Array} data
 */
export async function checkMetadata(data) {
  if (!data.length) return;
  let plain;
  try {
    plain = await inflate([data], MAX_INFLATED);
    // not all that inflates sees whether something follows
    const end = new DataView(data.buffer, data.byteOffset + data.length - 4, 4).getUint32(0);
    if (end !== adler32(plain)) throw new Error("something follows");
  } catch {
    throw corrupt("the metadata section cannot be decoded");
  }
  if (!isSound(plain)) throw corrupt("the metadata section does not hold EXIF and XMP");
}

/** Whether these are parts of rising kinds, none empty, each as it should begin. */
function isSound(plain) {
  const view = new DataView(plain.buffer, plain.byteOffset, plain.length);
  let last = 0;
  let at = 0;
  while (at < plain.length) {
    if (plain.length - at < HEAD_BYTES) return false;
    const kind = plain[at];
    const size = view.getUint32(at + 1, true);
    at += HEAD_BYTES;
    if ((kind !== EXIF && kind !== XMP) || kind <= last || size === 0 || size > plain.length - at) return false;
    const part = plain.subarray(at, at + size);
    if (kind === EXIF && !MARKS.includes(String.fromCharCode(...part.subarray(0, 4)))) return false;
    if (kind === XMP && !isText(part)) return false;
    last = kind;
    at += size;
  }
  return last > 0;
}

function isText(part) {
  if (part.includes(0)) return false;
  try {
    new TextDecoder("utf-8", { fatal: true }).decode(part);
    return true;
  } catch {
    return false;
  }
}
