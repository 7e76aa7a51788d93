/**
 * What the page's JavaScript makes of files, for the tests: node decode.mjs EXPORT < lines of JSON > lines of JSON.
 *
 * {"path", "cut", "scalar"} -> {"codes", "alpha"}: digests as in tests/support/codes.py; or {"kind", "message"} of a refusal.
 * {"parse": base64, "truncated"} -> {"sections": [sizes or null], "alpha": size, "metadata": size}, or a refusal.
 */

import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { createInterface } from "node:readline";

const page = new URL("../../codec/view/page/ldc/", import.meta.url);
const { unpackAlpha } = await import(new URL("alpha.js", page));
const { parse } = await import(new URL("container.js", page));
const { LdcError } = await import(new URL("errors.js", page));
const { checkMetadata } = await import(new URL("metadata.js", page));
const { ExactModel } = await import(new URL("model.js", page));

const bytes = (path) => new Uint8Array(readFileSync(path));
const manifest = JSON.parse(readFileSync(`${process.argv[2]}/manifest.json`, "utf8"));
const integers = bytes(`${process.argv[2]}/${manifest.arrays.file}`).buffer;
const models = new Map();

function model(scalar) {
  if (!models.has(scalar)) {
    models.set(scalar, new ExactModel(manifest, integers, { scalar }));
  }
  return models.get(scalar);
}

/** Latents -> the digest of tokens and v_hat, channels first. */
function digest(latents, groups) {
  const { h, w, tokens } = latents;
  const channels = groups.at(-1).stop;
  const planes = new Int32Array(channels * h * w);
  groups.forEach(({ start, stop }, k) => {
    const n = stop - start;
    for (let p = 0; p < h * w; p++) for (let i = 0; i < n; i++) planes[(start + i) * h * w + p] = latents.groups[k][p * n + i];
  });
  const hash = createHash("sha256");
  hash.update(`(${h / 2}, ${w / 2})`).update(new Uint8Array(tokens.buffer));
  return hash.update(`(${channels}, ${h}, ${w})`).update(new Uint8Array(planes.buffer)).digest("hex");
}

async function answer(task) {
  if (task.parse !== undefined) {
    const stream = parse(new Uint8Array(Buffer.from(task.parse, "base64")), { truncated: task.truncated });
    await checkMetadata(stream.metadata);
    const metadata = stream.metadata.length;
    return { sections: stream.sections.map((s) => s && s.length), alpha: stream.alpha.length, metadata };
  }
  const data = bytes(task.path);
  const stream = parse(task.cut === undefined ? data : data.subarray(0, task.cut), { truncated: task.cut !== undefined });
  const exact = model(Boolean(task.scalar));
  const { header, alpha } = stream;
  await checkMetadata(stream.metadata);
  const pixels = alpha.length ? await unpackAlpha(alpha, header.width, header.height) : null;
  const codes = digest(exact.decode(stream), exact.config.groups);
  return { codes, alpha: pixels && createHash("sha256").update(pixels).digest("hex") };
}

for await (const line of createInterface({ input: process.stdin })) {
  let said;
  try {
    said = await answer(JSON.parse(line));
  } catch (error) {
    if (!(error instanceof LdcError)) throw error;
    said = { kind: error.kind, message: error.message };
  }
  console.log(JSON.stringify(said));
}
