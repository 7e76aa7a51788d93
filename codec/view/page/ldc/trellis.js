/** The trellis that says which of two quantisers is in force, and the order of a pass's latents; see codec/coding/trellis.py. */

const STEPS = 256; // latents in a walk

/** The manifest's lists -> next (2 * state + parity -> state) and kind (state -> 0 or 1). */
export function readTrellis({ next, kind }) {
  return { next: Uint8Array.from(next.flat()), kind: Uint8Array.from(kind) };
}

/**
 * The coded latents of a pass (scale not 0) by rising scale, equal ones by place, dealt to walks.
 * @param {Uint8Array} scale
 * @returns {{places: Int32Array, width: number, steps: number}} step k of walk w is places[k * width + w], the last step may be short
 */
export function walks(scale) {
  const start = new Int32Array(257);
  for (let i = 0; i < scale.length; i++) start[scale[i] + 1]++;
  start[1] = 0; // scale 0 is not coded
  for (let s = 1; s < 257; s++) start[s] += start[s - 1];
  const places = new Int32Array(start[256]);
  for (let i = 0; i < scale.length; i++) if (scale[i]) places[start[scale[i]]++] = i;
  const width = Math.ceil(places.length / STEPS);
  return { places, width, steps: width ? Math.ceil(places.length / width) : 0 };
}
