/** The frozen integer tables of a model; see codec/bitstream/tables.py. */

import { TableSet } from "./range_decoder.js";

export const SCALES = 80;
export const KINDS = 2;
export const UNIT = 256;
export const PER_OCTAVE = 8;
export const LOG2_SCALE_MIN = -3;
const MAX_SYMBOL = 255;

function symbolLimit(scale) {
  return Math.min(MAX_SYMBOL, 3 + Math.floor(5 * 2 ** (LOG2_SCALE_MIN + scale / PER_OCTAVE)));
}

/** Tables of the latents: number 2 * scale + kind; offsets of three numbers each. */
export class LatentTables {
  constructor(arrays) {
    this.limits = Int32Array.from({ length: SCALES * KINDS }, (_, k) => symbolLimit(Math.floor(k / KINDS)));
    const sizes = Array.from(this.limits, (limit) => 2 * limit + 1);
    this.set = new TableSet(arrays.get("tables.frequencies").data, sizes);
    this.offsets = Int32Array.from(arrays.get("tables.offsets").data);
  }
}
