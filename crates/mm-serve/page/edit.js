// The view that changes an image: what is painted, the whole by strength, or by instruction.

import { actions } from "./cards.js";
import { Place } from "./draw.js";
import { FieldError, Fields, fillSampling, readSampling } from "./fields.js";
import { samplingFields, showFailure } from "./fields.js";
import { Painter } from "./mask.js";
import { announce, blobOf, byId, dataUrlOf, h, imagesIn, loadImage } from "./view.js";
import { pixelImage, scrubber, summary, withSettingsOf } from "./view.js";

const ROOM = 416;
const HINTS = {
  mask: "The image as it should be where it is painted.",
  strength: "The image as it should be.",
  instruction: "What to change, such as “make it red”.",
};

/** Edits with the engine of `context`, and adds what is finished to its history. */
export class EditView {
  #context;
  #fields;
  #painter;
  #source = null;
  #running = null;

  constructor(context) {
    this.#context = context;
    byId("edit-settings").append(...samplingFields("edit"));
    const form = byId("edit-form");
    this.#fields = new Fields(form);
    this.#painter = new Painter(byId("canvas-place"), this.#tools(), "canvas-hint");
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.#start();
    });
    form.addEventListener("keydown", (event) => {
      if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) form.requestSubmit();
    });
    for (const way of form.elements.way) way.addEventListener("change", () => this.#showWay());
    const { strength } = form.elements;
    strength.addEventListener("input", () => {
      byId("strength-value").textContent = strength.value;
    });
    byId("edit-stop").addEventListener("click", () => this.#running?.abort());
    byId("edit-file").addEventListener("change", (event) => {
      const [file] = event.target.files;
      if (file) this.#take(file);
      event.target.value = "";
    });
    this.#showWay();
  }

  /** Takes what is pasted or dropped; says whether there was something to take. */
  takeFrom(transfer) {
    const [file] = imagesIn(transfer);
    if (file) this.#take(file);
    return file !== undefined;
  }

  /** Takes an image that was made here. */
  async load(item) {
    const { prompt = "", ...settings } = item.settings;
    await this.#show(item.url, prompt || "the image");
    this.fill({ ...settings, prompt });
    this.#fields.form.elements.random.checked = true;
  }

  /** Writes settings into the form; the image and its mask stay. */
  fill({ prompt = "", strength, ...settings }) {
    const { elements } = this.#fields.form;
    this.#fields.clear();
    elements.prompt.value = prompt;
    fillSampling(this.#fields, settings);
    if (strength !== undefined) {
      elements.way.value = "strength";
      elements.strength.value = strength;
      byId("strength-value").textContent = elements.strength.value;
    }
    this.#showWay();
  }

  async #take(file) {
    try {
      await this.#show(await dataUrlOf(file), file.name);
    } catch (why) {
      this.#fields.problem("image", why.message);
    }
  }

  /** Shows an image. Formats other than PNG are turned into it, upright and without loss. */
  async #show(url, name) {
    const image = await loadImage(url);
    this.#source = url.startsWith("data:image/png") ? url : asPng(image);
    this.#fields.clear();
    byId("mask-problem").hidden = true;
    byId("edit-error").hidden = true;
    byId("edit-empty").hidden = true;
    byId("painter").hidden = false;
    byId("edit-result").replaceChildren(nothingYet());
    const longer = Math.max(image.naturalWidth, image.naturalHeight);
    byId("brush").max = Math.max(16, Math.ceil(longer / 4));
    this.#setSize(Math.max(2, Math.round(longer / 8)));
    await this.#painter.load(this.#source);
    const size = `${image.naturalWidth} × ${image.naturalHeight}`;
    byId("edit-name").textContent = name;
    byId("painter-title").textContent = `Image, ${size}`;
    announce(`Image loaded, ${size} pixels.`);
  }

  #setSize(size) {
    const brush = byId("brush");
    brush.value = size;
    byId("brush-value").textContent = brush.value;
  }

  #tools() {
    const [paint, erase] = document.getElementsByName("tool");
    const brush = byId("brush");
    brush.addEventListener("input", () => {
      byId("brush-value").textContent = brush.value;
      this.#painter.draw();
    });
    const change = (run, says) => () => this.#painter.change(run, says);
    byId("mask-undo").addEventListener("click", () => this.#painter.undo());
    byId("mask-invert").addEventListener("click", change((mask) => mask.invert(), "Inverted."));
    byId("mask-clear").addEventListener("click", change((mask) => mask.clear(), "Cleared."));
    return {
      isErasing: () => erase.checked,
      setErasing: (isErasing) => {
        (isErasing ? erase : paint).checked = true;
        announce(isErasing ? "Eraser." : "Paint.");
      },
      size: () => Number(brush.value),
      setSize: (size) => this.#setSize(size),
      changed: () => {
        if (this.#painter.mask.share() > 0) byId("mask-problem").hidden = true;
      },
    };
  }

  #way() {
    return this.#fields.form.elements.way.value;
  }

  #showWay() {
    const way = this.#way();
    byId("strength-field").hidden = way !== "strength";
    byId("edit-prompt-hint").textContent = HINTS[way];
    byId("painter").classList.toggle("plain", way !== "mask");
    byId("mask-problem").hidden = true;
  }

  async #read() {
    if (!this.#source) throw new FieldError("image", "Choose the image to change.");
    const prompt = this.#fields.text("prompt");
    if (prompt === "") throw new FieldError("prompt", "Write what the image should show.");
    const settings = { model: this.#context.model(), prompt, ...readSampling(this.#fields) };
    const request = { ...settings, image: blobOf(this.#source) };
    if (this.#way() === "mask") {
      if (this.#painter.mask.share() === 0) {
        throw new FieldError("mask", "Nothing is painted yet. Paint over what may change.");
      }
      request.mask = await this.#painter.mask.toBlob();
    }
    if (this.#way() === "strength") {
      settings.strength = this.#fields.number("strength", { max: 1 });
      request.strength = settings.strength;
    }
    for (const name of Object.keys(request)) if (request[name] === undefined) delete request[name];
    return { settings, request };
  }

  async #start() {
    if (this.#running) return;
    this.#running = new AbortController();
    this.#fields.clear();
    for (const id of ["edit-error", "mask-problem"]) byId(id).hidden = true;
    try {
      const { settings, request } = await this.#read();
      this.#setBusy(true);
      await this.#edit(settings, request);
    } catch (why) {
      this.#failed(why);
    }
    this.#running = null;
    this.#setBusy(false);
  }

  async #edit(settings, request) {
    const before = this.#source;
    const place = new Place(ROOM, "div");
    place.element.prepend(h("h2", { text: "Result" }));
    byId("edit-result").replaceChildren(place.element);
    place.element.scrollIntoView({ block: "nearest" });
    let made = null;
    try {
      for await (const event of this.#context.engine.edit(request, this.#running.signal)) {
        if (event.type === "partial") {
          place.partials[event.index] = event.url;
          place.show(event.url, `Denoising: estimate ${event.index + 1}`);
        } else if (!made) {
          const told = await withSettingsOf(event.url, settings);
          made = this.#context.history.add({ kind: "edit", url: event.url, settings: told });
        }
      }
    } finally {
      if (!made && place.partials.length > 0) place.stop();
      else if (!made) byId("edit-result").replaceChildren(nothingYet());
    }
    const partials = place.partials.filter(Boolean);
    byId("edit-result").replaceChildren(this.#result(before, made, partials));
    announce("The image is edited.");
  }

  #result(before, item, partials) {
    const pair = compare(before, item.url);
    const parts = [h("h2", { text: "Result" }), pair.element];
    if (partials.length > 0) parts.push(scrubber(partials, item.url, pair.show));
    parts.push(h("p", { class: "caption", text: item.settings.prompt }));
    parts.push(h("p", { class: "hint", text: summary(item.settings) }));
    const buttons = actions(this.#context, item, "result");
    parts.push(buttons);
    return h("div", { class: "card" }, ...parts);
  }

  #failed(why) {
    if (why.name === "AbortError") announce("Stopped.");
    else if ((why.field ?? why.param) === "mask") {
      const problem = byId("mask-problem");
      problem.hidden = false;
      problem.textContent = why.message;
      this.#painter.canvas.focus();
    } else if (!this.#context.refused(why)) {
      showFailure(byId("edit-error"), this.#fields, why, { "image[]": "image" });
    }
  }

  #setBusy(isBusy) {
    const hadFocus = document.activeElement;
    const [go, stop] = [byId("edit-go"), byId("edit-stop")];
    go.hidden = isBusy;
    stop.hidden = !isBusy;
    byId("edit-result").setAttribute("aria-busy", String(isBusy));
    if (isBusy && hadFocus === go) stop.focus();
    if (!isBusy && hadFocus === stop) go.focus();
    if (isBusy) announce("Editing.");
  }
}

/** Makes two images above each other with a slider that shows more of one or of the other. */
export function compare(before, after) {
  const under = pixelImage(before, "Before", ROOM);
  const over = pixelImage(after, "After", ROOM);
  over.classList.add("over");
  const line = h("div", { class: "line" });
  const slider = h("input", {
    type: "range",
    min: 0,
    max: 100,
    value: 50,
    "aria-label": "Compare before and after",
  });
  const move = () => {
    const at = Number(slider.value);
    over.style.clipPath = `inset(0 0 0 ${at}%)`;
    line.style.left = `${at}%`;
    slider.setAttribute("aria-valuetext", `${at} % before, ${100 - at} % after`);
  };
  slider.addEventListener("input", move);
  move();
  const pair = h("div", { class: "pair" }, under, over, line, slider);
  const names = h("div", { class: "names", "aria-hidden": "true" });
  names.append(h("span", { text: "Before" }), h("span", { text: "After" }));
  return {
    element: h("div", { class: "compare" }, pair, names),
    show: (url) => (over.src = url),
  };
}

const nothingYet = () =>
  h("div", { class: "empty" }, h("p", { text: "The result appears here." }));

function asPng(image) {
  const { naturalWidth: width, naturalHeight: height } = image;
  const canvas = h("canvas", { width, height });
  canvas.getContext("2d").drawImage(image, 0, 0);
  return canvas.toDataURL("image/png");
}
