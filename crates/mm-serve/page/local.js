// The engine that is a model in this browser: a worker of its own computes, and nothing is sent.
// It has the methods of `HttpEngine` (see api.js), and beside them:
//
// read(request, signal)      returns the caption of `request.image`
// bench()                    returns {image, token, steps}, times in milliseconds
// listen(on)                 tells in a line what is loaded and what runs where

import { Failure } from "./api.js";
import { challenger, isFaster } from "./gpu.js";
import { bytesOf } from "./view.js";

const PARTS = {
  config: "config.json",
  tokenizer: "tokenizer.json",
  generation: "generation_config.json",
  weights: "model.safetensors",
};
const DRAWING = ["prompt", "size", "seed", "steps", "guidance", "sampler", "negative_prompt"];
const TALKING = ["temperature", "max_tokens", "seed", "steps", "guidance"];

/** What computes: the names of the compiled programs, and how the line of the page calls them. */
const PROCESSOR = { program: "mm_web", where: "on the processor of this machine" };
const GRAPHICS = { program: "mm_web_gpu", where: "on the graphics device of this machine" };

/** A model in this browser. */
export class LocalEngine {
  #models = null;
  /** What is compiled, by the names of the programs. */
  #modules = new Map();
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
      this.#tab = this.#files(name).then((files) => new Tab(name, PROCESSOR, files, this.#tell));
      this.#tab.then((tab) => this.#challenge(tab)).catch(() => {}); // Then all stays as it is.
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
    const names = Object.keys(PARTS);
    const loads = names.map((part) => loaded(`${model.folder}${PARTS[part]}`, progress));
    const [module, ...blobs] = await Promise.all([this.#module(PROCESSOR, progress), ...loads]);
    const parts = Object.fromEntries(names.map((part, at) => [part, blobs[at]]));
    return { module, parts, begun };
  }

  /** Returns a compiled program. What failed is tried anew. */
  #module({ program }, progress) {
    if (!this.#modules.has(program)) this.#modules.set(program, compiled(program, progress));
    const module = this.#modules.get(program);
    module.catch(() => this.#modules.delete(program));
    return module;
  }

  /**
   * Lets the graphics device take over from a tab of the processor, if the site has the program, the
   * machine the device, and a race of one denoising step shows that it is faster.
   */
  async #challenge(tab) {
    const { webgpu_bytes: bytes } = this.#models.find(({ id }) => id === tab.name);
    await tab.started();
    const device = bytes ? await challenger() : null;
    if (!device) return;
    const isWanted = () => this.#name === tab.name;
    const quiet = new Progress(bytes, () => {});
    let graphics = null;
    try {
      const files = { ...tab.files, module: await this.#module(GRAPHICS, quiet) };
      graphics = new Tab(tab.name, GRAPHICS, files, () => {});
      await graphics.started();
      const { isWon, words } = device.isRaced ? await race(graphics, tab, isWanted) : ASKED_FOR;
      const remark = `WebGPU (${device.name}) ${words}.`;
      if (isWanted() && isWon) return this.#takeOver(graphics, tab, remark);
      if (isWanted()) tab.say(remark);
    } catch (why) {
      const reason = (why.reason ?? why.message).replace(/\.$/, "");
      if (isWanted()) tab.say(`WebGPU (${device.name}) cannot be used: ${reason}.`);
    }
    graphics?.close();
  }

  /** Lets one tab go on for another, and back if its device fails. */
  #takeOver(graphics, tab, remark) {
    graphics.tell = this.#tell;
    graphics.onFatal = () => {
      if (this.#name !== tab.name) return;
      this.#tab = Promise.resolve(tab);
      tab.remark = "WebGPU failed, so the processor goes on.";
      tab.started();
    };
    this.#tab = Promise.resolve(graphics);
    graphics.say(remark);
    tab.rest();
  }
}

/** What a race would say of a device that is taken without one. */
const ASKED_FOR = { isWon: true, words: "is asked for by the address of this page" };

/** Lets both do one denoising step; says whether the graphics device has won. */
async function race(graphics, tab, isWanted) {
  const timed = async (runner) => {
    for (;;) {
      try {
        return await runner.ask("step", {});
      } catch (why) {
        // The user may have stopped another call of the worker.
        if (why.name !== "AbortError" || !isWanted()) throw why;
      }
    }
  };
  const there = await timed(graphics);
  if (!isWanted()) return { isWon: false };
  const here = await timed(tab);
  if (!isWanted()) tab.close(); // It may have begun anew.
  const isWon = isFaster(there, here);
  const words = `takes ${ms(there)} for a step and the processor ${ms(here)}`;
  return { isWon, words: isWon ? words : `is not faster: it ${words}` };
}

/** Returns a time in words. */
const ms = (time) => `${time.toFixed(time < 10 ? 1 : 0)} ms`;

/** A worker with a model in it; after a trap or a stop there is a new one. */
class Tab {
  /** Calls of the page with the line that says what runs where. */
  tell;
  /** Stands in that line, if there is one. */
  remark = "";
  /** Is called after a trap instead of a new start, if there is one. */
  onFatal = null;
  #compute;
  #worker = null;
  #started = null;
  #info = null;
  #time = "";
  #calls = new Map();
  #last = 0;
  #isResting = false;

  constructor(name, compute, files, tell) {
    this.name = name;
    this.files = files;
    this.tell = tell;
    this.#compute = compute;
    this.#begin();
  }

  /** Waits until the model is loaded; fails if it cannot be. */
  started() {
    this.#isResting = false;
    if (!this.#worker) this.#begin();
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
      this.#begin();
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

  /** Gives the memory back once all calls are done; another call begins anew. */
  rest() {
    this.#isResting = this.#calls.size > 0;
    if (!this.#isResting) this.close();
  }

  /** Starts the worker. */
  #begin() {
    const worker = new Worker(new URL("worker.js", import.meta.url), { type: "module" });
    this.#worker = worker;
    worker.addEventListener("message", ({ data }) => this.#take(data));
    worker.addEventListener("error", (event) => {
      event.preventDefault();
      this.#fail(new Failure(`The worker failed: ${event.message || "it cannot be loaded"}`), false);
    });
    this.#started = this.#load();
    this.#started.catch(() => {}); // Who waits for it hears of it.
  }

  /** Tells what runs where, with a remark. */
  say(remark = this.remark) {
    const { name } = this;
    this.remark = remark;
    const millions = (this.#info.parameters / 1e6).toFixed(1);
    const what = `${millions} million parameters${this.#time}`;
    const words = [`${name} runs in this tab, ${this.#compute.where}: ${what}.`, remark];
    this.tell(`${words.filter(Boolean).join(" ")} Nothing is sent.`);
  }

  async #load() {
    const { module, parts, begun } = this.files;
    const bytes = Object.entries(parts).map(async ([part, blob]) => [
      part,
      new Uint8Array(await blob.arrayBuffer()),
    ]);
    const { program } = this.#compute;
    const args = { program, module, name: this.name, ...Object.fromEntries(await Promise.all(bytes)) };
    const running = this.#post("load", args);
    while (!running.isDone && !running.error) await running.news();
    if (running.error) {
      this.#end(running.error);
      throw running.error;
    }
    this.#info = running.result;
    // Only the first start is told with its time.
    if (begun) this.#time = `, ready after ${((performance.now() - begun) / 1000).toFixed(1)} s`;
    else this.#time = "";
    delete this.files.begun;
    this.say();
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
      if (error) running.error = failure(error);
    }
    running.wake();
    if (error?.isFatal) this.#fail(running.error, true);
    else if (this.#isResting && this.#calls.size === 0) this.close();
  }

  /** Ends the worker after what leaves it in no known state, and starts another. */
  #fail(why, isTold) {
    this.#end(why);
    if (this.onFatal) this.onFatal(why);
    else if (isTold) this.#begin();
  }

  #end(why) {
    this.#worker?.terminate();
    this.#worker = null;
    this.#isResting = false;
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

/** Returns the error of a worker; after a fatal one, `reason` is what the worker said. */
function failure({ message, param, isFatal }) {
  if (!isFatal) return new Failure(message, { param });
  const words = `The model stopped: ${message}. It is started again.`;
  return Object.assign(new Failure(words), { reason: message });
}

async function compiled(program, progress) {
  const blob = await loaded(`wasm/${program}_bg.wasm`, progress);
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
