/**
 * The range decoder of FORMAT.md, exact in doubles: numbers of 64 bits are kept as two of 32, and no product of two parts has more than
 * 53 bits. Only the distance of the point from `low` matters, so that is what is kept.
 */

import { corrupt } from "./errors.js";

const PRECISION = 24;
const TOTAL = 2 ** PRECISION;
export const TABLE_SUM = 65536;
const WORD = 2 ** 32;
const HALF = 2 ** 20; // a scale has 40 bits: two parts of 20
const CARRY = 2 ** 12;
const MAX_GOLOMB = 20; // leading zeros that are read

/** Tables of frequencies (each sums to 2^16) one after the other, as ends of intervals in 0..2^24. */
export class TableSet {
  /** @param {ArrayLike<number>} frequencies @param {number[]} sizes symbols of each table */
  constructor(frequencies, sizes) {
    this.sizes = Int32Array.from(sizes);
    this.first = new Int32Array(sizes.length); // of the ends of each table, of which there is one more than symbols
    this.ends = new Float64Array(frequencies.length + sizes.length);
    let from = 0;
    let to = 0;
    sizes.forEach((n, table) => {
      this.first[table] = to;
      let running = 0;
      for (let i = 0; i <= n; i++) {
        this.ends[to++] = Math.floor((running * (TOTAL - n)) / TABLE_SUM) + i;
        if (i < n) running += frequencies[from++];
      }
    });
  }
}

const BITS = new TableSet([TABLE_SUM / 2, TABLE_SUM / 2], [2]);

export class RangeDecoder {
  /** @param {Uint8Array} data a section; zeros follow its last byte */
  constructor(data) {
    this.data = data;
    this.at = 0;
    this.rangeHigh = this.rangeLow = WORD - 1;
    this.high = this.word();
    this.low = this.word();
  }

  word() {
    const { data, at } = this;
    this.at += 4;
    if (at + 4 <= data.length) return (data[at] | (data[at + 1] << 8) | (data[at + 2] << 16) | (data[at + 3] << 24)) >>> 0;
    let value = 0;
    for (let i = at; i < data.length; i++) value += data[i] * 2 ** (8 * (i - at));
    return value;
  }

  /** Next symbol by a table of the set. */
  symbol(tables, table) {
    const n = tables.sizes[table];
    if (n === 1) return 0;
    const scale = this.rangeHigh * 256 + (this.rangeLow >>> 24);
    const scaleHigh = Math.floor(scale / HALF);
    const scaleLow = scale - scaleHigh * HALF;

    // quantile = floor(distance / scale): a guess in doubles is at most one off
    let quantile = Math.floor((this.high * WORD + this.low) / scale);
    let a = scaleHigh * quantile;
    let b = Math.floor(a / CARRY);
    let low = scaleLow * quantile + (a - b * CARRY) * HALF;
    let carry = Math.floor(low / WORD);
    let rest = (this.high - b - carry) * WORD + (this.low - (low - carry * WORD));
    while (rest < 0) {
      quantile--;
      rest += scale;
    }
    while (rest >= scale) {
      quantile++;
      rest -= scale;
    }
    if (quantile >= TOTAL) throw corrupt("the coded data is not valid");

    const { ends } = tables;
    const first = tables.first[table];
    let left = 0;
    let right = n;
    while (right - left > 1) {
      const middle = (left + right) >> 1;
      if (ends[first + middle] <= quantile) left = middle;
      else right = middle;
    }
    const start = ends[first + left];

    // distance = (quantile - start) * scale + rest
    const steps = quantile - start;
    a = scaleHigh * steps;
    b = Math.floor(a / CARRY);
    low = scaleLow * steps + (a - b * CARRY) * HALF + rest;
    carry = Math.floor(low / WORD);
    this.high = b + carry;
    this.low = low - carry * WORD;

    const width = ends[first + left + 1] - start;
    a = scaleHigh * width;
    b = Math.floor(a / CARRY);
    low = scaleLow * width + (a - b * CARRY) * HALF;
    carry = Math.floor(low / WORD);
    this.rangeHigh = b + carry;
    this.rangeLow = low - carry * WORD;
    if (this.rangeHigh === 0) {
      this.rangeHigh = this.rangeLow;
      this.rangeLow = 0;
      this.high = this.low;
      this.low = this.word();
    }
    return left;
  }

  /** A non-negative integer in Exp-Golomb code of order 0. */
  golomb() {
    let n = 0;
    while (n < MAX_GOLOMB && !this.symbol(BITS, 0)) n++;
    let value = 1;
    for (let i = 0; i < n; i++) value = 2 * value + this.symbol(BITS, 0);
    return value - 1;
  }
}
