/** Lossless pictures: the browser's own WebP decoder, behind the checks of codec/image/lossless.py. */

import { LOSSLESS_SIDE } from "./container.js";
import { corrupt } from "./errors.js";

const SIGNATURE = 0x2f;
const ALPHA_BYTE = 24; // of a WebP file: the bit in it says whether its alpha counts
const ALPHA_BIT = 0x10;

/**
 * @param stream of container.js, lossless
 * @param {(x: number, y: number, width: number, height: number, rgba: Uint8ClampedArray) => void} paint called for each part
 */
export async function unpack(stream, paint) {
  const { width, height, gray, alphaInside } = stream.header;
  const parts = shapes(width, height);
  stream.sections.forEach((section, k) => {
    if (!isVp8l(section, parts[k], alphaInside)) throw corrupt("a lossless section is not of the picture's size and kind");
  });
  for (const [k, { x, y, w, h }] of parts.entries()) {
    const bytes = file(stream.sections[k]);
    // a canvas multiplies alpha into the colours: they come from the picture without it, alpha from the whole one
    const alpha = bytes[ALPHA_BYTE] & ALPHA_BIT ? await decode(bytes, w, h, "copy") : null;
    bytes[ALPHA_BYTE] &= ~ALPHA_BIT;
    const rgba = await decode(bytes, w, h, "lighter"); // added to opaque black, whatever alpha the decoder leaves in
    for (let at = 0; at < rgba.length; at += 4) {
      if (gray) rgba.fill(Math.floor((rgba[at] + rgba[at + 1] + rgba[at + 2] + 1) / 3), at, at + 3);
      rgba[at + 3] = alpha ? alpha[at + 3] : 255;
    }
    paint(x, y, w, h, rgba);
  }
}

/** Where the parts lie: cut along the longer side. */
function shapes(width, height) {
  const parts = [];
  for (let start = 0; start < Math.max(width, height); start += LOSSLESS_SIDE) {
    if (height > width) parts.push({ x: 0, y: start, w: width, h: Math.min(LOSSLESS_SIDE, height - start) });
    else parts.push({ x: start, y: 0, w: Math.min(LOSSLESS_SIDE, width - start), h: height });
  }
  return parts;
}

/** Whether VP8L data begins as that of a picture of this size. */
function isVp8l(section, { w, h }, alpha) {
  if (section.length < 5 || section[0] !== SIGNATURE) return false;
  const bits = new DataView(section.buffer, section.byteOffset).getUint32(1, true);
  const size = ((w - 1) | ((h - 1) << 14)) >>> 0;
  return bits === size || (alpha && bits === (size | (1 << 28)) >>> 0);
}

/** The section as a WebP file. */
function file(section) {
  const padded = section.length + (section.length % 2);
  const bytes = new Uint8Array(20 + padded);
  const view = new DataView(bytes.buffer);
  const text = (at, name) => [...name].forEach((letter, k) => (bytes[at + k] = letter.charCodeAt(0)));
  text(0, "RIFF");
  view.setUint32(4, 12 + padded, true);
  text(8, "WEBPVP8L");
  view.setUint32(16, section.length, true);
  bytes.set(section, 20);
  return bytes;
}

/** WebP file -> RGBA; how: it is put on opaque black. */
async function decode(bytes, width, height, how) {
  let bitmap;
  try {
    bitmap = await createImageBitmap(new Blob([bytes], { type: "image/webp" }), { colorSpaceConversion: "none" });
  } catch {
    throw corrupt("a lossless section cannot be decoded");
  }
  if (bitmap.width !== width || bitmap.height !== height) {
    throw corrupt("a lossless section is not of the picture's size and kind");
  }
  const context = new OffscreenCanvas(width, height).getContext("2d", { willReadFrequently: true });
  context.fillRect(0, 0, width, height);
  context.globalCompositeOperation = how;
  context.drawImage(bitmap, 0, 0);
  bitmap.close();
  return context.getImageData(0, 0, width, height).data;
}
