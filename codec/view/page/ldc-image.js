/**
 * <ldc-image src="photo.ldc" fallback="photo.jpg" alt="..."></ldc-image>: the picture of an .ldc file, or the fallback where it cannot be
 * decoded. Events: load, error. All elements of a page share one worker.
 *
 *     <script type="module" src="viewer/ldc-image.js"></script>
 */

import { Decoder } from "./decoder.js";

const waiting = [];
let active = null;

const decoder = new Decoder({
  size: ({ width, height }) => active?.size(width, height),
  tile: (tile) => active?.tile(tile),
  picture: ({ final }) => final && finish((element) => element.shown()),
  error: ({ message }) => finish((element) => element.failed(message)),
});

function finish(what) {
  const element = active;
  active = null;
  if (element) what(element);
  next();
}

function next() {
  if (active) return;
  active = waiting.shift() ?? null;
  if (active) decoder.open({ url: new URL(active.getAttribute("src"), document.baseURI).href });
}

class LdcImage extends HTMLElement {
  static observedAttributes = ["src", "alt"];

  constructor() {
    super();
    this.attachShadow({ mode: "open" });
    const sheet = new CSSStyleSheet();
    sheet.replaceSync(":host { display: inline-block } canvas, img { display: block; width: 100%; height: auto }");
    this.shadowRoot.adoptedStyleSheets = [sheet];
  }

  connectedCallback() {
    this.begin();
  }

  disconnectedCallback() {
    const at = waiting.indexOf(this);
    if (at >= 0) waiting.splice(at, 1);
  }

  attributeChangedCallback(name, before, now) {
    if (before === now || !this.isConnected) return;
    if (name === "src") this.begin();
    else this.canvas?.setAttribute("aria-label", this.alt);
  }

  get alt() {
    return this.getAttribute("alt") ?? "";
  }

  begin() {
    this.canvas = null;
    if (!this.hasAttribute("src")) return;
    if (!waiting.includes(this)) waiting.push(this);
    next();
  }

  size(width, height) {
    if (this.canvas) return;
    this.canvas = Object.assign(document.createElement("canvas"), { width, height });
    this.canvas.setAttribute("role", "img");
    this.canvas.setAttribute("aria-label", this.alt);
    this.shadowRoot.replaceChildren(this.canvas);
  }

  tile({ x, y, width, height, pixels }) {
    this.canvas.getContext("2d").putImageData(new ImageData(pixels, width, height), x, y);
  }

  shown() {
    this.dispatchEvent(new Event("load"));
  }

  failed(message) {
    const fallback = this.getAttribute("fallback");
    const image = fallback ? Object.assign(new Image(), { src: fallback, alt: this.alt }) : null;
    this.shadowRoot.replaceChildren(...(image ? [image] : []));
    this.dispatchEvent(new CustomEvent("error", { detail: message }));
  }
}

customElements.define("ldc-image", LdcImage);
