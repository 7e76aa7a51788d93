/** The page: it opens files, shows what the worker sends, and compares with an original. */

import { Decoder } from "./decoder.js";
import { Viewport } from "./viewport.js";

const $ = (id) => document.getElementById(id);
const query = new URLSearchParams(location.search);
const backend = query.get("backend") ?? "auto";

const state = { name: "", source: null, header: null, picture: null, original: null };
const view = new Viewport($("stage"), $("plane"), (scale) => {
  $("scale").textContent = `${scale < 0.1 ? (100 * scale).toFixed(1) : Math.round(100 * scale)} %`;
  placeDivider();
});

const decoder = new Decoder(
  {
    header: ({ info }) => showHeader(info),
    progress: ({ stage, share }) => progress(stage, share),
    size: ({ width, height }) => size(width, height),
    tile: ({ x, y, width, height, pixels }) =>
      $("decoded").getContext("2d").putImageData(new ImageData(pixels, width, height), x, y),
    picture: showPicture,
    error: refuse,
    saved: ({ blob }) => download(blob),
    compared: ({ rmse, most }) => facts("errors", { RMSE: rmse.toFixed(3), "PSNR, dB": psnr(rmse), "Largest error": most }),
    digest: ({ codes }) => {
      $("codes").textContent = codes;
      $("codes").hidden = false;
    },
  },
  backend,
);

function psnr(rmse) {
  return rmse ? (20 * Math.log10(255 / rmse)).toFixed(2) : "no error";
}

function say(text) {
  $("status").textContent = text;
}

function facts(id, values) {
  const parts = Object.entries(values).flatMap(([name, value]) => {
    const [term, text] = [document.createElement("dt"), document.createElement("dd")];
    term.textContent = name;
    text.textContent = value;
    return [term, text];
  });
  $(id).replaceChildren(...parts);
}

const number = new Intl.NumberFormat("en", { maximumFractionDigits: 2 });
const pixels = (count) => (count < 1e5 ? number.format(count) : `${number.format(count / 1e6)} MP`);
const seconds = (ms) => `${(ms / 1000).toFixed(2)} s`;

// opening

/** source: {url} or {file}; cut: a file that ends too early is wanted too. */
function open(name, source, cut = false) {
  clear();
  Object.assign(state, { name, source });
  document.title = `${name} - LDC viewer`;
  $("name").textContent = name;
  $("empty").hidden = true;
  document.body.dataset.state = "working";
  progress("start", 0);
  decoder.open(source, { cut });
}

function clear() {
  Object.assign(state, { header: null, picture: null, original: null });
  for (const id of ["plane", "problem", "cut", "zoom", "badge", "about", "prefix", "comparison", "effort", "codes", "divider"]) {
    $(id).hidden = true;
  }
  $("reference").hidden = true;
  $("decoded").width = $("decoded").height = 0;
  $("save").disabled = $("original").disabled = true;
}

const stages = { start: "Reading", codes: "Decoding", picture: "Painting" };

function progress(stage, share) {
  $("progress").hidden = $("stop").hidden = false;
  if (stage === "start") $("progress").removeAttribute("value");
  else $("progress").value = share;
  if (state.stage !== stage) say(`${stages[stage]} ${state.name}`);
  state.stage = stage;
}

function idle(text) {
  $("progress").hidden = $("stop").hidden = true;
  state.stage = "";
  say(text);
}

function showHeader(info) {
  state.header = info;
  const { width, height, level, gray, modelId, seed, lossless, alphaInside, reduced } = info.header;
  const bpp = (8 * info.fileBytes) / (width * height);
  facts("facts", {
    Size: `${width} x ${height}`,
    Pixels: `${pixels(width * height)}${gray ? ", gray" : ""}${info.alphaBytes || alphaInside ? ", alpha" : ""}`,
    File: `${number.format(info.fileBytes)} bytes`,
    Rate: `${bpp.toFixed(3)} bits per pixel`,
    Quality: lossless && !reduced ? "lossless" : `${number.format(level / 64)}${reduced ? ", reduced colours" : ""}`,
    ...(lossless ? {} : { Model: modelId }),
    ...(seed ? { Seed: seed } : {}),
    ...(info.metadataBytes ? { "EXIF and XMP": `${number.format(info.metadataBytes)} bytes` } : {}),
  });
  $("about").hidden = false;
}

function size(width, height) {
  const canvas = $("decoded");
  if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
  $("plane").hidden = $("zoom").hidden = false;
  $("plane").style.width = `${width}px`;
  $("plane").style.height = `${height}px`;
  view.show(width, height);
}

/** Bytes of the file that so many groups take. */
function bytesOf(groups) {
  const { headerBytes, alphaBytes, sectionBytes } = state.header;
  return sectionBytes.slice(0, groups + 1).reduce((sum, n) => sum + n, headerBytes + alphaBytes);
}

function partOf(groups, all) {
  return groups ? `${groups} of ${all} groups` : "Tokens only";
}

function showPicture(picture) {
  const { groups, final, sections, all, milliseconds } = picture;
  const { width, height } = state.header.header;
  const used = `${partOf(groups, all)}, the first ${number.format(bytesOf(groups))} bytes`;
  $("badge").hidden = final && groups === all;
  $("badge").textContent = final ? used : `Preview: ${used}`;
  $("used").textContent = groups === all ? `All ${all} groups` : used;
  $("decoded").setAttribute("aria-label", `${state.name}, ${width} x ${height} pixels${groups < all ? `, ${used}` : ""}`);
  if (!final) return;
  const first = !state.picture;
  state.picture = picture;
  Object.assign($("groups"), { max: sections, value: groups });
  $("prefix").hidden = sections === 0;
  $("effort").hidden = all === 0;
  $("save").disabled = $("original").disabled = false;
  if (first) {
    const name = { wasm: "WebAssembly", webgpu: "WebGPU" }[picture.backend];
    facts("times", { Codes: seconds(milliseconds.codes), Picture: seconds(milliseconds.picture), Network: name });
  }
  document.body.dataset.seconds = JSON.stringify(["all", "codes", "picture"].map((part) => milliseconds[part] / 1000));
  document.body.dataset.state = "done";
  idle(`${state.name} in ${seconds(first ? milliseconds.all : milliseconds.picture)}${sections < all ? "; the file was cut short" : ""}`);
  if (state.original) measure();
}

function refuse({ message, cut }) {
  clear();
  $("reason").textContent = `${message}.`;
  $("problem").hidden = false;
  $("cut").hidden = !cut;
  document.body.dataset.state = "refused";
  idle("No picture");
}

// comparing

async function compareWith(file) {
  const { width, height } = state.header.header;
  let bitmap;
  try {
    bitmap = await createImageBitmap(file, { premultiplyAlpha: "none" });
  } catch {
    say(`${file.name} is no picture that the browser can read`);
    return;
  }
  if (bitmap.width !== width || bitmap.height !== height) {
    say(`${file.name} has ${bitmap.width} x ${bitmap.height} pixels, the decoded picture ${width} x ${height}`);
    return;
  }
  const canvas = $("reference");
  Object.assign(canvas, { width, height, hidden: false });
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.drawImage(bitmap, 0, 0);
  bitmap.close();
  state.original = context;
  $("comparison").hidden = $("divider").hidden = false;
  split($("split").value);
  say(`Compared with ${file.name}`);
  measure();
}

function measure() {
  const { width, height } = state.header.header;
  const { data } = state.original.getImageData(0, 0, width, height);
  decoder.ask("compare", { pixels: data }, [data.buffer]);
}

function split(percent) {
  $("split").value = percent;
  $("reference").style.clipPath = `inset(0 0 0 ${percent}%)`;
  placeDivider();
}

function placeDivider() {
  const { style } = $("divider");
  style.left = `${view.x + (view.width * view.scale * $("split").value) / 100}px`;
  const top = Math.max(view.y, 0);
  style.top = `${top}px`;
  style.height = `${Math.min(view.y + view.height * view.scale, $("stage").clientHeight) - top}px`;
}

// saving

function download(blob) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = `${state.name.replace(/\.ldc$/i, "")}.png`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  idle(`${link.download} was saved`);
}

// what the reader does

function take(file) {
  if (state.picture && !/\.ldc$/i.test(file.name)) compareWith(file);
  else open(file.name, { file }); // and say what is wrong with it
}

function choose(id) {
  $(id).value = "";
  $(id).click();
}

for (const id of ["open", "choose"]) $(id).onclick = () => choose("picker");
$("original").onclick = () => choose("pickOriginal");
$("picker").onchange = ({ target: { files } }) => files[0] && open(files[0].name, { file: files[0] });
$("pickOriginal").onchange = ({ target: { files } }) => files[0] && compareWith(files[0]);
$("save").onclick = () => decoder.ask("save");
$("digest").onclick = () => decoder.ask("digest");
$("cut").onclick = () => open(state.name, state.source, true);
$("stop").onclick = () => {
  decoder.stop();
  refuse({ message: "decoding was stopped" });
};
$("groups").onchange = ({ target }) => decoder.ask("show", { groups: Number(target.value) });
$("groups").oninput = ({ target }) => ($("used").textContent = partOf(Number(target.value), state.picture.all));
$("split").oninput = ({ target }) => split(target.value);
$("in").onclick = () => view.in();
$("out").onclick = () => view.out();
$("fit").onclick = () => view.fit();
$("scale").onclick = () => view.zoomTo(1);
$("divider").onpointerdown = (event) => {
  event.stopPropagation();
  $("divider").setPointerCapture(event.pointerId);
};
$("divider").onpointermove = (event) => {
  if (!$("divider").hasPointerCapture(event.pointerId)) return;
  const at = (event.clientX - $("stage").getBoundingClientRect().left - view.x) / (view.width * view.scale);
  split(Math.min(Math.max(100 * at, 0), 100));
};

let dragged = 0;
addEventListener("dragenter", (event) => {
  event.preventDefault();
  $("drop").hidden = !++dragged;
});
addEventListener("dragleave", () => ($("drop").hidden = !--dragged));
addEventListener("dragover", (event) => event.preventDefault());
addEventListener("drop", (event) => {
  event.preventDefault();
  dragged = 0;
  $("drop").hidden = true;
  const [file] = event.dataTransfer.files;
  if (file) take(file);
});

// what the address names

const sources = query.getAll("src");
const nameOf = (src) => decodeURIComponent(src.split(/[?#]/)[0].split("/").pop());
for (const [k, src] of sources.entries()) $("files").add(new Option(nameOf(src), k));
document.querySelector(".files").hidden = sources.length < 2;
const openSource = (k) => open(nameOf(sources[k]), { url: new URL(sources[k], location.href).href });
$("files").onchange = ({ target }) => openSource(target.value);
document.body.dataset.state = "empty";
if (sources.length) openSource(0);
