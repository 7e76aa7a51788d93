/**
 * Dense and depthwise layers on integers held in doubles. Sums stay below 2^53 and so are exact in any order; see
 * codec/models/integer_prior.py. The shift behind a layer and its rounding are part of its weights: what is left is to round down.
 */

import { denseModule } from "./dense_wasm.js";

export const CLIP = 1 << 17;
/**
 * Bounds of the running sum and of what is between two layers, what is added to x / 8 before it is rounded down, and fractional bits of what
 * a network sees; as in codec/models/exact.py.
 */
export const PROFILES = {
  wide: { clip: CLIP, hidden: CLIP, half: 0, seen: 10, tokens: 10, powers: 10 },
  narrow: { clip: 1023, hidden: 127, half: 0.5, seen: 7, tokens: 6, powers: 9 },
};
const PAGE = 65536;
const ROWS = 64; // rows that are done at a time, so that they stay in a cache
const LANES = 4; // rows and outputs come in fours

/** What becomes of a sum that was rounded down, before it is clipped. */
export const PLAIN = 0;
export const LEAKY = 1; // x or, below 0, x / 8 rounded down

/** A block of doubles in the memory of the kernels. */
class Block {
  constructor(memory, offset, length) {
    this.memory = memory;
    this.offset = offset;
    this.length = length;
  }

  /** A view; it ends when more memory is taken. */
  get numbers() {
    return new Float64Array(this.memory.buffer, this.offset, this.length);
  }
}

export class Kernels {
  /** scalar: without WebAssembly's vectors, for tests and browsers that have none; profile: one of PROFILES. */
  constructor(scalar = false, profile = PROFILES.wide) {
    this.memory = new WebAssembly.Memory({ initial: 1 });
    this.used = 16;
    this.profile = profile;
    const { clip, hidden } = profile;
    this.dense = Object.fromEntries([...new Set([clip, hidden, CLIP])].map((limit) => [limit, this.inner(scalar, limit)]));
  }

  /** The inner loop with a bound of its results. */
  inner(scalar, clip) {
    const { half } = this.profile;
    if (!scalar) {
      try {
        const module = new WebAssembly.Module(denseModule(clip, half));
        return new WebAssembly.Instance(module, { env: { memory: this.memory } }).exports.dense;
      } catch (error) {
        if (!(error instanceof WebAssembly.CompileError)) throw error; // it has no vectors: go on without
      }
    }
    return (...given) => this.scalar(clip, half, ...given);
  }

  /** Room for so many doubles. Blocks are given back all at once, by `release`. */
  take(length) {
    const offset = this.used;
    this.used = offset + Math.ceil(length / 2) * 16;
    const missing = Math.ceil((this.used - this.memory.buffer.byteLength) / PAGE);
    if (missing > 0) this.memory.grow(missing);
    return new Block(this.memory, offset, length);
  }

  mark() {
    return this.used;
  }

  release(mark) {
    this.used = mark;
  }

  /** A layer's weights (outputs x inputs), biases and shifts (12 without them), as integers; clip: bound of its results. */
  layer({ weight, bias, shift }, clip) {
    const [outputs, inputs] = weight.shape;
    if (outputs % LANES) throw new Error(`a layer of ${outputs} outputs`);
    const w = this.take(outputs * inputs);
    const b = this.take(outputs);
    const [to, biases] = [w.numbers, b.numbers];
    for (let o = 0; o < outputs; o++) {
      const panel = o - (o % LANES);
      const { scale, round } = behind(shift, o);
      for (let i = 0; i < inputs; i++) to[panel * inputs + i * LANES + (o - panel)] = weight.data[o * inputs + i] * scale;
      biases[o] = bias.data[o] * scale + round;
    }
    return { w, b, inputs, outputs, dense: this.dense[clip] };
  }

  /** out (rows, outputs) = clipped floor(x w + b), `mode` applied, plus add (or null). Blocks have room for rows rounded up to fours. */
  apply(layer, x, rows, out, mode, add = null) {
    const { w, b, inputs, outputs, dense } = layer;
    for (let row = 0; row < rows; row += ROWS) {
      const count = Math.ceil(Math.min(ROWS, rows - row) / LANES) * LANES;
      const at = row * outputs * 8;
      dense(
        x.offset + row * inputs * 8, count, inputs, w.offset, b.offset, outputs, out.offset + at, add ? add.offset + at : 0, mode,
      ); // prettier-ignore
    }
  }

  /** What the module of dense_wasm.js does, in JavaScript. */
  scalar(clip, half, x, rows, inputs, w, b, outputs, out, add, mode) {
    const m = new Float64Array(this.memory.buffer);
    [x, w, b, out, add] = [x / 8, w / 8, b / 8, out / 8, add / 8];
    for (let o = 0; o < outputs; o += LANES) {
      for (let r = 0; r < rows; r++) {
        let [s0, s1, s2, s3] = [m[b + o], m[b + o + 1], m[b + o + 2], m[b + o + 3]];
        let at = w + o * inputs;
        for (let i = x + r * inputs; i < x + (r + 1) * inputs; i++, at += LANES) {
          const v = m[i];
          s0 += v * m[at];
          s1 += v * m[at + 1];
          s2 += v * m[at + 2];
          s3 += v * m[at + 3];
        }
        const to = r * outputs + o;
        const sums = [s0, s1, s2, s3];
        for (let k = 0; k < LANES; k++) {
          let v = Math.floor(sums[k]);
          if (mode === LEAKY) v = leaky(v, half);
          if (add) v += m[add + to + k];
          m[out + to + k] = v < -clip ? -clip : v > clip ? clip : v;
        }
      }
    }
  }
}

/** What the shift behind output o of a layer multiplies with, and what rounds it. */
export function behind(shift, o) {
  const bits = shift ? shift.data[o] : 12;
  return { scale: 2 ** -bits, round: bits > 0 ? 0.5 : 0 };
}

export function leaky(x, half) {
  return x < 0 ? Math.floor(x * 0.125 + half) : x;
}

/**
 * 3x3 filter for each channel over h x w positions, zeros outside; floor, leaky, clip.
 * @param {Float64Array} x (h, w, n) @param {{taps: Float64Array, bias: Float64Array}} layer taps (9, n) @param {object} profile
 */
export function depthwise(layer, x, h, w, n, out, { hidden: clip, half }) {
  const { taps, bias } = layer;
  const wide = (w + 2) * n;
  const rows = [0, 1, 2].map(() => new Float64Array(wide)); // with a border of zeros
  const fill = (row, y) => {
    if (y < h) row.set(x.subarray(y * w * n, (y + 1) * w * n), n);
    else row.fill(0);
  };
  fill(rows[1], 0);
  for (let y = 0; y < h; y++) {
    fill(rows[2], y + 1);
    const [a, b, c] = rows;
    for (let p = 0; p < w; p++) {
      const [i0, i1, i2, to] = [p * n, (p + 1) * n, (p + 2) * n, (y * w + p) * n];
      for (let k = 0; k < n; k++) {
        let v =
          bias[k] + a[i0 + k] * taps[k] + a[i1 + k] * taps[n + k] + a[i2 + k] * taps[2 * n + k] +
          b[i0 + k] * taps[3 * n + k] + b[i1 + k] * taps[4 * n + k] + b[i2 + k] * taps[5 * n + k] +
          c[i0 + k] * taps[6 * n + k] + c[i1 + k] * taps[7 * n + k] + c[i2 + k] * taps[8 * n + k]; // prettier-ignore
        v = Math.floor(v);
        if (v < 0) v = Math.floor(v * 0.125 + half);
        out[to + k] = v < -clip ? -clip : v > clip ? clip : v;
      }
    }
    rows.push(rows.shift());
  }
}
