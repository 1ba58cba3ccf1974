// The view that reads an image: its caption, in the words of a model in this browser.

import { announce, byId, dataUrlOf, imagesIn, pixelImage } from "./view.js";

const ROOM = 384;

/** Reads with the engine of `context`. */
export class ReadView {
  #context;
  #running = null;

  constructor(context) {
    this.#context = context;
    byId("read-file").addEventListener("change", (event) => {
      const [file] = event.target.files;
      if (file) this.#read(file);
      event.target.value = "";
    });
  }

  /** Takes what is pasted or dropped; says whether there was something to take. */
  takeFrom(transfer) {
    const [file] = imagesIn(transfer);
    if (file) this.#read(file);
    return Boolean(file);
  }

  async #read(file) {
    this.#running?.abort();
    const running = new AbortController();
    this.#running = running;
    const [text, error, place] = [byId("read-text"), byId("read-error"), byId("read-image")];
    error.hidden = true;
    byId("read-empty").hidden = true;
    text.textContent = "Reading…";
    const url = await dataUrlOf(file);
    place.replaceChildren(pixelImage(url, "The image that is read", ROOM));
    try {
      const request = { model: this.#context.model(), image: file };
      const caption = await this.#context.engine.read(request, running.signal);
      text.textContent = caption || "The model wrote nothing.";
      announce(`Caption: ${text.textContent}`);
    } catch (why) {
      if (why.name === "AbortError") return;
      text.textContent = "";
      error.textContent = why.message;
      error.hidden = false;
    }
  }
}
