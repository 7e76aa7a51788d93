/** The alpha section: a PNG of 8-bit grayscale with no chunks but IHDR, IDAT and IEND, of exactly the picture's size. */

import { crc32 } from "./checksums.js";
import { corrupt } from "./errors.js";
import { inflate } from "./inflate.js";

const SIGNATURE = [0x89, 0x50, 0x4e, 0x47, 13, 10, 26, 10];

/**
 * @param {Uint8Array} data
 * @returns {Promise<Uint8Array>} height * width values, 0 is transparent
 */
export async function unpackAlpha(data, width, height) {
  const pieces = chunks(data, width, height);
  let lines;
  try {
    lines = await inflate(pieces, height * (width + 1));
    if (lines.length !== height * (width + 1)) throw new Error("too little pixel data");
  } catch (error) {
    if (error instanceof RangeError) throw error; // no memory
    throw corrupt("the alpha section cannot be decoded");
  }
  return unfilter(lines, width, height);
}

/** Checks all but the pixel data -> the IDAT chunks. */
function chunks(data, width, height) {
  const wrong = () => corrupt("the alpha section is not a grayscale PNG of the picture's size");
  const view = new DataView(data.buffer, data.byteOffset, data.byteLength);
  if (data.length < 33 || SIGNATURE.some((byte, i) => data[i] !== byte)) throw wrong();
  const found = [];
  let at = 8;
  let name = "";
  while (data.length - at >= 12 && name !== "IEND") {
    const size = view.getUint32(at);
    name = String.fromCharCode(...data.subarray(at + 4, at + 8));
    if (at + 12 + size > data.length) throw wrong();
    const body = data.subarray(at + 8, at + 8 + size);
    if (crc32(data.subarray(at + 4, at + 8 + size)) !== view.getUint32(at + 8 + size)) throw wrong();
    if (at === 8) {
      const facts = [...body.subarray(8)];
      const right = name === "IHDR" && size === 13 && view.getUint32(16) === width && view.getUint32(20) === height;
      if (!right || facts[0] !== 8 || facts.slice(1).some(Boolean)) throw wrong();
    } else if (name === "IDAT") found.push(body);
    else if (name !== "IEND" || size) throw wrong();
    at += 12 + size;
  }
  if (name !== "IEND" || at !== data.length) throw wrong();
  return found;
}

/** Lines with a filter byte each (PNG specification, section 9) -> pixels. */
function unfilter(lines, width, height) {
  const out = new Uint8Array(width * height);
  for (let y = 0; y < height; y++) {
    const from = y * (width + 1);
    const to = y * width;
    const filter = lines[from];
    if (filter > 4) throw corrupt("the alpha section cannot be decoded");
    for (let x = 0; x < width; x++) {
      const left = x ? out[to + x - 1] : 0;
      const up = y ? out[to - width + x] : 0;
      const corner = x && y ? out[to - width + x - 1] : 0;
      let guess = 0;
      if (filter === 1) guess = left;
      else if (filter === 2) guess = up;
      else if (filter === 3) guess = (left + up) >> 1;
      else if (filter === 4) guess = paeth(left, up, corner);
      out[to + x] = lines[from + 1 + x] + guess;
    }
  }
  return out;
}

function paeth(a, b, c) {
  const [pa, pb, pc] = [Math.abs(b - c), Math.abs(a - c), Math.abs(a + b - 2 * c)];
  if (pa <= pb && pa <= pc) return a;
  return pb <= pc ? b : c;
}
