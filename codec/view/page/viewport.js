/** A picture that can be enlarged and moved: with wheel, drag, pinch and keys. Two canvases lie on each other, parted by a divider. */

const LARGEST = 32; // CSS pixels to a pixel of the picture
const STEP = 1.25;
const MOVE = 60; // CSS pixels an arrow key moves

export class Viewport {
  /** stage: the element that shows a part of `plane`, which holds the canvases; changed(scale) after each change. */
  constructor(stage, plane, changed) {
    Object.assign(this, { stage, plane, changed });
    this.width = this.height = 1;
    this.scale = 1;
    this.x = this.y = 0;
    this.fitted = true;
    this.pointers = new Map();
    new ResizeObserver(() => (this.fitted ? this.fit() : this.place())).observe(stage);
    stage.addEventListener("wheel", (event) => this.wheel(event), { passive: false });
    stage.addEventListener("pointerdown", (event) => this.down(event));
    stage.addEventListener("pointermove", (event) => this.moved(event));
    for (const name of ["pointerup", "pointercancel"]) {
      stage.addEventListener(name, (event) => this.pointers.delete(event.pointerId));
    }
    stage.addEventListener("dblclick", (event) => {
      if (!event.target.closest("button")) this.fitted ? this.zoomTo(1, event) : this.fit();
    });
    stage.addEventListener("keydown", (event) => this.key(event));
  }

  show(width, height) {
    const same = width === this.width && height === this.height;
    Object.assign(this, { width, height });
    if (!same || this.fitted) this.fit();
  }

  get fitScale() {
    const { clientWidth, clientHeight } = this.stage;
    const margin = Math.min(32, clientWidth / 12);
    return Math.min((clientWidth - margin) / this.width, (clientHeight - margin) / this.height, 4);
  }

  fit() {
    this.scale = Math.max(this.fitScale, 1 / 64);
    const { clientWidth, clientHeight } = this.stage;
    this.x = (clientWidth - this.width * this.scale) / 2;
    this.y = (clientHeight - this.height * this.scale) / 2;
    this.fitted = true;
    this.place();
  }

  /** Enlarges about a point of the window, or the middle. */
  zoomTo(scale, at = null) {
    const box = this.stage.getBoundingClientRect();
    const px = at ? at.clientX - box.left : box.width / 2;
    const py = at ? at.clientY - box.top : box.height / 2;
    const next = Math.min(Math.max(scale, Math.min(this.fitScale, 1) / 2), LARGEST);
    this.x = px - ((px - this.x) * next) / this.scale;
    this.y = py - ((py - this.y) * next) / this.scale;
    this.scale = next;
    this.fitted = false;
    this.place();
  }

  in() {
    this.zoomTo(this.scale * STEP);
  }

  out() {
    this.zoomTo(this.scale / STEP);
  }

  move(dx, dy) {
    this.x += dx;
    this.y += dy;
    this.fitted = false;
    this.place();
  }

  place() {
    // some of the picture stays in sight
    const { clientWidth, clientHeight } = this.stage;
    const keep = 40;
    this.x = Math.min(Math.max(this.x, keep - this.width * this.scale), clientWidth - keep);
    this.y = Math.min(Math.max(this.y, keep - this.height * this.scale), clientHeight - keep);
    this.plane.style.transform = `translate(${this.x}px, ${this.y}px) scale(${this.scale})`;
    this.plane.classList.toggle("pixels", this.scale >= 2);
    this.changed(this.scale);
  }

  wheel(event) {
    event.preventDefault();
    this.zoomTo(this.scale * Math.exp(-event.deltaY * (event.deltaMode ? 0.05 : 0.0015)), event);
  }

  down(event) {
    if (event.target.closest("button, input, .divider")) return;
    this.stage.setPointerCapture(event.pointerId);
    this.pointers.set(event.pointerId, event);
  }

  moved(event) {
    const before = this.pointers.get(event.pointerId);
    if (!before) return;
    if (this.pointers.size === 2) {
      const [other] = [...this.pointers.values()].filter((p) => p.pointerId !== event.pointerId);
      const apart = (p) => Math.hypot(p.clientX - other.clientX, p.clientY - other.clientY);
      const middle = { clientX: (event.clientX + other.clientX) / 2, clientY: (event.clientY + other.clientY) / 2 };
      this.zoomTo((this.scale * apart(event)) / Math.max(apart(before), 1), middle);
    } else this.move(event.clientX - before.clientX, event.clientY - before.clientY);
    this.pointers.set(event.pointerId, event);
  }

  key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target !== this.stage) return;
    const actions = {
      "+": () => this.in(),
      "=": () => this.in(),
      "-": () => this.out(),
      0: () => this.fit(),
      1: () => this.zoomTo(1),
      ArrowLeft: () => this.move(MOVE, 0),
      ArrowRight: () => this.move(-MOVE, 0),
      ArrowUp: () => this.move(0, MOVE),
      ArrowDown: () => this.move(0, -MOVE),
    };
    if (!(event.key in actions)) return;
    event.preventDefault();
    actions[event.key]();
  }
}
