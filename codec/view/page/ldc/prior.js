/**
 * The prior in exact integer arithmetic: for each pass the mean and the scale index of its latents; the same numbers as
 * codec/models/integer_prior.py, whose names and constants are used here.
 */

import { MAX_LEVEL } from "./container.js";
import { CLIP, LEAKY, PLAIN, behind, depthwise, leaky } from "./kernels.js";
import { LOG2_SCALE_MIN, PER_OCTAVE, SCALES } from "./tables.js";

const ONE = 1024;
const BAND = 1536; // positions that a network sees at a time (about); the result does not depend on it
const MEAN_LIMIT = 1 << 24;

const shift = (x, bits) => Math.floor(x * 2 ** -bits + 0.5);
const bound = (x, limit) => (x < -limit ? -limit : x > limit ? limit : x);

/** v in 1/256 step -> compressed activation. */
export function squash(v) {
  const a = v * 4;
  return bound(a, 2 * ONE) + (bound(a, 16 * ONE) >> 3) + (bound(a, 512 * ONE) >> 7);
}

/** What a network sees of x, which has 10 fractional bits. */
export function feature(x, fraction, { clip }) {
  return fraction === 10 ? x : bound(shift(x, 10 - fraction), clip);
}

/** Whether the position (row, column) belongs to pass i of `passes`. */
function inPass(passes, i, row, column) {
  if (passes === 1) return true;
  const same = (row + column) % 2 === 0;
  if (passes === 2) return same === (i === 0);
  if (i === 2) return !same;
  return same && row % 2 === i;
}

class Net {
  constructor(kernels, arrays, prefix, blocks) {
    const parts = (name) => {
      const part = (key) => arrays.get(`${prefix}${name}.${key}`);
      return { weight: part("weight"), bias: part("bias"), shift: part("shift") };
    };
    const { clip, hidden } = kernels.profile;
    const layer = (name, limit = clip) => kernels.layer(parts(name), limit);
    this.kernels = kernels;
    this.stem = layer("stem");
    this.head = layer("head", CLIP);
    this.blocks = Array.from({ length: blocks }, (_, k) => ({
      a: layer(`body.${k}.a`, hidden),
      b: layer(`body.${k}.b`),
      f: layer(`body.${k}.f`, hidden),
      g: layer(`body.${k}.g`),
      d: filters(parts(`body.${k}.d`)),
    }));
    this.width = this.stem.outputs;
  }

  /**
   * x: features of h x w positions; at: those asked for -> (at.length, outputs), valid until more memory is taken.
   * @param {Int32Array} at
   */
  run(x, h, w, at) {
    const { kernels, width } = this;
    const room = (rows, n) => kernels.take((rows + 4) * n);
    const n = h * w;
    let now = room(n, width);
    let hidden = room(n, width);
    const filtered = room(n, width);
    kernels.apply(this.stem, x, n, now, LEAKY);
    let rows = n;
    this.blocks.forEach((block, k) => {
      kernels.apply(block.a, now, rows, hidden, LEAKY);
      depthwise(block.d, hidden.numbers, h, w, width, filtered.numbers, kernels.profile);
      let next = filtered;
      if (k + 1 === this.blocks.length) {
        // from here on no position sees another
        rows = at.length;
        gather(now, at, width, hidden);
        gather(filtered, at, width, now);
        [now, hidden, next] = [hidden, filtered, now];
      }
      kernels.apply(block.b, next, rows, now, PLAIN, now);
      const expanded = room(rows, block.f.outputs);
      kernels.apply(block.f, now, rows, expanded, LEAKY);
      kernels.apply(block.g, expanded, rows, now, PLAIN, now);
    });
    const numbers = now.numbers;
    for (let i = 0; i < rows * width; i++) numbers[i] = leaky(numbers[i], kernels.profile.half);
    const out = room(rows, this.head.outputs);
    kernels.apply(this.head, now, rows, out, PLAIN);
    return out.numbers;
  }
}

/** weight (n, 3, 3), bias and shift as integers -> what `depthwise` takes. */
function filters({ weight, bias, shift }) {
  const n = weight.shape[0];
  const taps = new Float64Array(9 * n);
  const biases = new Float64Array(n);
  for (let k = 0; k < n; k++) {
    const { scale, round } = behind(shift, k);
    for (let t = 0; t < 9; t++) taps[t * n + k] = weight.data[k * 9 + t] * scale;
    biases[k] = bias.data[k] * scale + round;
  }
  return { taps, bias: biases };
}

function gather(from, at, width, to) {
  const [source, target] = [from.numbers, to.numbers];
  for (let i = 0; i < at.length; i++) target.set(source.subarray(at[i] * width, (at[i] + 1) * width), i * width);
}

export class Prior {
  /** @param {object} config of the model @param {Map} arrays integer arrays by name @param {import("./kernels.js").Kernels} kernels */
  constructor(config, arrays, kernels) {
    this.config = config;
    this.kernels = kernels;
    let count = 0;
    this.nets = config.groups.map(({ passes }) =>
      Array.from({ length: passes }, () => new Net(kernels, arrays, `nets.${count++}.`, config.prior_blocks)),
    );
    this.reach = config.prior_blocks;
    this.smooth = Array.from({ length: config.groups[0].passes - 1 }, (_, i) => arrays.get(`smooth.${i}.weight`).data);
    this.log2Spread = arrays.get("log2_spread").data;
    this.centroids = arrays.get("centroids");
    this.exp2 = arrays.get("exp2").data;
  }

  /** log2 of each channel's standard deviation in steps, 10 fractional bits. */
  spread(level) {
    const { anchors, channels } = this.config;
    const position = level * (anchors - 1);
    const k = Math.min(Math.floor(position / MAX_LEVEL), anchors - 2);
    const t = position - k * MAX_LEVEL;
    return Int32Array.from({ length: channels }, (_, c) => {
      const [a, b] = [this.log2Spread[k * channels + c], this.log2Spread[(k + 1) * channels + c]];
      return Math.floor((a * (MAX_LEVEL - t) + b * t) / MAX_LEVEL);
    });
  }
}

/** The latents of one picture, group by group. */
export class Latents {
  /** tokens: (h / 2, w / 2) in raster order; h, w: positions of the latents. */
  constructor(prior, tokens, h, w, level) {
    Object.assign(this, { prior, h, w });
    const { config, centroids, exp2 } = prior;
    this.log2 = prior.spread(level);
    this.spread = Float64Array.from(this.log2, (value) => {
      const wide = bound(value, 16 * ONE);
      return Math.floor((exp2[wide & (ONE - 1)] * 65536) / 2 ** (21 - (wide >> 10)));
    });
    const ct = config.token_channels;
    const { profile } = prior.kernels;
    this.values = new Int32Array(h * w * ct); // what the tokens say of the first channels
    this.told = new Int32Array(h * w * ct); // what the networks see of that
    for (let y = 0; y < h; y++) {
      for (let x = 0; x < w; x++) {
        const from = tokens[(y >> 1) * (w >> 1) + (x >> 1)] * centroids.shape[1] + 2 * (y & 1) + (x & 1);
        for (let c = 0; c < ct; c++) this.values[(y * w + x) * ct + c] = centroids.data[from + 4 * c];
      }
    }
    this.values.forEach((value, i) => (this.told[i] = feature(value, profile.tokens, profile)));
    const u = Math.floor((level * 2 * ONE) / MAX_LEVEL) - ONE;
    const powers = [u, Math.floor((u * u) / ONE), Math.floor((u * u * u) / (ONE * ONE))];
    this.powers = powers.map((power) => feature(power, profile.powers, profile));
    this.groups = []; // v_hat of the groups that are done, (h, w, n) in 1/256 step
    this.seen = []; // the same, squashed
  }

  /** The state after so many groups, to go on from in another way. */
  first(count) {
    const start = Object.create(Latents.prototype);
    return Object.assign(start, this, { groups: this.groups.slice(0, count), seen: this.seen.slice(0, count) });
  }

  get done() {
    return this.groups.length === this.prior.config.groups.length;
  }

  /**
   * Does the next group. code(scale, values): adds what was sent to the means in `values`; without it the means are the latents.
   * progress(share): of this group.
   */
  next(code = null, progress = () => {}) {
    const { prior, h, w } = this;
    const number = this.groups.length;
    const { start, stop, passes } = prior.config.groups[number];
    const n = stop - start;
    const { profile } = prior.kernels;
    const v = new Int32Array(h * w * n);
    const squashed = new Int16Array(h * w * n);
    const sent = new Uint8Array(h * w);
    const lead = start === 0 ? this.tokenMeans(n) : null;
    for (let i = 0; i < passes; i++) {
      const at = [];
      for (let y = 0; y < h; y++) for (let x = 0; x < w; x++) if (inPass(passes, i, y, x)) at.push(y * w + x);
      const scale = new Uint8Array(at.length * n);
      const means = passes === 1 ? v : new Int32Array(at.length * n);
      const base = lead && (i ? this.smoothed(lead, v, sent, prior.smooth[i - 1], n) : lead);
      const own = i ? squashed : null;
      this.expect(prior.nets[number][i], own, sent, base, at, start, n, means, scale, (share) =>
        progress((i + share) / passes),
      );
      code?.(scale, means);
      if (passes > 1) at.forEach((p, k) => v.set(means.subarray(k * n, (k + 1) * n), p * n));
      for (const p of at) {
        sent[p] = 1;
        for (let k = p * n; k < (p + 1) * n; k++) squashed[k] = feature(squash(v[k]), profile.seen, profile);
      }
    }
    this.groups.push(v);
    this.seen.push(squashed);
  }

  /** t_hat: what the tokens say of the first group, in 1/256 step. */
  tokenMeans(n) {
    const out = new Float64Array(this.h * this.w * n);
    for (let i = 0; i < out.length; i++) out[i] = shift(this.values[i] * this.spread[i % n], 12);
    return out;
  }

  /** t_hat, and what the neighbours that were sent say of its error. */
  smoothed(lead, v, sent, taps, n) {
    const { h, w } = this;
    const out = new Float64Array(lead.length);
    for (let y = 0; y < h; y++) {
      for (let x = 0; x < w; x++) {
        for (let k = 0; k < n; k++) {
          let sum = 0;
          for (let dy = -1; dy <= 1; dy++) {
            for (let dx = -1; dx <= 1; dx++) {
              const [i, j] = [y + dy, x + dx];
              if (i < 0 || j < 0 || i >= h || j >= w || !sent[i * w + j]) continue;
              const p = (i * w + j) * n + k;
              sum += (v[p] - lead[p]) * taps[k * 9 + (dy + 1) * 3 + dx + 1];
            }
          }
          const p = (y * w + x) * n + k;
          out[p] = lead[p] + shift(sum, 12);
        }
      }
    }
    return out;
  }

  /** Fills means and scale of the positions `at` (rising), band by band. */
  expect(net, own, sent, base, at, start, n, means, scale, progress) {
    const { prior, h, w, told, powers } = this;
    const { kernels, reach } = prior;
    const here = feature(ONE, kernels.profile.powers, kernels.profile);
    const parts = [...this.seen, ...(own ? [own] : []), told].map((data) => ({ data, size: data.length / (h * w) }));
    const inputs = net.stem.inputs;
    const height = Math.max(Math.floor(BAND / w), 8);
    const mark = kernels.mark();
    let first = 0;
    for (let top = 0; top < h; top += height) {
      const low = Math.max(0, top - reach);
      const high = Math.min(h, top + height + reach);
      let last = first;
      while (last < at.length && at[last] < (top + height) * w) last++;
      const places = Int32Array.from(at.slice(first, last), (p) => p - low * w);
      const x = kernels.take(((high - low) * w + 4) * inputs);
      const numbers = x.numbers;
      let to = 0;
      for (let p = low * w; p < high * w; p++) {
        for (const { data, size } of parts) for (let k = p * size; k < (p + 1) * size; k++) numbers[to++] = data[k];
        for (const power of powers) numbers[to++] = power;
        numbers[to++] = sent[p] * here;
      }
      const out = net.run(x, high - low, w, places);
      for (let i = 0; i < places.length; i++) {
        const from = i * 2 * n;
        const target = (first + i) * n;
        for (let k = 0; k < n; k++) {
          let mu = shift(out[from + k] * Math.max(this.spread[start + k], ONE), 12);
          if (base) mu += base[at[first + i] * n + k];
          means[target + k] = bound(mu, MEAN_LIMIT);
          const octave = out[from + n + k] + this.log2[start + k] - LOG2_SCALE_MIN * ONE;
          const index = Math.floor((octave * PER_OCTAVE) / ONE + 0.5);
          scale[target + k] = index < 0 ? 0 : index >= SCALES ? SCALES - 1 : index;
        }
      }
      first = last;
      kernels.release(mark);
      progress(high / h);
    }
  }
}
