/** The worker that decodes, from the page's side. */

export class Decoder {
  /** on: what to do with a message of each type; see worker.js. backend: "auto", "wasm" or "webgpu". */
  constructor(on, backend = "auto") {
    this.on = on;
    this.backend = backend;
    this.busy = 0;
    this.worker = null;
  }

  /** Opens {url} or {file}; what was being done is given up. */
  open(source, { cut = false } = {}) {
    if (this.busy) this.stop();
    this.ask("open", { source, cut, backend: this.backend });
  }

  ask(type, values = {}, transfer = []) {
    this.worker ??= this.start();
    this.busy++;
    this.worker.postMessage({ type, ...values }, transfer);
  }

  start() {
    const worker = new Worker(new URL("worker.js", import.meta.url), { type: "module" });
    worker.onmessage = ({ data }) => {
      if (["error", "saved", "compared", "digest"].includes(data.type) || (data.type === "picture" && data.final)) this.busy--;
      this.on[data.type]?.(data);
    };
    worker.onerror = (event) => {
      this.stop();
      this.on.error?.({ message: "the page failed: its decoder could not be started", kind: "Error", detail: event.message });
    };
    return worker;
  }

  /** Gives up on what is being done, and gives the memory back. */
  stop() {
    this.worker?.terminate();
    this.worker = null;
    this.busy = 0;
  }
}
