// The view that talks with a model, in text and images on both sides.

import { actions } from "./cards.js";
import { Fields, field, showFailure } from "./fields.js";
import { action, announce, byId, dataUrlOf, h, imagesIn, loadImage, pixelImage } from "./view.js";

const SAVED = "mm-chat";
const MAX_ATTACHED = 8;
const ROOM = 256;
const EXAMPLES = ["draw a red 7", "draw a blue K on gray", "draw two letters and name them"];

/** Talks with the engine of `context`. */
export class ChatView {
  #context;
  #fields;
  #turns = [];
  #attached = [];
  #running = null;

  constructor(context) {
    this.#context = context;
    byId("chat-settings").append(...settingsFields());
    const form = byId("chat-form");
    this.#fields = new Fields(form);
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.#send();
    });
    byId("message").addEventListener("keydown", (event) => {
      if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
      event.preventDefault();
      form.requestSubmit();
    });
    byId("chat-settings").addEventListener("keydown", (event) => {
      if (event.key === "Enter") event.preventDefault();
    });
    byId("chat-stop").addEventListener("click", () => this.#running?.abort());
    byId("chat-new").addEventListener("click", () => this.#restart());
    byId("attach").addEventListener("change", (event) => {
      this.#take([...event.target.files]);
      event.target.value = "";
    });
    byId("examples").append(...EXAMPLES.map((text) => this.#example(text)));
    this.#restore();
  }

  /** Takes what is pasted or dropped; says whether there was something to take. */
  takeFrom(transfer) {
    const files = imagesIn(transfer);
    if (files.length > 0) this.#take(files);
    return files.length > 0;
  }

  /** Puts an image into the message that is being written. */
  attach(url, name) {
    if (this.#attached.length >= MAX_ATTACHED) {
      this.#fields.problem("message", `A message holds at most ${MAX_ATTACHED} images.`);
      return;
    }
    this.#attached.push({ url, name });
    this.#showAttached();
    announce(`${name} added to your message.`);
  }

  async #take(files) {
    this.#fields.clear();
    for (const file of files) {
      try {
        const url = await dataUrlOf(file);
        await loadImage(url);
        this.attach(url, file.name || "Pasted image");
      } catch {
        this.#fields.problem("message", `“${file.name}” cannot be read as an image.`);
      }
    }
  }

  #showAttached() {
    const items = this.#attached.map((image, at) => {
      const remove = () => {
        this.#attached.splice(at, 1);
        this.#showAttached();
        byId("message").focus();
      };
      const shown = h("img", { src: image.url, alt: image.name, class: "thumb" });
      return h("li", {}, shown, action("Remove", image.name, remove));
    });
    byId("attached").replaceChildren(...items);
  }

  #example(text) {
    const write = () => {
      byId("message").value = text;
      byId("message").focus();
    };
    return h("li", {}, h("button", { type: "button", text, onclick: write }));
  }

  #send() {
    if (this.#running) return;
    this.#fields.clear();
    const text = this.#fields.text("message");
    if (text === "" && this.#attached.length === 0) {
      this.#fields.problem("message", "Write a message or add an image.");
      return;
    }
    const parts = this.#attached.map(({ url }) => ({ type: "image", url }));
    if (text !== "") parts.push({ type: "text", text });
    let settings;
    try {
      settings = this.#settings();
    } catch (why) {
      showFailure(byId("message-problem"), this.#fields, why);
      return;
    }
    this.#turns.push({ role: "user", parts });
    this.#attached = [];
    this.#showAttached();
    byId("message").value = "";
    byId("turns").append(this.#turnElement(this.#turns.at(-1)));
    this.#answer(settings);
  }

  #settings() {
    const fields = this.#fields;
    return {
      system: fields.text("system"),
      request: {
        temperature: fields.number("temperature", { max: 2 }),
        max_tokens: fields.number("max_tokens", { whole: true, min: 1 }),
        seed: fields.number("seed", { whole: true }),
        steps: fields.number("steps", { whole: true, min: 1 }),
        guidance: fields.number("guidance"),
      },
    };
  }

  async #answer({ system, request }) {
    const running = new AbortController();
    const turns = this.#turns;
    this.#running = running;
    this.#setBusy(true);
    const turn = { role: "assistant", parts: [] };
    const element = this.#turnElement(turn);
    const waiting = h("p", { class: "hint dots", text: "Answering" });
    element.append(waiting);
    byId("turns").append(element);
    toEnd();
    const messages = turns.map(messageOf);
    if (system) messages.unshift({ role: "system", content: system });
    const model = this.#context.model();
    const body = { model, messages, modalities: ["text", "image"], ...request };
    let ending = null;
    let hasFailed = false;
    try {
      for await (const event of this.#context.engine.chat(body, running.signal)) {
        if (event.type === "text" || event.type === "image") {
          this.#add(turn, element, event, request);
        }
        if (event.reason === "length") ending = "Ended at the limit of tokens.";
        element.append(waiting);
      }
      if (turn.parts.length === 0) ending = "The model ended its answer without a word.";
    } catch (why) {
      if (why.name === "AbortError") ending = "Stopped.";
      else {
        hasFailed = true;
        this.#failed(element, why, { system, request });
      }
    }
    waiting.remove();
    if (ending) element.append(h("p", { class: "hint", text: ending }));
    if (turn.parts.length > 0 && !hasFailed) turns.push(turn);
    if (this.#running !== running) return; // A new chat was begun in the meantime.
    this.#running = null;
    this.#setBusy(false);
    this.#save();
    announce(ending ?? spoken(turn));
  }

  #add(turn, element, event, request) {
    const wasNearEnd = isNearEnd();
    const last = turn.parts.at(-1);
    if (event.type === "text" && last?.type === "text") {
      last.text += event.text;
      element.lastText.textContent = last.text;
    } else if (event.type === "text") {
      turn.parts.push({ type: "text", text: event.text });
      element.lastText = h("p", { text: event.text });
      element.append(element.lastText);
    } else {
      const settings = { prompt: lastWords(this.#turns), model: this.#context.model(), ...request };
      turn.parts.push({ type: "image", url: event.url, settings });
      const item = this.#context.history.add({ kind: "chat", url: event.url, settings });
      const made = this.#imageElement(item);
      made.querySelector("img").addEventListener("load", () => wasNearEnd && toEnd());
      element.append(made);
    }
    if (wasNearEnd) toEnd();
  }

  /** Says below the question why there is no answer, and offers to ask again. */
  #failed(element, why, settings) {
    this.#context.refused(why);
    const again = () => {
      if (this.#running) return;
      element.remove();
      this.#answer(settings);
    };
    const place = h("p", { class: "error", role: "alert" });
    element.append(place);
    showFailure(place, this.#fields, why);
    if (place.textContent === "") place.textContent = "A setting is wrong; see below.";
    place.hidden = false;
    element.append(h("div", { class: "actions" }, action("Ask again", "", again)));
  }

  #turnElement(turn) {
    const isUser = turn.role === "user";
    const who = h("span", { class: isUser ? "unseen" : "who", text: isUser ? "You" : "Model" });
    const parts = turn.parts.map((part) => {
      if (part.type === "text") return h("p", { text: part.text });
      if (isUser) return pixelImage(part.url, "Image that you sent", ROOM / 2);
      return this.#imageElement({ kind: "chat", url: part.url, settings: part.settings ?? {} });
    });
    return h("li", { class: `turn ${turn.role}` }, who, ...parts);
  }

  #imageElement(item) {
    const image = pixelImage(item.url, "Image that the model drew", ROOM);
    const forActions = { ...item, settings: { ...item.settings } };
    return h("div", { class: "made" }, image, actions(this.#context, forActions, "image"));
  }

  #restart() {
    this.#running?.abort();
    this.#running = null;
    this.#turns = [];
    byId("turns").replaceChildren();
    this.#setBusy(false);
    this.#save();
    byId("message").focus();
    announce("New chat.");
  }

  #setBusy(isBusy) {
    const hadFocus = document.activeElement;
    const [send, stop] = [byId("send"), byId("chat-stop")];
    send.hidden = isBusy;
    stop.hidden = !isBusy;
    if (isBusy && hadFocus === send) stop.focus();
    if (!isBusy && hadFocus === stop) byId("message").focus();
    byId("chat-empty").hidden = byId("turns").childElementCount > 0;
    byId("chat-new").hidden = byId("turns").childElementCount === 0;
    byId("turns").setAttribute("aria-busy", String(isBusy));
    if (isBusy) announce("Answering.");
  }

  #save() {
    try {
      sessionStorage.setItem(SAVED, JSON.stringify(this.#turns));
    } catch {
      // A conversation that is too large is kept as long as the page is open.
    }
  }

  #restore() {
    try {
      this.#turns = JSON.parse(sessionStorage.getItem(SAVED) ?? "[]");
      byId("turns").append(...this.#turns.map((turn) => this.#turnElement(turn)));
    } catch {
      this.#turns = [];
    }
    this.#setBusy(false);
  }
}

function settingsFields() {
  const numeric = (name, placeholder) =>
    h("input", { name, inputmode: "decimal", autocomplete: "off", placeholder });
  const system = h("input", { name: "system", autocomplete: "off" });
  const first = field("chat-system", "Instructions", system, "They stand before the conversation.");
  first.classList.add("wide");
  return [
    first,
    field("chat-temperature", "Temperature", numeric("temperature", "default")),
    field("chat-tokens", "Most tokens", numeric("max_tokens", "default")),
    field("chat-steps", "Steps of images", numeric("steps", "default")),
    field("chat-guidance", "Guidance of images", numeric("guidance", "default")),
    field("chat-seed", "Seed", numeric("seed", "random")),
  ];
}

/** Turns what was said into a message of a request, with its parts in their order. */
function messageOf({ role, parts }) {
  const hasImages = parts.some((part) => part.type === "image");
  if (!hasImages) return { role, content: parts.map((part) => part.text).join("") };
  const content = parts.map((part) =>
    part.type === "text" ? part : { type: "image_url", image_url: { url: part.url } },
  );
  return { role, content };
}

function lastWords(turns) {
  const parts = turns.at(-1)?.parts ?? [];
  return parts.filter((part) => part.type === "text").map((part) => part.text).join(" ");
}

const spoken = ({ parts }) =>
  parts.length === 0
    ? ""
    : `Answer: ${parts.map((part) => (part.type === "text" ? part.text : "an image")).join(" ")}`;

/** Scrolls to the end, where the last turn stands above the message that is written. */
const toEnd = () => window.scrollTo(0, document.documentElement.scrollHeight);

/** Says whether the end of the page is in sight, so that a reader further up is left alone. */
const isNearEnd = () =>
  window.innerHeight + window.scrollY > document.documentElement.scrollHeight - 240;
