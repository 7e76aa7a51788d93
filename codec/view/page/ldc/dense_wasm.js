/**
 * The inner loop of the prior as a WebAssembly module of 128-bit vectors, put together here byte by byte: no compiler is needed to build
 * it and nothing opaque is kept. It computes what `denseScalar` of kernels.js says, of which it gives the same bits (all sums are exact).
 *
 *     dense(x, rows, inputs, w, b, outputs, out, add, mode)
 *
 * Four rows and four outputs at a time: eight sums of two doubles stay in registers.
 */

const I32 = 0x7f;
const V128 = 0x7b;
const VOID = 0x40;

const leb = (n) => {
  const out = [];
  do {
    out.push((n & 127) | (n > 127 ? 128 : 0));
    n >>>= 7;
  } while (n);
  return out;
};
const sleb = (n) => {
  const out = [];
  for (;;) {
    const byte = n & 127;
    n >>= 7;
    if ((n === 0 && !(byte & 64)) || (n === -1 && byte & 64)) return [...out, byte];
    out.push(byte | 128);
  }
};
const text = (s) => [...leb(s.length), ...new TextEncoder().encode(s)];
const section = (id, body) => [id, ...leb(body.length), ...body];
const vector = (items) => [...leb(items.length), ...items.flat()];

const get = (i) => [0x20, ...leb(i)];
const set = (i) => [0x21, ...leb(i)];
const i32 = (n) => [0x41, ...sleb(n)];
const f64 = (x) => [0x44, ...new Uint8Array(Float64Array.of(x).buffer)];
const add = [0x6a];
const mul = [0x6c];
const shl = [0x74];
const lessUnsigned = [0x49];
const simd = (op) => [0xfd, ...leb(op)];
const load = (offset) => [...simd(0), 3, ...leb(offset)];
const loadSplat = (offset) => [...simd(10), 3, ...leb(offset)];
const store = (offset) => [...simd(11), 3, ...leb(offset)];
const splat = simd(20);
const floor = simd(117);
const vadd = simd(240);
const vmul = simd(242);
const vmin = simd(244);
const vmax = simd(245);
/** do { body } while (index < limit) */
const loop = (body, index, limit) => [0x03, VOID, ...body, ...get(index), ...get(limit), ...lessUnsigned, 0x0d, 0, 0x0b];
const when = (condition, body) => [...condition, 0x04, VOID, ...body, 0x0b];

function code(clip, half) {
  // parameters, then locals
  const [X, ROWS, INPUTS, W, B, OUTPUTS, OUT, ADD, MODE] = [0, 1, 2, 3, 4, 5, 6, 7, 8];
  const [OUTPUT, ROW, PANEL, AT, TO, STRIDE, OUT_STRIDE] = [9, 10, 11, 12, 13, 14, 15];
  const XR = [16, 17, 18, 19];
  const [W0, W1, V] = [20, 21, 22];
  const SUM = [23, 24, 25, 26, 27, 28, 29, 30]; // row r, outputs 0..1 and 2..3: SUM[2 r] and SUM[2 r + 1]

  const inner = [
    ...get(PANEL), ...load(0), ...set(W0),
    ...get(PANEL), ...load(16), ...set(W1),
    ...XR.flatMap((x, r) => [
      ...get(x), ...get(AT), ...add, ...loadSplat(0), ...set(V),
      ...get(V), ...get(W0), ...vmul, ...get(SUM[2 * r]), ...vadd, ...set(SUM[2 * r]),
      ...get(V), ...get(W1), ...vmul, ...get(SUM[2 * r + 1]), ...vadd, ...set(SUM[2 * r + 1]),
    ]),
    ...get(PANEL), ...i32(32), ...add, ...set(PANEL),
    ...get(AT), ...i32(8), ...add, ...set(AT),
  ]; // prettier-ignore
  const constant = (x) => [...f64(x), ...splat];
  const finish = SUM.flatMap((sum, k) => {
    const place = 16 * (k & 1);
    return [
      ...get(sum), ...floor, ...set(V),
      ...when([...get(MODE), ...i32(1), 0x46],
        [...get(V), ...get(V), ...constant(0.125), ...vmul, ...(half ? [...constant(half), ...vadd] : []), ...floor, ...vmax, ...set(V)]),
      ...when(get(ADD), [...get(V), ...get(ADD), ...get(TO), ...get(OUT), 0x6b, ...add, ...load(place), ...vadd, ...set(V)]),
      ...get(TO),
      ...get(V), ...constant(-clip), ...vmax, ...constant(clip), ...vmin,
      ...store(place),
      ...(place ? [...get(TO), ...get(OUT_STRIDE), ...add, ...set(TO)] : []),
    ]; // prettier-ignore
  });
  const row = [
    ...get(X), ...get(ROW), ...get(STRIDE), ...mul, ...add, ...set(XR[0]),
    ...[1, 2, 3].flatMap((r) => [...get(XR[r - 1]), ...get(STRIDE), ...add, ...set(XR[r])]),
    // where this panel's weights and biases are
    ...get(B), ...get(OUTPUT), ...i32(3), ...shl, ...add, ...set(PANEL),
    ...get(PANEL), ...load(0), ...set(W0), ...get(PANEL), ...load(16), ...set(W1),
    ...SUM.flatMap((sum, k) => [...get(k & 1 ? W1 : W0), ...set(sum)]),
    ...get(W), ...get(OUTPUT), ...get(STRIDE), ...mul, ...add, ...set(PANEL),
    ...i32(0), ...set(AT),
    ...loop(inner, AT, STRIDE),
    ...get(OUT), ...get(ROW), ...get(OUT_STRIDE), ...mul, ...add, ...get(OUTPUT), ...i32(3), ...shl, ...add, ...set(TO),
    ...finish,
    ...get(ROW), ...i32(4), ...add, ...set(ROW),
  ]; // prettier-ignore
  const body = [
    ...get(INPUTS), ...i32(3), ...shl, ...set(STRIDE),
    ...get(OUTPUTS), ...i32(3), ...shl, ...set(OUT_STRIDE),
    ...i32(0), ...set(OUTPUT),
    ...loop([
      ...i32(0), ...set(ROW),
      ...loop(row, ROW, ROWS),
      ...get(OUTPUT), ...i32(4), ...add, ...set(OUTPUT),
    ], OUTPUT, OUTPUTS),
    0x0b,
  ]; // prettier-ignore
  const locals = vector([[...leb(11), I32], [...leb(11), V128]]);
  return [...locals, ...body];
}

/** Bytes of the module; it imports its memory as env.memory. clip: bound of the results; half: added to x / 8 before it is rounded down. */
export function denseModule(clip, half) {
  const body = code(clip, half);
  return new Uint8Array([
    0x00, 0x61, 0x73, 0x6d, 1, 0, 0, 0,
    ...section(1, vector([[0x60, ...vector(new Array(9).fill([I32])), ...vector([])]])),
    ...section(2, vector([[...text("env"), ...text("memory"), 2, 0, 1]])),
    ...section(3, vector([[0]])),
    ...section(7, vector([[...text("dense"), 0, 0]])),
    ...section(10, vector([[...leb(body.length), ...body]])),
  ]); // prettier-ignore
}
