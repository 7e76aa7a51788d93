/** Writes a PNG without loss: a canvas would change the colours under transparent pixels. */

import { crc32 } from "./checksums.js";

const LINES = 64; // at a time, so that a large picture is not held twice

/**
 * @param {Uint8ClampedArray} rgba
 * @param {{gray: boolean, alpha: boolean}} kind
 * @returns {Promise<Blob>}
 */
export async function writePng(rgba, width, height, { gray, alpha }) {
  const channels = (gray ? 1 : 3) + (alpha ? 1 : 0);
  const header = new DataView(new ArrayBuffer(13));
  header.setUint32(0, width);
  header.setUint32(4, height);
  header.setUint8(8, 8);
  header.setUint8(9, (gray ? 0 : 2) + (alpha ? 4 : 0));
  let y = 0;
  const lines = new ReadableStream({
    pull(controller) {
      const count = Math.min(LINES, height - y);
      if (!count) return controller.close();
      controller.enqueue(filtered(rgba, width, y, count, gray, alpha, channels));
      y += count;
    },
  });
  const packed = new Response(lines.pipeThrough(new CompressionStream("deflate")));
  const data = new Uint8Array(await packed.arrayBuffer());
  const signature = Uint8Array.of(0x89, 0x50, 0x4e, 0x47, 13, 10, 26, 10);
  const parts = [signature, ...chunk("IHDR", new Uint8Array(header.buffer)), ...chunk("IDAT", data), ...chunk("IEND", new Uint8Array())];
  return new Blob(parts, { type: "image/png" });
}

/** Lines y .. y + count with filter 4 (Paeth). */
function filtered(rgba, width, y, count, gray, alpha, channels) {
  const stride = 1 + width * channels;
  const out = new Uint8Array(count * stride);
  const places = [...(gray ? [0] : [0, 1, 2]), ...(alpha ? [3] : [])];
  for (let line = 0; line < count; line++) {
    const row = (y + line) * width * 4;
    let to = line * stride;
    out[to++] = 4;
    for (let x = 0; x < width; x++) {
      const at = row + x * 4;
      for (const k of places) {
        const a = x ? rgba[at + k - 4] : 0;
        const b = y + line ? rgba[at + k - width * 4] : 0;
        const c = x && y + line ? rgba[at + k - width * 4 - 4] : 0;
        const [pa, pb, pc] = [Math.abs(b - c), Math.abs(a - c), Math.abs(a + b - 2 * c)];
        out[to++] = rgba[at + k] - (pa <= pb && pa <= pc ? a : pb <= pc ? b : c);
      }
    }
  }
  return out;
}

function chunk(name, data) {
  const head = new Uint8Array(8);
  new DataView(head.buffer).setUint32(0, data.length);
  head.set(new TextEncoder().encode(name), 4);
  const check = new DataView(new ArrayBuffer(4));
  check.setUint32(0, crc32(data, crc32(head.subarray(4))));
  return [head, data, new Uint8Array(check.buffer)];
}
