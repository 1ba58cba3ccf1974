// The engine that is a model in this browser: a worker of its own computes, and nothing is sent.
// It has the methods of `HttpEngine` (see api.js), and beside them:
//
// read(request, signal)      returns the caption of `request.image`
// bench()                    returns {image, token, steps}, times in milliseconds
// listen(on)                 tells in a line what is loaded and what runs where

import { Failure } from "./api.js";
import { bytesOf } from "./view.js";

const PARTS = {
  config: "config.json",
  tokenizer: "tokenizer.json",
  generation: "generation_config.json",
  weights: "model.safetensors",
};
const DRAWING = ["prompt", "size", "seed", "steps", "guidance", "sampler", "negative_prompt"];
const TALKING = ["temperature", "max_tokens", "seed", "steps", "guidance"];

/** A model in this browser. */
export class LocalEngine {
  #models = null;
  #module = null;
  #name = null;
  #tab = null;
  #tell = () => {};

  /** Calls `on` with a line that says what is loaded and what runs where, whenever it changes. */
  listen(on) {
    this.#tell = on;
  }

  /** Lists the models of this site, and begins to load the first. */
  async models() {
    this.#models ??= await (await fetched("models.json")).json();
    if (this.#models.length > 0) await this.#ready();
    keepForOffline();
    return this.#models;
  }

  /** Draws images of a caption, one after another; every step shows its clean estimate. */
  async *draw(request, signal) {
    for (let image = 0; image < (request.n ?? 1); image += 1) {
      const asked = { ...chosen(request, DRAWING), seed: (request.seed ?? 0) + image };
      yield* this.#images("draw", request.model, { request: asked }, image, signal);
    }
  }

  /** Edits an image; `request.image` and `request.mask` are blobs. */
  async *edit(request, signal) {
    const [file, cover] = [request.image ?? request["image[]"], request.mask];
    const image = new Uint8Array(await file.arrayBuffer());
    const mask = cover ? new Uint8Array(await cover.arrayBuffer()) : undefined;
    for (let at = 0; at < Number(request.n ?? 1); at += 1) {
      const asked = chosen(request, [...DRAWING, "strength"]);
      if (mask || asked.size === "auto") delete asked.size;
      asked.seed = (asked.seed ?? 0) + at;
      yield* this.#images("edit", request.model, { request: asked, image, mask }, at, signal);
    }
  }

  /** Goes on with a conversation; yields text and images in the order in which they are made. */
  async *chat(request, signal) {
    const images = [];
    const messages = request.messages.map(({ role, content }) => {
      const parts = typeof content === "string" ? [{ type: "text", text: content }] : content;
      return { role, content: parts.map((part) => partOf(part, images)) };
    });
    const asked = { ...chosen(request, TALKING), messages };
    asked.seed ??= crypto.getRandomValues(new Uint32Array(1))[0];
    const tab = await this.#ready(request.model);
    for await (const made of tab.run("chat", { request: asked, images }, signal)) {
      if (made.type === "text") yield { type: "text", text: made.text };
      if (made.type === "image") yield { type: "image", url: urlOf(made.png) };
    }
    yield { type: "end", reason: "stop" };
  }

  /** Writes a caption of an image, a blob. */
  async read({ model, image }, signal) {
    const bytes = new Uint8Array(await image.arrayBuffer());
    const tab = await this.#ready(model);
    return tab.ask("read", { request: {}, image: bytes }, signal);
  }

  /** Times images and tokens on this machine. */
  async bench(signal) {
    return (await this.#ready()).ask("bench", { images: 5 }, signal);
  }

  /** Lets the model panic, to see what the page does then. */
  async panic() {
    return (await this.#ready()).ask("panic", {});
  }

  async *#images(call, model, args, image, signal) {
    const tab = await this.#ready(model);
    for await (const made of tab.run(call, args, signal)) {
      if (made.type === "image") yield { type: "image", image, url: urlOf(made.png) };
      else if (made.estimate && made.done < made.of) {
        const url = urlOf(made.estimate);
        yield { type: "partial", image, index: made.done - 1, url };
      }
    }
  }

  /** Returns the worker that holds a model, once it does. What failed is tried anew. */
  async #ready(name = this.#name ?? this.#models?.[0]?.id) {
    if (this.#name !== name) {
      this.#tab?.then((tab) => tab.close(), () => {});
      this.#name = name;
      this.#tab = this.#files(name).then((files) => new Tab(name, files, this.#tell));
    }
    try {
      const tab = await this.#tab;
      await tab.started();
      return tab;
    } catch (why) {
      if (this.#name === name) this.#name = null;
      this.#tell("No model is loaded.");
      throw why;
    }
  }

  async #files(name) {
    const model = this.#models.find(({ id }) => id === name);
    if (!model) throw new Failure(`This site has no model “${name}”.`, { param: "model" });
    const begun = performance.now();
    const progress = new Progress(model.bytes, this.#tell);
    this.#module ??= compiled(progress);
    const names = Object.keys(PARTS);
    const loads = names.map((part) => loaded(`${model.folder}${PARTS[part]}`, progress));
    this.#module.catch(() => (this.#module = null));
    const [module, ...blobs] = await Promise.all([this.#module, ...loads]);
    const parts = Object.fromEntries(names.map((part, at) => [part, blobs[at]]));
    return { module, parts, begun };
  }
}

/** A worker with a model in it; after a trap or a stop there is a new one. */
class Tab {
  #files;
  #tell;
  #worker = null;
  #started = null;
  #calls = new Map();
  #last = 0;

  constructor(name, files, tell) {
    this.name = name;
    this.#files = files;
    this.#tell = tell;
    this.#start();
  }

  /** Waits until the model is loaded; fails if it cannot be. */
  started() {
    if (!this.#worker) this.#start();
    return this.#started;
  }

  /** Does a call; returns what it returns. */
  async ask(call, args, signal) {
    const events = this.run(call, args, signal);
    for (;;) {
      const { done, value } = await events.next();
      if (done) return value;
    }
  }

  /** Does a call; yields what is made, and returns what the call returns. */
  async *run(call, args, signal) {
    signal?.throwIfAborted();
    await this.started();
    signal?.throwIfAborted();
    const running = this.#post(call, args);
    const stop = () => {
      this.#end(new DOMException("The user stopped it.", "AbortError"));
      this.#start();
    };
    signal?.addEventListener("abort", stop, { once: true });
    try {
      for (;;) {
        await running.news();
        while (running.made.length > 0) yield running.made.shift();
        if (running.error) throw running.error;
        if (running.isDone) return running.result;
      }
    } finally {
      signal?.removeEventListener("abort", stop);
    }
  }

  /** Ends the worker for good. */
  close() {
    this.#end(new DOMException("Another model was chosen.", "AbortError"));
  }

  #start() {
    const worker = new Worker(new URL("worker.js", import.meta.url), { type: "module" });
    this.#worker = worker;
    worker.addEventListener("message", ({ data }) => this.#take(data));
    worker.addEventListener("error", (event) => {
      event.preventDefault();
      this.#end(new Failure(`The worker failed: ${event.message || "it cannot be loaded"}.`));
    });
    this.#started = this.#load();
    this.#started.catch(() => {}); // Who waits for it hears of it.
  }

  async #load() {
    const { module, parts, begun } = this.#files;
    const bytes = Object.entries(parts).map(async ([part, blob]) => [
      part,
      new Uint8Array(await blob.arrayBuffer()),
    ]);
    const args = { module, name: this.name, ...Object.fromEntries(await Promise.all(bytes)) };
    const running = this.#post("load", args);
    while (!running.isDone && !running.error) await running.news();
    if (running.error) {
      this.#end(running.error);
      throw running.error;
    }
    const { parameters } = running.result;
    const ms = Math.round(performance.now() - begun);
    delete this.#files.begun; // Only the first start is told with its time.
    const time = begun ? `, ready after ${(ms / 1000).toFixed(1)} s` : "";
    this.#tell(
      `${this.name} runs in this tab, on the processor of this machine: ` +
        `${(parameters / 1e6).toFixed(1)} million parameters${time}. Nothing is sent.`,
    );
  }

  #post(call, args) {
    const id = (this.#last += 1);
    const running = new Running();
    this.#calls.set(id, running);
    this.#worker.postMessage({ id, call, args });
    return running;
  }

  #take({ id, made, result, error }) {
    const running = this.#calls.get(id);
    if (!running) return;
    if (made) running.made.push(made);
    else {
      this.#calls.delete(id);
      running.isDone = !error;
      running.result = result;
      if (error) running.error = new Failure(error.message, { param: error.param });
    }
    running.wake();
    if (error?.isFatal) {
      this.#end(running.error);
      this.#start();
    }
  }

  #end(why) {
    this.#worker?.terminate();
    this.#worker = null;
    for (const running of this.#calls.values()) {
      running.error = why;
      running.wake();
    }
    this.#calls.clear();
  }
}

/** A call in progress: what was made and not yet taken, and how it ended. */
class Running {
  made = [];
  isDone = false;
  result = undefined;
  error = null;
  #wake = null;

  /** Waits until there is something to take. */
  news() {
    if (this.made.length > 0 || this.isDone || this.error) return Promise.resolve();
    return new Promise((resolve) => (this.#wake = resolve));
  }

  wake() {
    this.#wake?.();
    this.#wake = null;
  }
}

/** Counts bytes that are loaded, and tells of them. */
class Progress {
  #loaded = 0;

  constructor(bytes, tell) {
    this.bytes = bytes;
    this.tell = tell;
  }

  add(bytes) {
    this.#loaded += bytes;
    const mega = (count) => (count / 1e6).toFixed(1);
    this.tell(`Loading the model: ${mega(this.#loaded)} of ${mega(this.bytes)} MB.`);
  }
}

async function fetched(path) {
  let response;
  try {
    response = await fetch(new URL(path, document.baseURI));
  } catch {
    throw new Failure(`The file ${path} cannot be loaded. Is this machine online?`);
  }
  if (response.ok) return response;
  throw new Failure(`The file ${path} cannot be loaded: the answer is ${response.status}.`);
}

/** Loads a file as a blob, which the browser may keep out of memory. */
async function loaded(path, progress) {
  const { body } = await fetched(path);
  const parts = [];
  try {
    for (const reader = body.getReader(); ; ) {
      const { done, value } = await reader.read();
      if (done) break;
      parts.push(value);
      progress.add(value.length);
    }
  } catch {
    throw new Failure(`The connection broke before ${path} was complete.`);
  }
  return new Blob(parts);
}

async function compiled(progress) {
  const blob = await loaded("wasm/mm_web_bg.wasm", progress);
  try {
    return await WebAssembly.compile(await blob.arrayBuffer());
  } catch (why) {
    throw new Failure(`The program cannot be compiled by this browser: ${why.message}`);
  }
}

/** Returns the fields of a request that have a value; those of a form are text. */
function chosen(request, names) {
  const fields = names.filter((name) => request[name] !== undefined && request[name] !== "");
  return Object.fromEntries(fields.map((name) => [name, request[name]]));
}

/** Puts an image of a message among `images`, and returns the part that names it. */
function partOf(part, images) {
  if (part.type === "text") return { type: "text", text: part.text };
  images.push(bytesOf(part.image_url.url));
  return { type: "image", image: images.length - 1 };
}

function urlOf(bytes) {
  const letters = [];
  for (let at = 0; at < bytes.length; at += 8192) {
    letters.push(String.fromCharCode(...bytes.subarray(at, at + 8192)));
  }
  return `data:image/png;base64,${btoa(letters.join(""))}`;
}

/** Lets the browser keep the site, so that it opens without a network. */
function keepForOffline() {
  const at = new URL("sw.js", document.baseURI);
  navigator.serviceWorker?.register(at).catch(() => {}); // Then the site needs its network.
}
