// Everything that the page asks of an engine. The page itself knows no address and no form of a
// message: another engine, such as a worker in this browser, can stand in the place of
// `HttpEngine` if it has the same methods and gives the same events.
//
// chat(request, signal)      yields {type: "text", text}, {type: "image", url}, {type: "end", ...}
// draw(request, signal)      yields {type: "partial", image, index, url} and
// edit(request, signal)             {type: "image", image, url}
// models()                   returns [{id}]

const KEY = "mm-api-key";

/** An answer that is an error, in words, with the field of the request that is wrong. */
export class Failure extends Error {
  constructor(message, { status = 0, param = null, code = null, retryAfter = null } = {}) {
    super(message);
    this.name = "Failure";
    this.status = status;
    this.param = param;
    this.code = code;
    this.retryAfter = retryAfter;
  }
}

/** An engine behind the HTTP API that serves this page. */
export class HttpEngine {
  #key = read(KEY);

  /** Sets the key that requests show, which lives as long as the tab. */
  setKey(key) {
    this.#key = key;
    write(KEY, key);
  }

  /** Lists the models that are served. */
  async models() {
    const response = await this.#fetch("v1/models", {});
    return (await json(response)).data ?? [];
  }

  /** Goes on with a conversation; yields text and images in the order in which they are made. */
  async *chat(request, signal) {
    const body = { ...request, stream: true, stream_options: { include_usage: true } };
    const response = await this.#post("v1/chat/completions", body, signal);
    if (!isStream(response)) {
      const answer = await json(response);
      yield* choiceEvents(answer.choices?.[0]?.message, answer.choices?.[0]?.finish_reason);
      return;
    }
    for await (const chunk of messages(response, signal)) {
      for (const choice of chunk.choices ?? []) {
        if (!choice.index) yield* choiceEvents(choice.delta, choice.finish_reason);
      }
      if (chunk.usage) yield { type: "usage", usage: chunk.usage };
    }
  }

  /** Draws images of a caption; yields clean estimates while they are denoised. */
  async *draw(request, signal) {
    const body = { ...request, stream: true, partial_images: 3, response_format: "b64_json" };
    yield* imageEvents(await this.#post("v1/images/generations", body, signal), signal);
  }

  /** Edits an image; `request.image` and `request.mask` are blobs. */
  async *edit(request, signal) {
    const form = new FormData();
    for (const [name, value] of Object.entries(request)) {
      if (value instanceof Blob) form.append(name, value, `${name}.png`);
      else form.append(name, String(value));
    }
    form.append("stream", "true");
    form.append("partial_images", "3");
    yield* imageEvents(await this.#post("v1/images/edits", form, signal), signal);
  }

  #post(path, body, signal) {
    if (body instanceof FormData) return this.#fetch(path, { method: "POST", body, signal });
    const headers = { "content-type": "application/json" };
    return this.#fetch(path, { method: "POST", headers, body: JSON.stringify(body), signal });
  }

  async #fetch(path, init) {
    const headers = { ...init.headers };
    if (this.#key) headers.authorization = `Bearer ${this.#key}`;
    let response;
    try {
      response = await fetch(new URL(path, document.baseURI), { ...init, headers });
    } catch (why) {
      if (why.name === "AbortError") throw why;
      throw new Failure("The server cannot be reached. Is it still running?");
    }
    if (!response.ok) throw await failureOf(response);
    return response;
  }
}

function* choiceEvents(delta, reason) {
  if (delta?.content) yield { type: "text", text: delta.content };
  for (const image of delta?.images ?? []) {
    const url = image?.image_url?.url ?? "";
    if (url.startsWith("data:image/")) yield { type: "image", url };
  }
  if (reason) yield { type: "end", reason };
}

async function* imageEvents(response, signal) {
  if (!isStream(response)) {
    const answer = await json(response);
    for (const [image, data] of (answer.data ?? []).entries()) {
      yield { type: "image", image, url: dataUrl(data.b64_json, answer.output_format) };
    }
    return;
  }
  let completed = 0;
  for await (const message of messages(response, signal)) {
    const image = message.image_index ?? completed;
    const url = dataUrl(message.b64_json, message.output_format);
    if (message.type?.endsWith(".partial_image")) {
      yield { type: "partial", image, index: message.partial_image_index ?? 0, url };
    } else if (message.type?.endsWith(".completed")) {
      completed += 1;
      yield { type: "image", image, url };
    }
  }
  if (completed === 0) throw new Failure("The answer ended before an image was finished.");
}

const dataUrl = (base64, format) => `data:image/${format ?? "png"};base64,${base64}`;

const isStream = (response) =>
  (response.headers.get("content-type") ?? "").startsWith("text/event-stream");

/** Yields the objects of a stream of server-sent events until `[DONE]` or its end. */
async function* messages(response, signal) {
  for await (const data of events(response.body, signal)) {
    if (data === "[DONE]") return;
    let message;
    try {
      message = JSON.parse(data);
    } catch {
      throw new Failure("The server sent an answer that this page does not understand.");
    }
    if (message.error) throw failureFrom(message.error, {});
    yield message;
  }
}

/** Yields the data of each server-sent event. Lines may be cut anywhere by the network. */
async function* events(stream, signal) {
  const reader = stream.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  let data = [];
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) break;
      const lines = (rest + value).split("\n");
      rest = lines.pop();
      for (const raw of lines) {
        const line = raw.endsWith("\r") ? raw.slice(0, -1) : raw;
        if (line.startsWith("data:")) data.push(line.slice(5).replace(/^ /, ""));
        if (line === "" && data.length > 0) {
          yield data.join("\n");
          data = [];
        }
      }
    }
    if (data.length > 0) yield data.join("\n");
  } catch (why) {
    if (why instanceof Failure || signal?.aborted) throw why;
    throw new Failure("The connection broke before the answer was complete.");
  } finally {
    reader.cancel().catch(() => {});
  }
}

async function json(response) {
  try {
    return await response.json();
  } catch (why) {
    if (why.name === "AbortError") throw why;
    throw new Failure("The server sent an answer that this page does not understand.");
  }
}

async function failureOf(response) {
  const { status } = response;
  const seconds = Number(response.headers.get("retry-after"));
  const retryAfter = Number.isFinite(seconds) && seconds > 0 ? seconds : null;
  let error = null;
  try {
    error = (await response.json()).error;
  } catch {
    // An answer without a body in the form of the API is told by its status alone.
  }
  return failureFrom(error ?? { message: "" }, { status, retryAfter });
}

function failureFrom(error, { status = 0, retryAfter = null }) {
  const { param = null, code = null } = error;
  const message = error.message || `The server answered with status ${status} and no reason.`;
  return new Failure(message, { status, param, code, retryAfter });
}

function read(name) {
  try {
    return sessionStorage.getItem(name) ?? "";
  } catch {
    return "";
  }
}

function write(name, value) {
  try {
    sessionStorage.setItem(name, value);
  } catch {
    // Without storage the key lives as long as the page.
  }
}
