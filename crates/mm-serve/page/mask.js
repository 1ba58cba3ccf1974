// A mask that is painted over an image, by pointer or by keyboard, in pixels of the image.

import { announce, fit, h, loadImage } from "./view.js";

const MAX_UNDO = 30;
const ROOM = 416;

/** The pixels that may change, each 1 or 0. It knows nothing of the page. */
export class Mask {
  #undo = [];

  constructor(width, height) {
    this.width = width;
    this.height = height;
    this.pixels = new Uint8Array(width * height);
  }

  /** Remembers the pixels, so that what follows can be undone. */
  remember() {
    this.#undo.push(this.pixels.slice());
    if (this.#undo.length > MAX_UNDO) this.#undo.shift();
  }

  /** Goes back to what was remembered last; says whether there was something. */
  undo() {
    const before = this.#undo.pop();
    if (before) this.pixels = before;
    return before !== undefined;
  }

  /** Sets the pixels of a disc that is `size` wide, around a point. */
  dab(x, y, size, value) {
    const radius = size / 2;
    const [left, top] = [edge(x, size), edge(y, size)];
    for (let row = Math.max(0, top); row < Math.min(this.height, top + size); row += 1) {
      for (let col = Math.max(0, left); col < Math.min(this.width, left + size); col += 1) {
        const far = Math.hypot(col + 0.5 - left - radius, row + 0.5 - top - radius);
        if (far <= radius) this.pixels[row * this.width + col] = value;
      }
    }
  }

  /** Dabs along a line. */
  line(from, to, size, value) {
    const steps = Math.max(1, Math.ceil(Math.hypot(to.x - from.x, to.y - from.y)));
    for (let step = 0; step <= steps; step += 1) {
      const share = step / steps;
      const x = from.x + (to.x - from.x) * share;
      this.dab(x, from.y + (to.y - from.y) * share, size, value);
    }
  }

  /** Swaps what may change and what is kept. */
  invert() {
    this.pixels = this.pixels.map((value) => 1 - value);
  }

  /** Lets nothing change. */
  clear() {
    this.pixels = new Uint8Array(this.width * this.height);
  }

  /** Returns the share of pixels that may change. */
  share() {
    return this.pixels.reduce((sum, value) => sum + value, 0) / this.pixels.length;
  }

  /** Returns a PNG file in which what may change is transparent. */
  toBlob() {
    const canvas = h("canvas", { width: this.width, height: this.height });
    const context = canvas.getContext("2d");
    const data = context.createImageData(this.width, this.height);
    this.pixels.forEach((value, at) => (data.data[at * 4 + 3] = value ? 0 : 255));
    context.putImageData(data, 0, 0);
    return new Promise((resolve) => canvas.toBlob(resolve, "image/png"));
  }
}

/** Returns the first pixel of a disc around a point: discs stand on whole pixels. */
const edge = (center, size) => Math.round(center - size / 2);

/** An image with its mask above it. */
export class Painter {
  #cursor;
  #last = null;
  #isHeld = false;

  /** `tools` has functions `isErasing`, `size`, `setErasing`, `setSize` and `changed`. */
  constructor(place, tools, describedBy) {
    this.tools = tools;
    this.image = h("img", { alt: "", class: "pixels", draggable: "false" });
    this.canvas = h("canvas", {
      tabindex: "0",
      role: "application",
      "aria-label": "Mask over the image",
      "aria-describedby": describedBy,
    });
    this.ring = h("div", { class: "ring" });
    place.replaceChildren(h("div", { class: "sheet" }, this.image, this.canvas, this.ring));
    this.#listen();
  }

  /** Shows an image with an empty mask. */
  async load(url) {
    const loaded = await loadImage(url);
    this.mask = new Mask(loaded.naturalWidth, loaded.naturalHeight);
    this.canvas.width = this.mask.width;
    this.canvas.height = this.mask.height;
    this.image.onload = () => fit(this.image, ROOM);
    this.image.src = url;
    this.#cursor = { x: Math.floor(this.mask.width / 2), y: Math.floor(this.mask.height / 2) };
    this.draw();
  }

  /** Draws the mask. */
  draw() {
    const { width, height, pixels } = this.mask;
    const context = this.canvas.getContext("2d");
    const data = context.createImageData(width, height);
    const color = getComputedStyle(this.canvas).getPropertyValue("--mask").trim();
    const [red, green, blue] = color.split(" ").map(Number);
    pixels.forEach((value, at) => {
      if (value) data.data.set([red, green, blue, 168], at * 4);
    });
    context.putImageData(data, 0, 0);
    this.tools.changed();
    this.#drawRing();
  }

  /** Changes the mask by a function and draws it; the change can be undone. */
  change(run, says) {
    this.mask.remember();
    run(this.mask);
    this.draw();
    announce(`${says} ${this.#painted()}`);
  }

  /** Undoes the last change. */
  undo() {
    const isDone = this.mask.undo();
    this.draw();
    announce(isDone ? `Undone. ${this.#painted()}` : "Nothing to undo.");
  }

  #painted() {
    return `${Math.round(this.mask.share() * 100)} % of the image is painted.`;
  }

  #drawRing() {
    const { width, height } = this.mask;
    const size = this.tools.size();
    const { x, y } = this.#center();
    this.ring.style.left = `${(edge(x, size) / width) * 100}%`;
    this.ring.style.top = `${(edge(y, size) / height) * 100}%`;
    this.ring.style.width = `${(size / width) * 100}%`;
    this.ring.style.height = `${(size / height) * 100}%`;
  }

  #listen() {
    const { canvas } = this;
    canvas.addEventListener("pointerdown", (event) => {
      if (event.button !== 0) return;
      canvas.setPointerCapture(event.pointerId);
      this.mask.remember();
      this.#last = this.#pointAt(event);
      this.#stroke(this.#last);
    });
    canvas.addEventListener("pointermove", (event) => {
      const point = this.#pointAt(event);
      this.#cursor = { x: Math.floor(point.x), y: Math.floor(point.y) };
      if (this.#last) this.#stroke(point);
      else this.#drawRing();
    });
    for (const end of ["pointerup", "pointercancel"]) {
      canvas.addEventListener(end, () => (this.#last = null));
    }
    canvas.addEventListener("keydown", (event) => this.#key(event));
    canvas.addEventListener("keyup", (event) => {
      if (event.key === " ") this.#isHeld = false;
    });
    canvas.addEventListener("blur", () => (this.#isHeld = false));
  }

  #pointAt(event) {
    const box = this.canvas.getBoundingClientRect();
    const x = ((event.clientX - box.left) / box.width) * this.mask.width;
    return { x, y: ((event.clientY - box.top) / box.height) * this.mask.height };
  }

  #stroke(point) {
    this.mask.line(this.#last, point, this.tools.size(), this.tools.isErasing() ? 0 : 1);
    this.#last = point;
    this.draw();
  }

  #key(event) {
    const moves = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
    const move = moves[event.key];
    if (move) this.#move(move, event.shiftKey ? Math.max(4, this.tools.size()) : 1);
    else if (event.key === " ") this.#press(event.repeat);
    else if (event.key === "[") this.tools.setSize(this.tools.size() - 1);
    else if (event.key === "]") this.tools.setSize(this.tools.size() + 1);
    else if (event.key.toLowerCase() === "z" && (event.ctrlKey || event.metaKey)) this.undo();
    else if (event.key.toLowerCase() === "e" && !event.ctrlKey && !event.metaKey) {
      this.tools.setErasing(!this.tools.isErasing());
    } else return;
    event.preventDefault();
    this.draw();
  }

  #center() {
    return { x: this.#cursor.x + 0.5, y: this.#cursor.y + 0.5 };
  }

  #move([right, down], far) {
    const from = this.#center();
    const { width, height } = this.mask;
    this.#cursor = {
      x: Math.min(width - 1, Math.max(0, this.#cursor.x + right * far)),
      y: Math.min(height - 1, Math.max(0, this.#cursor.y + down * far)),
    };
    if (this.#isHeld) {
      this.mask.line(from, this.#center(), this.tools.size(), this.tools.isErasing() ? 0 : 1);
    }
    const { x, y } = this.#cursor;
    const isPainted = this.mask.pixels[y * width + x] === 1;
    announce(`Row ${y + 1}, column ${x + 1}, ${isPainted ? "painted" : "kept"}.`);
  }

  #press(isRepeated) {
    if (isRepeated) return;
    this.mask.remember();
    this.#isHeld = true;
    const { x, y } = this.#center();
    this.mask.dab(x, y, this.tools.size(), this.tools.isErasing() ? 0 : 1);
    announce(`${this.tools.isErasing() ? "Erased" : "Painted"}. ${this.#painted()}`);
  }
}
