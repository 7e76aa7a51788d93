/**
 * Hyper tokens of a section: the frequencies of each come from a network that sees those around it; the same numbers as
 * codec/models/integer_tokens.py, whose names are used here.
 */

import { CLIP, Kernels, LEAKY, PLAIN, PROFILES, leaky } from "./kernels.js";
import { TABLE_SUM, TableSet } from "./range_decoder.js";

const NEIGHBOURS = [[0, -1], [-1, 0], [-1, -1], [-1, 1], [0, -2], [-2, 0]]; // prettier-ignore
const SKEW = 2;
const ONE = 1024;
const PREFIX = "token_net.";

export class TokenNet {
  /** @param {Map} arrays integer arrays by name; scalar: without WebAssembly's vectors */
  constructor(arrays, scalar) {
    const kernels = new Kernels(scalar, PROFILES.wide);
    const part = (name, key) => arrays.get(`${PREFIX}${name}.${key}`);
    const layer = (name) => kernels.layer({ weight: part(name, "weight"), bias: part(name, "bias") }, CLIP);
    this.kernels = kernels;
    this.layers = { stem: layer("stem"), a: layer("a"), b: layer("b"), head: layer("head") };
    this.exp2 = arrays.get("exp2").data;
    const { shape, data } = arrays.get("centroids");
    [this.codewords] = shape;
    this.size = shape[1] + 1; // numbers that say what a token is, and whether there is none
    this.seen = new Float64Array((this.codewords + 1) * this.size);
    for (let k = 0; k < this.codewords; k++) {
      for (let i = 0; i < shape[1]; i++) this.seen[k * this.size + i] = data[k * shape[1] + i];
    }
    this.seen[this.seen.length - 1] = ONE;
  }

  /** known: neighbours of `count` tokens -> their log2 probabilities but for a constant, (count, codewords). */
  logits(known, count) {
    const { kernels, seen, size } = this;
    const { stem, a, b, head } = this.layers;
    const mark = kernels.mark();
    const room = (n) => kernels.take((count + 4) * n);
    const input = room(stem.inputs);
    const x = room(stem.outputs);
    const hidden = room(stem.outputs);
    const out = room(this.codewords);
    const numbers = input.numbers;
    for (let i = 0; i < count * NEIGHBOURS.length; i++) {
      numbers.set(seen.subarray(known[i] * size, (known[i] + 1) * size), i * size);
    }
    kernels.apply(stem, input, count, x, LEAKY);
    kernels.apply(a, x, count, hidden, LEAKY);
    kernels.apply(b, hidden, count, x, PLAIN, x);
    const sums = x.numbers;
    for (let i = 0; i < count * stem.outputs; i++) sums[i] = leaky(sums[i], 0);
    kernels.apply(head, x, count, out, PLAIN);
    const found = out.numbers.slice(0, count * this.codewords);
    kernels.release(mark);
    return found;
  }

  /** Log2 probabilities of one token -> frequencies, which sum to TABLE_SUM; written over the former. */
  frequencies(logits) {
    let best = 0;
    for (let k = 1; k < logits.length; k++) if (logits[k] > logits[best]) best = k;
    const most = logits[best];
    let sum = 0;
    for (let k = 0; k < logits.length; k++) {
      const below = logits[k] - most;
      logits[k] = (this.exp2[below & (ONE - 1)] << 9) >> Math.min(-(below >> 10), 31);
      sum += logits[k];
    }
    let left = TABLE_SUM;
    for (let k = 0; k < logits.length; k++) {
      logits[k] = Math.floor((logits[k] * TABLE_SUM) / sum);
      left -= logits[k];
    }
    logits[best] += left;
    return logits;
  }
}

/** Tokens of a picture in raster order, h x w. */
export function decodeTokens(decoder, net, h, w) {
  const { codewords } = net;
  const wide = w + 3; // two columns to the left, one to the right, two rows above
  const tokens = new Int32Array((h + 2) * wide).fill(codewords);
  const at = (row, column) => (row + 2) * wide + column + 2;
  for (let wave = 0; wave < SKEW * (h - 1) + w; wave++) {
    const first = Math.max(0, Math.ceil((wave - w + 1) / SKEW));
    const count = Math.min(h - 1, Math.floor(wave / SKEW)) - first + 1;
    if (count <= 0) continue;
    const places = Array.from({ length: count }, (_, i) => [first + i, wave - SKEW * (first + i)]);
    const logits = net.logits(places.flatMap(([i, j]) => NEIGHBOURS.map(([di, dj]) => tokens[at(i + di, j + dj)])), count);
    places.forEach(([i, j], n) => {
      const table = new TableSet(net.frequencies(logits.subarray(n * codewords, (n + 1) * codewords)), [codewords]);
      tokens[at(i, j)] = decoder.symbol(table, 0);
    });
  }
  const found = new Int32Array(h * w);
  for (let i = 0; i < h; i++) found.set(tokens.subarray(at(i, 0), at(i, w)), i * w);
  return found;
}
