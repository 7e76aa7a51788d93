/** Reads a safetensors file: the length of a JSON header, the header, the numbers. */

const TYPES = { I16: Int16Array, I32: Int32Array, F32: Float32Array, F64: Float64Array, U8: Uint8Array, I8: Int8Array };

/**
 * @param {ArrayBuffer} buffer
 * @returns {{metadata: Record<string, string>, arrays: Map<string, {shape: number[], data: ArrayLike<number>}>}}
 */
export function readSafetensors(buffer, wanted = () => true) {
  const size = Number(new DataView(buffer).getBigUint64(0, true));
  const { __metadata__: metadata = {}, ...entries } = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 8, size)));
  const arrays = new Map();
  for (const [name, { dtype, shape, data_offsets: [start, stop] }] of Object.entries(entries)) {
    if (!wanted(name)) continue;
    const Type = TYPES[dtype];
    if (!Type) throw new Error(`${name} has the type ${dtype}, which is not read here`);
    arrays.set(name, { shape, data: new Type(buffer.slice(8 + size + start, 8 + size + stop)) });
  }
  return { metadata, arrays };
}
