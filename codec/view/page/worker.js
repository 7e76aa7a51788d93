/**
 * Decodes files away from the page, so that it stays responsive. One file at a time; the page ends this worker to give up on one.
 *
 * From the page: open {source: {url} or {file}, cut, backend}, show {groups}, save, compare {pixels}, digest.
 * To the page: header {info}, progress {stage, share}, size, tile {x, y, width, height, pixels}, picture {...}, error {kind, message, cut},
 * saved {blob}, compared {rmse, most}, digest {codes}.
 */

import { unpackAlpha } from "./ldc/alpha.js";
import { MAGIC_BYTES, parse, readHeader } from "./ldc/container.js";
import { CutHeaderError, LdcError, unsupported } from "./ldc/errors.js";
import { unpack } from "./ldc/lossless.js";
import { checkMetadata } from "./ldc/metadata.js";
import { ExactModel } from "./ldc/model.js";
import { writePng } from "./ldc/png.js";
import { Source } from "./ldc/source.js";
import { loadSynthesis } from "./ldc/synthesis.js";

const PATIENCE = 250; // milliseconds to wait for more of the file before what is there is shown
const here = new URL("./", import.meta.url);

let loading = null; // the model, once it is wanted
let current = null; // the file that is open

const post = (type, values = {}, transfer = []) => self.postMessage({ type, ...values }, transfer);

async function fetchBytes(url) {
  const response = await fetch(url);
  if (!response.ok) throw new Error(`a part of this page is missing: ${url}`);
  const bytes = await response.arrayBuffer();
  const start = new Uint8Array(bytes, 0, 2);
  if (start[0] !== 0x1f || start[1] !== 0x8b) return bytes; // or a server unpacked it already
  return new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"))).arrayBuffer();
}

async function load(backend) {
  const folder = new URL("model/", here);
  const response = await fetch(new URL("manifest.json", folder));
  if (!response.ok) throw new Error("the page was not built: its model is missing");
  const manifest = await response.json();
  const [integers, graph] = await Promise.all(
    [manifest.arrays.file, manifest.graphs.synthesis.file].map((name) => fetchBytes(new URL(name, folder))),
  );
  const exact = new ExactModel(manifest, integers);
  const synthesis = loadSynthesis(new URL("runtime/", here), new Uint8Array(graph), manifest, backend, fetchBytes);
  synthesis.catch(() => {}); // it is waited for when the codes are there
  return { exact, synthesis };
}

async function open({ source: from, cut = false, backend = "auto" }) {
  const started = performance.now();
  current = null;
  const source = from.url ? await Source.fetch(from.url) : await Source.of(from.file);
  try {
    const info = await header(source);
    post("header", { info });
    if (info.header.lossless) {
      current = await openLossless(info, source, started);
      return;
    }
    loading ??= load(backend);
    loading.catch(() => (loading = null)); // the next file tries again
    const { exact, synthesis } = await loading;
    exact.check(info.header);
    const file = { info, exact, synthesis, started, gray: info.header.gray, alpha: null };
    await decodeSections(file, source, cut);
    current = file;
  } finally {
    source.close();
  }
}

/** The picture itself is in the file: no model is needed. */
async function openLossless(info, source, started) {
  await source.wait(info.fileBytes + 1);
  const stream = parse(source.data);
  await checkMetadata(stream.metadata);
  const { width, height, gray, alphaInside } = info.header;
  const rgba = new Uint8ClampedArray(width * height * 4);
  await unpack(stream, (x, y, w, h, pixels) => {
    if (x === 0 && y === 0) post("size", { width, height });
    for (let i = 0; i < h; i++) rgba.set(pixels.subarray(i * w * 4, (i + 1) * w * 4), ((y + i) * width + x) * 4);
    post("tile", { x, y, width: w, height: h, pixels }, [pixels.buffer]);
  });
  const all = performance.now() - started;
  const milliseconds = { codes: 0, picture: all, all };
  post("picture", { groups: 0, final: true, sections: 0, all: 0, backend: "lossless", milliseconds });
  return { info, rgba, gray, alpha: alphaInside ? true : null };
}

/** The header, as soon as it is there. */
async function header(source) {
  await source.wait(MAGIC_BYTES);
  for (;;) {
    try {
      return readHeader(source.data);
    } catch (error) {
      if (source.ended || !(error instanceof CutHeaderError)) throw error;
    }
    await source.wait(source.length + 1);
  }
}

/** Group by group, as the bytes arrive. */
async function decodeSections(file, source, cut) {
  const { info, exact } = file;
  let end = info.headerBytes + info.alphaBytes;
  const ends = info.sectionBytes.map((size) => (end += size));
  const last = ends.length - 1;
  let whole = false;

  /** The sections that are there, checked. A file that ended too early is refused, unless it was asked for. */
  const look = () => {
    if (source.ended || source.length > info.fileBytes) whole = true;
    return parse(source.data, { truncated: !whole || cut });
  };

  await source.wait(ends[0]);
  if (!source.ended && ends[0] === info.fileBytes) await source.wait(info.fileBytes + 1);
  const first = look();
  const { header } = info;
  file.alpha = first.alpha.length ? await unpackAlpha(first.alpha, header.width, header.height) : null;
  const latents = exact.start(first);
  file.latents = latents;
  file.sections = 0;
  for (let k = 0; k < last; k++) {
    const wanted = ends[k + 1] === info.fileBytes ? info.fileBytes + 1 : ends[k + 1]; // one more, to see that there is none
    await source.wait(wanted, PATIENCE);
    if (source.length < ends[k + 1] && !source.ended) {
      await show(file, k, false);
      await source.wait(wanted);
    } else if (wanted > info.fileBytes) await source.wait(wanted);
    const section = look().sections[k + 1];
    exact.group(latents, section, (share) => post("progress", { stage: "codes", share: (k + share) / last }));
    if (section) file.sections = k + 1;
  }
  if (!whole) {
    await source.wait(info.fileBytes + 1);
  }
  await checkMetadata(look().metadata);
  file.codes = performance.now() - file.started;
  await show(file, file.sections, true);
}

/** Makes the picture of the first `groups` groups. final: of all that will come. */
async function show(file, groups, final) {
  const { exact, gray, alpha } = file;
  const { width, height, level } = file.info.header;
  const all = exact.config.groups.length;
  let latents = file.latents;
  if (!latents.done || groups < file.sections) {
    latents = latents.first(groups);
    while (!latents.done) {
      const k = latents.groups.length;
      exact.group(latents, null, (share) => post("progress", { stage: "codes", share: (k + share) / all }));
    }
  }
  const synthesis = await file.synthesis;
  const began = performance.now();
  post("size", { width, height });
  file.rgba ??= new Uint8ClampedArray(width * height * 4);
  const paint = (x, y, w, h, rgb, from, stride) => {
    const pixels = new Uint8ClampedArray(w * h * 4);
    for (let i = 0; i < h; i++) {
      let at = (from + i * stride) * 3;
      let to = i * w * 4;
      for (let j = 0; j < w; j++, at += 3, to += 4) {
        let [r, g, b] = [rgb[at], rgb[at + 1], rgb[at + 2]];
        if (gray) r = g = b = Math.floor((r + g + b + 1) / 3);
        pixels[to] = r;
        pixels[to + 1] = g;
        pixels[to + 2] = b;
        pixels[to + 3] = alpha ? alpha[(y + i) * width + x + j] : 255;
      }
      file.rgba.set(pixels.subarray(i * w * 4, (i + 1) * w * 4), ((y + i) * width + x) * 4);
    }
    post("tile", { x, y, width: w, height: h, pixels }, [pixels.buffer]);
  };
  await synthesis.run(latents, level, width, height, paint, (share) => post("progress", { stage: "picture", share }));
  const now = performance.now();
  post("picture", {
    groups, final, sections: file.sections, all, backend: synthesis.backend,
    milliseconds: { codes: file.codes ?? began - file.started, picture: now - began, all: now - file.started },
  }); // prettier-ignore
}

async function compare({ pixels }) {
  const { rgba } = current;
  let total = 0;
  let most = 0;
  for (let at = 0; at < rgba.length; at += 4) {
    for (let k = at; k < at + 3; k++) {
      const d = Math.abs(rgba[k] - pixels[k]);
      total += d * d;
      if (d > most) most = d;
    }
  }
  post("compared", { rmse: Math.sqrt(total / ((rgba.length / 4) * 3)), most });
}

async function save() {
  const { rgba, gray, alpha, info } = current;
  post("saved", { blob: await writePng(rgba, info.header.width, info.header.height, { gray, alpha: alpha !== null }) });
}

/** SHA-256 over shapes and values of tokens and v_hat, as in the project's tests. */
async function digest() {
  if (current.info.header.lossless) throw unsupported("the file is coded without loss: it has no codes of a model");
  const { latents, exact } = current;
  const { h, w, tokens } = latents;
  const { channels, groups } = exact.config;
  const planes = new Int32Array(channels * h * w);
  groups.forEach(({ start, stop }, k) => {
    const n = stop - start;
    for (let p = 0; p < h * w; p++) for (let i = 0; i < n; i++) planes[(start + i) * h * w + p] = latents.groups[k][p * n + i];
  });
  const text = new Blob([`(${h / 2}, ${w / 2})`, tokens, `(${channels}, ${h}, ${w})`, planes]);
  const hash = new Uint8Array(await crypto.subtle.digest("SHA-256", await text.arrayBuffer()));
  post("digest", { codes: Array.from(hash, (byte) => byte.toString(16).padStart(2, "0")).join("") });
}

const handlers = {
  open,
  show: ({ groups }) => show(current, groups, true),
  save,
  compare,
  digest,
};

/** One sentence about an error. */
function explain(error) {
  if (error instanceof LdcError) return error.message;
  if (error instanceof RangeError) return "there is not enough memory for this picture here";
  return `the page failed: ${error.message ?? error}`;
}

let queue = Promise.resolve();
self.onmessage = ({ data }) => {
  queue = queue
    .then(() => handlers[data.type](data))
    .catch((error) => {
      const isCut = error instanceof LdcError && error.message.startsWith("the file is cut short");
      post("error", { message: explain(error), kind: error.kind ?? "Error", cut: isCut });
    });
};
