/**
 * The file container: header, sections and checksums. The checks and their sentences are those of codec/bitstream/container.py (but
 * for what its flags are called), and codec/bitstream/FORMAT.md describes both.
 */

import { crc16, crc32 } from "./checksums.js";
import { CutHeaderError, LdcError, corrupt, limit, unsupported } from "./errors.js";

const MAGIC = [0x8a, 0x4c, 0x44, 0x43];
const VERSION = 1;
const MAX_SIDE = 65535;
const MAX_PIXELS = 64 * 1024 * 1024;
const MAX_SECTIONS = 16;
const MAX_PAYLOAD = 16 * MAX_PIXELS;
const GRAY = 1;
const ALPHA = 2;
const SEED = 4;
const LOSSLESS = 8;
const METADATA = 16;
const REDUCED = 32;
const MAX_METADATA = 65536;
/** Longest side of a part of a lossless picture. */
export const LOSSLESS_SIDE = 16383;
const VARINT_BYTES = 5;
export const MAX_LEVEL = 6400;
export const MAGIC_BYTES = MAGIC.length;
/** No header is longer. */
export const MAX_HEADER_BYTES = 19 + 4 * VARINT_BYTES + (2 + MAX_SECTIONS) * (VARINT_BYTES + 2);

/**
 * @typedef {object} Header width, height (pixels), modelId, tableHash, level (0..6400), gray, seed, lossless, alphaInside (of a lossless one), reduced (its colours, before)
 * @typedef {object} HeaderInfo header, headerBytes, alphaBytes, sectionBytes, metadataBytes, fileBytes (of the complete file), and the
 * checksums
 * @typedef {object} Stream header, alpha (empty without), sections (null for one that was cut off; the first never is), metadata
 * (empty without, or if it was cut off)
 */

/**
 * Reads and checks the header from the first bytes of a file.
 * @param {Uint8Array} data
 * @returns {HeaderInfo}
 */
export function readHeader(data) {
  data = data.subarray(0, MAX_HEADER_BYTES);
  if (MAGIC.some((byte, i) => data[i] !== byte)) {
    const what = data.length ? "it does not begin with 8A 'LDC'" : "it is empty";
    throw new LdcError("FormatError", `not an LDC file: ${what}`);
  }
  const reader = new Reader(data, MAGIC.length);
  const version = reader.byte();
  const flags = reader.byte();
  if (version !== VERSION) {
    throw unsupported(`the file has format version ${version}, this program reads version ${VERSION}`);
  }
  if (flags & ~(GRAY | ALPHA | SEED | LOSSLESS | METADATA | REDUCED)) {
    const hex = flags.toString(16).padStart(2, "0");
    throw unsupported(`the file uses features that this program does not know (flags 0x${hex})`);
  }
  const modelId = reader.varint();
  const tableHash = reader.u32();
  const width = reader.varint();
  const height = reader.varint();
  const level = reader.u16();
  const seed = flags & SEED ? reader.varint() : 0;
  const lossless = Boolean(flags & LOSSLESS);
  const reduced = Boolean(flags & REDUCED);
  const alpha = flags & ALPHA && !lossless ? reader.entry() : { size: 0, crc: 0 };
  const metadata = flags & METADATA ? reader.entry() : { size: 0, crc: 0 };
  const count = reader.byte();
  if (count < 1 || count > MAX_SECTIONS) {
    throw corrupt(`the header is damaged (it promises ${count} sections, 1..${MAX_SECTIONS} are possible)`);
  }
  const entries = Array.from({ length: count }, () => reader.entry());
  const covered = reader.at;
  const headerCrc = reader.u16();
  const fileCrc = reader.u32();

  if (crc16(data.subarray(0, covered)) !== headerCrc) {
    throw corrupt("the header is damaged (its CRC-16 does not match)");
  }
  if (!(width >= 1 && width <= MAX_SIDE && height >= 1 && height <= MAX_SIDE && width * height <= MAX_PIXELS)) {
    throw limit(
      `a picture of ${width}x${height} pixels is outside the limits (sides of 1..${MAX_SIDE}, at most ${MAX_PIXELS} pixels)`,
    );
  }
  if (level > MAX_LEVEL) throw corrupt(`the header is damaged (level ${level} is above ${MAX_LEVEL})`);
  const noAlpha = flags & ALPHA && alpha.size === 0 && !lossless;
  if ((flags & SEED && seed === 0) || noAlpha || (flags & METADATA && metadata.size === 0)) {
    throw corrupt("the header is damaged (a flag announces a field that is empty)");
  }
  if (metadata.size > MAX_METADATA) {
    throw limit(`the file promises more than the ${MAX_METADATA} bytes of metadata that the format allows`);
  }
  const payload = entries.reduce((sum, entry) => sum + entry.size, alpha.size + metadata.size);
  if (payload > MAX_PAYLOAD) {
    throw limit(`the file promises more than the ${MAX_PAYLOAD} payload bytes that the format allows`);
  }
  if (reduced && !lossless) {
    throw corrupt("the header is damaged (its colours are reduced, but it is not that of a lossless picture)");
  }
  if (lossless) {
    const parts = Math.ceil(Math.max(width, height) / LOSSLESS_SIDE);
    const top = reduced || level === MAX_LEVEL;
    const plain = modelId === 0 && tableHash === 0 && top && seed === 0 && count === parts;
    if (!plain || entries.some((entry) => entry.size === 0)) {
      throw corrupt("the header is damaged (it is not that of a lossless picture)");
    }
  }
  const alphaInside = lossless && Boolean(flags & ALPHA);
  return {
    header: { width, height, modelId, tableHash, level, gray: Boolean(flags & GRAY), seed, lossless, alphaInside, reduced },
    headerBytes: reader.at,
    alphaBytes: alpha.size,
    sectionBytes: entries.map((entry) => entry.size),
    metadataBytes: metadata.size,
    fileBytes: reader.at + payload,
    alphaCrc: alpha.crc,
    sectionCrcs: entries.map((entry) => entry.crc),
    metadataCrc: metadata.crc,
    fileCrc,
  };
}

/**
 * Checks a file and takes it apart; see `parse` in container.py. truncated: the data may be shorter than the header says, as it
 * is while a file arrives.
 * @param {Uint8Array} data
 * @returns {Stream}
 */
export function parse(data, { truncated = false } = {}) {
  const info = readHeader(data);
  if (data.length > info.fileBytes) {
    throw corrupt("bytes are left over after the end of the compressed picture");
  }
  if (data.length < info.fileBytes) {
    if (info.header.lossless) {
      throw corrupt(
        `too little of the file is there (${data.length} of ${info.fileBytes} bytes): it is coded without loss, and parts ` +
          "of it give no coarser picture",
      );
    }
    if (!truncated) {
      throw corrupt(`the file is cut short (${data.length} of ${info.fileBytes} bytes)`);
    }
  } else {
    const crc = crc32(data.subarray(info.headerBytes), crc32(data.subarray(0, info.headerBytes - 4)));
    if (crc !== info.fileCrc) throw corrupt("the file is damaged (its CRC-32 does not match)");
  }
  return takeApart(data, info);
}

function takeApart(data, info) {
  let start = info.headerBytes;
  const alpha = piece(data, start, info.alphaBytes, info.alphaCrc, "alpha section");
  if (alpha === null) {
    throw tooShort(data, start + info.alphaBytes, info.alphaBytes ? "alpha section" : "header");
  }
  start += info.alphaBytes;
  const sections = [];
  info.sectionBytes.forEach((size, number) => {
    const cutBefore = number > 0 && sections[number - 1] === null;
    sections.push(cutBefore ? null : piece(data, start, size, info.sectionCrcs[number], `section ${number}`));
    start += size;
    if (sections[0] === null) throw tooShort(data, start, "first section");
  });
  const metadata = piece(data, start, info.metadataBytes, info.metadataCrc, "metadata section");
  return { header: info.header, alpha, sections, metadata: metadata ?? new Uint8Array() };
}

function piece(data, start, size, crc, name) {
  if (start + size > data.length) return null;
  const bytes = data.subarray(start, start + size);
  if (size && crc16(bytes) !== crc) throw corrupt(`the file is damaged (${name}: CRC-16 does not match)`);
  return bytes;
}

function tooShort(data, needed, name) {
  return corrupt(`too little of the file is there: ${data.length} bytes, and its ${name} ends at ${needed}`);
}

/** Reads header fields one after the other. */
class Reader {
  constructor(data, at) {
    this.data = data;
    this.at = at;
  }

  byte() {
    if (this.at >= this.data.length) throw new CutHeaderError();
    return this.data[this.at++];
  }

  u16() {
    const low = this.byte();
    return low + 256 * this.byte();
  }

  u32() {
    const low = this.u16();
    return low + 65536 * this.u16();
  }

  /** An unsigned number of at most 32 bits in its shortest form. */
  varint() {
    let value = 0;
    for (let index = 0; index < VARINT_BYTES; index++) {
      const byte = this.byte();
      value += (byte & 127) * 2 ** (7 * index);
      if (byte < 128) {
        if ((byte === 0 && index > 0) || value > 0xffffffff) break;
        return value;
      }
    }
    throw corrupt("the header is damaged (a number is not written in its shortest form or too large)");
  }

  entry() {
    const size = this.varint();
    return { size, crc: size ? this.u16() : 0 };
  }
}
