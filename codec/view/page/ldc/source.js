/** The bytes of a file as they arrive. */

import { MAX_HEADER_BYTES, readHeader } from "./container.js";
import { LdcError } from "./errors.js";

const CHUNK = 1 << 16;

export class Source {
  /** reader: of a stream, or null for bytes that are all there. */
  constructor(bytes, reader = null) {
    this.bytes = bytes;
    this.reader = reader;
    this.length = reader ? 0 : bytes.length;
    this.reading = null;
  }

  static async fetch(url) {
    let response;
    try {
      response = await fetch(url);
    } catch {
      throw new LdcError("FormatError", "the file could not be fetched");
    }
    if (!response.ok) throw new LdcError("FormatError", `the file could not be fetched (the server answered ${response.status})`);
    return new Source(new Uint8Array(CHUNK), response.body.getReader());
  }

  /** Of a file on the disk no more is read than its header promises, and one byte. */
  static async of(file) {
    const read = async (size) => new Uint8Array(await file.slice(0, size).arrayBuffer());
    const head = await read(MAX_HEADER_BYTES);
    let size;
    try {
      size = readHeader(head).fileBytes + 1;
    } catch {
      return new Source(head); // what is wrong with it is said when it is read again
    }
    return new Source(await read(size));
  }

  get ended() {
    return this.reader === null;
  }

  /** What is there. */
  get data() {
    return this.bytes.subarray(0, this.length);
  }

  /** Waits for so many bytes, or the end -> whether they are there. milliseconds: but no longer than that. */
  async wait(length, milliseconds = Infinity) {
    const deadline = performance.now() + milliseconds;
    while (this.length < length && !this.ended) {
      this.reading ??= this.read();
      const left = deadline - performance.now();
      if (left <= 0) return false;
      const late = left === Infinity ? [] : [new Promise((resolve) => setTimeout(resolve, left))];
      await Promise.race([this.reading, ...late]);
    }
    return this.length >= length;
  }

  async read() {
    try {
      const { value, done } = await this.reader.read();
      if (done) this.reader = null;
      else this.append(value);
    } catch {
      this.reader = null; // the connection broke: what is there is a cut file
    } finally {
      this.reading = null;
    }
  }

  append(piece) {
    const length = this.length + piece.length;
    if (length > this.bytes.length) {
      const larger = new Uint8Array(Math.max(length, 2 * this.bytes.length));
      larger.set(this.data);
      this.bytes = larger;
    }
    this.bytes.set(piece, this.length);
    this.length = length;
  }

  /** No more is wanted. */
  close() {
    this.reader?.cancel().catch(() => {});
    this.reader = null;
  }
}
