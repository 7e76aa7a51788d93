/** zlib data of which no more is ever held than it may have. */

/**
 * @param {BlobPart[]} pieces
 * @param {number} most bytes; throws an Error for more, and for data that is damaged, cut off or followed by something
 * @returns {Promise<Uint8Array>}
 */
export async function inflate(pieces, most) {
  const source = new Blob(pieces).stream().pipeThrough(new DecompressionStream("deflate"));
  const parts = [];
  let length = 0;
  for (const reader = source.getReader(); ; ) {
    const { value, done } = await reader.read();
    if (done) break;
    length += value.length;
    if (length > most) {
      await reader.cancel();
      throw new Error("too much data");
    }
    parts.push(value);
  }
  const out = new Uint8Array(length);
  let at = 0;
  for (const part of parts) {
    out.set(part, at);
    at += part.length;
  }
  return out;
}
