/** From the bytes of sections to residuals; the order of symbols is that of codec/coding/latents.py. */

import { corrupt } from "./errors.js";
import { KINDS, UNIT } from "./tables.js";
import { walks } from "./trellis.js";

const MAX_ESCAPE = 1 << 15;

/**
 * Decodes the symbols of a pass and adds what they say to `values`, which holds the means.
 * @param {Uint8Array} scale @param {Int32Array} values of the same length
 */
export function decodePass(decoder, tables, trellis, scale, values) {
  const { set, limits, offsets } = tables;
  const { places, width, steps } = walks(scale);
  const state = new Uint8Array(width);
  const table = new Int32Array(width);
  const order = new Int32Array(width);
  const symbols = new Int32Array(width);
  const start = new Int32Array(limits.length + 1);
  for (let step = 0; step < steps; step++) {
    const from = step * width;
    const n = Math.min(width, places.length - from);
    start.fill(0);
    for (let i = 0; i < n; i++) {
      table[i] = scale[places[from + i]] * KINDS + trellis.kind[state[i]];
      start[table[i] + 1]++;
    }
    for (let t = 1; t < start.length; t++) start[t] += start[t - 1];
    for (let i = 0; i < n; i++) order[start[table[i]]++] = i;
    for (let k = 0; k < n; k++) {
      const i = order[k];
      symbols[i] = decoder.symbol(set, table[i]) - limits[table[i]];
    }
    for (let i = 0; i < n; i++) {
      const s = symbols[i];
      if (Math.abs(s) >= limits[table[i]]) symbols[i] = s + Math.sign(s) * decoder.golomb();
    }
    for (let i = 0; i < n; i++) {
      const s = symbols[i];
      const m = Math.abs(s);
      if (m > MAX_ESCAPE) throw corrupt("a latent is outside the range of the format");
      if (m) {
        const size = m * UNIT - trellis.kind[state[i]] * (UNIT / 2) + offsets[table[i] * 3 + Math.min(m, 2)];
        values[places[from + i]] += s > 0 ? size : -size;
      }
      state[i] = trellis.next[2 * state[i] + (m & 1)];
    }
  }
}
