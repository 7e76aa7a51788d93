/** Reads what `python -m codec export --format onnx` writes: manifest.json and the integers beside it. */

const VERSION = 3; // of the manifest
const TYPES = { int16: Int16Array, int32: Int32Array };
/** Numbers that are written into this decoder; a model with others needs another decoder. */
const CONSTANTS = {
  max_level: 6400, table_total: 65536, table_precision: 24, unit: 256, kinds: 2, scales: 80, scales_per_octave: 8, log2_scale_min: -3,
  max_symbol: 255, max_escape: 32768, walk_steps: 256, fraction: 10, weight_bits: 12, activation_clip: 131072, patch: 16,
}; // prettier-ignore

/** @param {object} manifest @param {ArrayBuffer} buffer contents of the file of integers -> arrays by name */
export function readIntegers(manifest, buffer) {
  const arrays = new Map();
  for (const [name, { dtype, shape, offset, bytes }] of Object.entries(manifest.arrays.entries)) {
    const Type = TYPES[dtype];
    arrays.set(name, { shape, data: new Type(buffer, offset, bytes / Type.BYTES_PER_ELEMENT) });
  }
  return arrays;
}

/** Refuses a manifest that this decoder was not written for. */
export function checkManifest(manifest) {
  const known = manifest.format === "ldc-export" && manifest.version === VERSION && manifest.file_version === 1;
  if (!known || Object.entries(CONSTANTS).some(([name, value]) => manifest.constants[name] !== value)) {
    throw new Error("the model is not one that this page can decode with");
  }
}
