/** The trellis that says which of two quantisers is in force, and the order of a pass's latents; see codec/coding/trellis.py. */

const STEPS = 256; // latents in a walk

function odd(bits) {
  let n = 0;
  for (; bits; bits &= bits - 1) n ^= 1;
  return n;
}

const POLYNOMIALS = { tcq4: [0o5, 0o2], tcq8: [0o13, 0o4], tcq32: [0o61, 0o12], tcq128: [0o237, 0o124] };

/** name -> next (2 * state + parity -> state) and kind (state -> 0 or 1). */
export function trellis(name) {
  if (!(name in POLYNOMIALS)) throw new Error(`there is no trellis ${name}`);
  const [h0, h1] = POLYNOMIALS[name];
  const states = 2 ** Math.floor(Math.log2(h0));
  const next = new Uint8Array(2 * states);
  const kind = new Uint8Array(states);
  for (let s = 0; s < states; s++) {
    kind[s] = odd(s & (h1 >> 1));
    for (const p of [0, 1]) next[2 * s + p] = (2 * s + (p ^ odd(s & (h0 >> 1)))) % states;
  }
  return { next, kind };
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
