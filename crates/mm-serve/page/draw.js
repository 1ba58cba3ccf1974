// The view that draws images of a caption and shows how they come out of the noise.

import { card } from "./cards.js";
import { FieldError, Fields, field, fillSampling, readSampling } from "./fields.js";
import { samplingFields, showFailure } from "./fields.js";
import { pngTexts } from "./png.js";
import { announce, byId, h, imagesIn, pixelImage } from "./view.js";
import { settingsFrom, withSettingsOf } from "./view.js";

const SIZES = ["auto", "32x32", "64x64", "128x128", "256x256"];
const ROOM_ALONE = 512;
const ROOM_SHARED = 256;

/** Draws with the engine of `context`, and adds what is finished to its history. */
export class DrawView {
  #context;
  #fields;
  #running = null;

  constructor(context) {
    this.#context = context;
    const size = h("input", { name: "size", value: "auto", list: "sizes", autocomplete: "off" });
    const count = h("input", { name: "n", value: "1", inputmode: "numeric", autocomplete: "off" });
    const sizes = h("datalist", { id: "sizes" }, ...SIZES.map((value) => h("option", { value })));
    const first = [field("draw-size", "Size", size), field("draw-count", "Count", count)];
    byId("draw-settings").append(...samplingFields("draw", first), sizes);
    const form = byId("draw-form");
    this.#fields = new Fields(form);
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.#start();
    });
    form.addEventListener("keydown", (event) => {
      if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) form.requestSubmit();
    });
    if (matchMedia("(max-width: 760px)").matches) form.querySelector("details").open = false;
    byId("draw-stop").addEventListener("click", () => this.#running?.abort());
    byId("draw-restore").addEventListener("change", (event) => {
      const [file] = event.target.files;
      if (file) this.take([file]);
      event.target.value = "";
    });
  }

  /** Takes a file that was dropped or pasted: its texts are the settings. */
  async take(files) {
    const bytes = new Uint8Array(await files[0].arrayBuffer());
    const settings = settingsFrom(await pngTexts(bytes));
    if (Object.keys(settings).length === 0) {
      this.#note(`“${files[0].name}” holds no settings. To change the image, open it in Edit.`);
    } else {
      this.fill(settings);
      this.#note("The settings of the image were restored.");
    }
  }

  /** Takes what is pasted or dropped; says whether there was something to take. */
  takeFrom(transfer) {
    const files = imagesIn(transfer);
    if (files.length > 0) this.take(files);
    return files.length > 0;
  }

  /** Writes settings into the form. */
  fill(settings) {
    const { elements } = this.#fields.form;
    this.#fields.clear();
    fillSampling(this.#fields, settings);
    if (settings.prompt !== undefined) elements.prompt.value = settings.prompt;
    if (settings.size !== undefined) elements.size.value = settings.size;
    elements.n.value = "1";
    if (settings.model) this.#context.chooseModel(settings.model);
  }

  #note(text) {
    const note = byId("draw-note");
    note.closest("details").open = true;
    note.hidden = false;
    note.textContent = text;
  }

  #read() {
    const prompt = this.#fields.text("prompt");
    if (prompt === "") throw new FieldError("prompt", "Write what the image should show.");
    const count = this.#fields.number("n", { whole: true, min: 1 }) ?? 1;
    const size = this.#fields.text("size") || "auto";
    return { model: this.#context.model(), prompt, n: count, size, ...readSampling(this.#fields) };
  }

  async #start() {
    if (this.#running) return;
    this.#fields.clear();
    byId("draw-error").hidden = true;
    byId("draw-note").hidden = true;
    let settings;
    try {
      settings = this.#read();
    } catch (why) {
      showFailure(byId("draw-error"), this.#fields, why);
      return;
    }
    this.#running = new AbortController();
    this.#setBusy(true);
    const drawing = new Drawing(this.#context, settings);
    byId("draw-empty").hidden = true;
    byId("drawn").replaceChildren(...drawing.places);
    byId("drawn").firstElementChild.scrollIntoView({ block: "nearest" });
    try {
      for await (const event of this.#context.engine.draw(settings, this.#running.signal)) {
        await drawing.take(event);
      }
      announce(settings.n === 1 ? "The image is finished." : "The images are finished.");
    } catch (why) {
      this.#failed(why);
    }
    drawing.end();
    byId("draw-empty").hidden = byId("drawn").childElementCount > 0;
    this.#running = null;
    this.#setBusy(false);
  }

  #failed(why) {
    if (why.name === "AbortError") announce("Stopped.");
    else if (!this.#context.refused(why)) showFailure(byId("draw-error"), this.#fields, why);
  }

  #setBusy(isBusy) {
    const hadFocus = document.activeElement;
    const [go, stop] = [byId("draw-go"), byId("draw-stop")];
    go.hidden = isBusy;
    stop.hidden = !isBusy;
    byId("drawn").setAttribute("aria-busy", String(isBusy));
    if (isBusy && hadFocus === go) stop.focus();
    if (!isBusy && hadFocus === stop) go.focus();
    if (isBusy) announce("Drawing.");
  }
}

/** The images of one request: places that fill while they are drawn. */
class Drawing {
  #images;

  constructor(context, settings) {
    this.context = context;
    this.settings = settings;
    this.room = settings.n === 1 ? ROOM_ALONE : ROOM_SHARED;
    this.#images = Array.from({ length: Math.min(settings.n, 64) }, () => new Place(this.room));
  }

  get places() {
    return this.#images.map((image) => image.element);
  }

  async take({ type, image: at, url, index }) {
    const place = this.#images[at];
    if (!place) return;
    if (type === "partial") {
      place.partials[index] = url;
      place.show(url, `Denoising: estimate ${index + 1}`);
    } else {
      const { n, ...asked } = this.settings;
      const settings = await withSettingsOf(url, { ...asked, seed: asked.seed + at });
      const item = this.context.history.add({ kind: "draw", url, settings });
      const partials = place.partials.filter(Boolean);
      const made = card(this.context, item, { partials, room: this.room });
      place.element.replaceWith(made);
      place.isDone = true;
    }
  }

  /** Keeps what was seen of images that are not finished, and says so. */
  end() {
    for (const place of this.#images) {
      if (place.isDone) continue;
      if (place.partials.length === 0) place.element.remove();
      else place.stop();
    }
  }
}

/** The place of an image that is not finished. */
export class Place {
  partials = [];
  isDone = false;

  constructor(room, tag = "li") {
    this.room = room;
    this.text = h("p", { class: "hint", text: "Waiting for its turn…" });
    this.frame = h("div", { class: "frame waiting" });
    this.frame.style.width = `${room}px`;
    this.element = h(tag, { class: "card" }, this.frame, this.text);
  }

  /** Shows an estimate. */
  show(url, text) {
    if (!this.image) {
      this.image = pixelImage(url, "Estimate of the image that is being drawn", this.room);
      this.frame.replaceChildren(this.image);
    }
    this.image.src = url;
    this.text.textContent = text;
  }

  /** Says that nothing more comes. */
  stop() {
    this.frame.classList.remove("waiting");
    this.text.textContent = `Stopped at estimate ${this.partials.length}; not kept.`;
  }
}
