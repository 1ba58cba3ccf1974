// The page: which view is seen, which model is meant, and how images go from view to view.

import { HttpEngine } from "./api.js";
import { ChatView } from "./chat.js";
import { DrawView } from "./draw.js";
import { EditView } from "./edit.js";
import { GalleryView } from "./gallery.js";
import { History } from "./history.js";
import { ReadView } from "./read.js";
import { announce, byId, h } from "./view.js";

/** A page of its own site has its model in this browser; that of a server asks the server. */
const isLocal = document.documentElement.dataset.engine === "local";
const engine = isLocal ? new (await import("./local.js")).LocalEngine() : new HttpEngine();
const VIEWS = ["chat", "draw", ...(engine.read ? ["read"] : []), "edit", "history"];
const HOME = isLocal ? "draw" : "chat";

/** What every view knows of the others and of the engine. */
class Context {
  engine = engine;
  history = new History();

  /** Returns the name of the chosen model, or nothing while there is none. */
  model() {
    return byId("model").value || undefined;
  }

  /** Chooses a model by its name, if it is served. */
  chooseModel(name) {
    const select = byId("model");
    const isServed = [...select.options].some((option) => option.value === name);
    if (isServed) select.value = name;
  }

  /** Opens the form in which an image was made, with its settings and its seed. */
  reuse({ kind, settings }) {
    const view = kind === "edit" ? "edit" : "draw";
    go(view);
    (kind === "edit" ? this.editor : this.draw).fill(settings);
    byId(`${view}-prompt`).focus();
    announce("Settings restored.");
  }

  /** Opens an image in Edit. */
  edit(item) {
    go("edit");
    this.editor.load(item);
    byId("edit-prompt").focus();
  }

  /** Puts an image into the next message of the chat. */
  attach(item) {
    go("chat");
    this.chat.attach(item.url, item.settings.prompt || "Image");
    byId("message").focus();
  }

  /** Asks for a key if the server wants one; says whether that was why an answer failed. */
  refused(why) {
    if (why.status !== 401) return false;
    askForKey(why.message);
    return true;
  }
}

const context = new Context();

function current() {
  const name = location.hash.slice(1);
  return VIEWS.includes(name) ? name : HOME;
}

function go(name) {
  if (current() !== name) location.hash = name;
  show();
}

function show() {
  const seen = current();
  for (const name of VIEWS) byId(`view-${name}`).hidden = name !== seen;
  for (const link of document.querySelectorAll("nav a")) {
    if (link.hash === `#${seen}`) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  document.title = `${seen[0].toUpperCase()}${seen.slice(1)} · mm`;
  document.body.dataset.view = seen;
  context.gallery?.show();
}

function askForKey(message) {
  const problem = byId("key-problem");
  problem.textContent = message;
  problem.hidden = false;
  byId("key-form").hidden = false;
  byId("key").focus();
}

async function loadModels() {
  const select = byId("model");
  byId("offline").hidden = true;
  try {
    const models = await context.engine.models();
    select.replaceChildren(...models.map(({ id }) => h("option", { value: id, text: id })));
    select.disabled = models.length === 0;
    byId("key-form").hidden = true;
  } catch (why) {
    select.replaceChildren(h("option", { value: "", text: "none" }));
    if (context.refused(why)) return;
    byId("offline-text").textContent = why.message;
    byId("offline").hidden = false;
  }
}

/** Gives what is dropped or pasted to the view that is seen. */
function take(transfer) {
  const seen = current();
  const { chat, draw, read, editor: edit } = context;
  const view = { chat, draw, read, edit }[seen];
  return view ? view.takeFrom(transfer) : false;
}

/** Shows what runs where, and the button that times it, if the model is in this browser. */
function showEngine() {
  if (!isLocal) return;
  byId("engine").hidden = false;
  byId("read-link").hidden = false;
  engine.listen((line) => (byId("engine-line").textContent = line));
  byId("bench").addEventListener("click", async () => {
    const [button, result] = [byId("bench"), byId("bench-result")];
    button.disabled = true;
    result.textContent = "Measuring…";
    try {
      const { image, token, steps } = await engine.bench();
      const text = token === null ? "" : `, a token ${token.toFixed(2)} ms`;
      result.textContent = `An image of ${steps} steps takes ${image.toFixed(0)} ms${text}.`;
    } catch (why) {
      result.textContent = why.message;
    }
    button.disabled = false;
  });
}

function listen() {
  window.addEventListener("hashchange", () => {
    show();
    byId("main").focus({ preventScroll: true });
    window.scrollTo(0, 0);
  });
  byId("key-form").addEventListener("submit", (event) => {
    event.preventDefault();
    context.engine.setKey(byId("key").value.trim());
    byId("key-problem").hidden = true;
    loadModels();
  });
  document.querySelector(".skip").addEventListener("click", (event) => {
    event.preventDefault();
    byId("main").focus();
  });
  byId("retry").addEventListener("click", loadModels);
  document.addEventListener("paste", (event) => {
    if (take(event.clipboardData)) event.preventDefault();
  });
  document.addEventListener("dragover", (event) => {
    event.preventDefault();
    document.body.classList.add("dropping");
  });
  document.addEventListener("dragleave", (event) => {
    if (!event.relatedTarget) document.body.classList.remove("dropping");
  });
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    document.body.classList.remove("dropping");
    take(event.dataTransfer);
  });
}

context.chat = new ChatView(context);
context.draw = new DrawView(context);
context.editor = new EditView(context);
context.read = new ReadView(context);
context.gallery = new GalleryView(context);
listen();
showEngine();
show();
context.history.open();
loadModels();
