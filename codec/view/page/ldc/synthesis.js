/** From latents to pixels: the network g_s and its filter in onnxruntime-web, tile by tile as in codec/coding/tiles.py. */

const PATCH = 16; // pixels a side that a latent position stands for
const HALO = 8; // positions of context around a tile: more than the network sees
const TOLERANCE = 1; // grey levels that WebGPU may be away from WebAssembly

/** The spans of n positions: [start, stop] to keep and [low, high] to compute. */
export function* spans(n, tile) {
  for (let start = 0; start < n; start += tile) {
    const stop = Math.min(start + tile, n);
    yield [start, stop, Math.max(0, start - HALO), Math.min(n, stop + HALO)];
  }
}

export class Synthesis {
  /** ort: a runtime; session: of the graph; backend: its name; manifest: of the export. */
  constructor(ort, session, backend, manifest) {
    Object.assign(this, { ort, session, backend });
    this.groups = manifest.config.groups;
    this.channels = manifest.config.channels;
    this.tile = manifest.constants.tile;
  }

  /**
   * Latents whose groups are all done -> calls paint(x, y, w, h, rgb, from, stride) for each tile, cut to the
   * picture: its first pixel is number `from` of rgb, which has `stride` pixels a row.
   */
  async run(latents, level, width, height, paint, progress = () => {}) {
    const { h, w } = latents;
    let done = 0;
    for (const [a, b, low, high] of spans(h, this.tile)) {
      for (const [c, d, left, right] of spans(w, this.tile)) {
        const rgb = await this.tileOf(latents, low, high, left, right, level);
        const [x, y] = [c * PATCH, a * PATCH];
        const stride = (right - left) * PATCH;
        const from = ((a - low) * stride + (c - left)) * PATCH;
        const [tw, th] = [Math.min(d * PATCH, width) - x, Math.min(b * PATCH, height) - y];
        if (tw > 0 && th > 0) paint(x, y, tw, th, rgb, from, stride);
        done += (b - a) * (d - c);
        progress(done / (h * w));
      }
    }
  }

  /** -> uint8, the pixels of the positions given, interleaved. */
  async tileOf(latents, low, high, left, right, level) {
    const [h, w] = [high - low, right - left];
    const planes = new Int32Array(this.channels * h * w);
    this.groups.forEach(({ start, stop }, k) => {
      const n = stop - start;
      const v = latents.groups[k];
      for (let y = 0; y < h; y++) {
        for (let x = 0; x < w; x++) {
          const from = ((low + y) * latents.w + left + x) * n;
          const to = y * w + x;
          for (let i = 0; i < n; i++) planes[(start + i) * h * w + to] = v[from + i];
        }
      }
    });
    return this.pixels(planes, h, w, level);
  }

  async pixels(planes, h, w, level) {
    const input = new this.ort.Tensor("int32", planes, [1, this.channels, h, w]);
    const { rgb } = await this.session.run({ v_hat: input, level: new this.ort.Tensor("int32", Int32Array.of(level), [1]) });
    const data = await rgb.getData();
    rgb.dispose();
    return data;
  }
}

/**
 * folder: where the runtime's files are; graph: bytes; backend: "wasm", "webgpu" or "auto", which takes WebGPU where there is one
 * and its pictures are those of WebAssembly. fetchBytes(url) -> ArrayBuffer.
 */
export async function loadSynthesis(folder, graph, manifest, backend, fetchBytes) {
  if (backend !== "wasm" && (await hasGpu(backend === "webgpu"))) {
    try {
      return await onGpu(folder, graph, manifest, fetchBytes);
    } catch (error) {
      if (backend === "webgpu") throw error;
    }
  }
  const ort = await runtime(new URL("ort.wasm.js", folder), new URL("ort.wasm.bin", folder), fetchBytes);
  return session(ort, graph, manifest, "wasm");
}

async function session(ort, graph, manifest, backend) {
  const options = { executionProviders: [backend], logSeverityLevel: 3 };
  return new Synthesis(ort, await ort.InferenceSession.create(graph, options), backend, manifest);
}

/** software: an adapter that is no card will do. */
async function hasGpu(software) {
  // the runtime waits for the card through JSPI
  if (!globalThis.navigator?.gpu || !("Suspending" in WebAssembly)) return false;
  const adapter = await navigator.gpu.requestAdapter().catch(() => null);
  return Boolean(adapter) && (software || !(adapter.info?.isFallbackAdapter ?? adapter.isFallbackAdapter));
}

async function onGpu(folder, graph, manifest, fetchBytes) {
  const ort = await runtime(new URL("ort.webgpu.js", folder), new URL("ort.webgpu.bin", folder), fetchBytes);
  const made = [];
  for (const name of ["webgpu", "wasm"]) {
    made.push(await session(ort, graph, manifest, name));
  }
  const apart = await difference(...made);
  await made[1].session.release();
  if (apart > TOLERANCE) throw new Error(`WebGPU is off by up to ${apart} grey levels`);
  return made[0];
}

/** Largest difference in grey levels between two backends on a small picture. */
async function difference(a, b) {
  const [h, w] = [4, 6];
  const planes = Int32Array.from({ length: a.channels * h * w }, (_, i) => ((i * 7919) % 2048) - 1024);
  const [x, y] = [await a.pixels(planes, h, w, 3200), await b.pixels(planes, h, w, 3200)];
  return x.reduce((most, value, i) => Math.max(most, Math.abs(value - y[i])), 0);
}

async function runtime(script, binary, fetchBytes) {
  const [ort, wasm] = await Promise.all([import(script), fetchBytes(binary)]);
  ort.env.wasm.numThreads = 1;
  ort.env.wasm.wasmBinary = wasm;
  ort.env.logLevel = "error";
  return ort;
}
