// The worker that holds the model, so that the page stays alive while it computes. It does one call
// after another; a call that shall not go on is ended with the worker.
//
// in    {id, call, args}
// out   {id, made}, any number of them, and then {id, result} or {id, error}

import init, { Model, lastPanic, panicForTest } from "./wasm/mm_web.js";

let model = null;

const CALLS = {
  async load({ module, name, config, tokenizer, generation, weights }) {
    await init({ module_or_path: module });
    model?.free();
    model = Model.load(name, config, tokenizer, generation, weights);
    return model.info();
  },
  draw: ({ request }, on) => model.draw(request, on),
  edit: ({ request, image, mask }, on) => model.edit(request, image, mask, on),
  chat: ({ request, images }, on) => model.generate(request, images, on),
  read: ({ request, image }) => model.read(request, image),
  bench: ({ images }) => bench(images),
  panic: () => panicForTest(),
};

self.addEventListener("message", async ({ data: { id, call, args } }) => {
  const on = (made) => self.postMessage({ id, made });
  try {
    self.postMessage({ id, result: await CALLS[call](args, on) });
  } catch (why) {
    self.postMessage({ id, error: wordsOf(why) });
  }
});

/** Returns an error as data. After a trap the module is in no known state, which is fatal. */
function wordsOf(why) {
  const isFatal = why instanceof WebAssembly.RuntimeError || why instanceof RangeError;
  if (!isFatal) return { message: why.message ?? String(why), param: why.param, isFatal };
  const reason = said() ?? "the memory was not enough, or a part of the program is wrong";
  return { message: `The model stopped: ${reason}. It is started again.`, isFatal };
}

function said() {
  try {
    return lastPanic();
  } catch {
    return undefined;
  }
}

/** Times a few images, and tokens of texts after the last of them. */
function bench(count) {
  const { has_text: hasText, steps } = model.info();
  let file = null;
  const keep = (made) => (file = made.type === "image" ? made.png : file);
  const image = median(count, (seed) => model.draw({ seed }, keep));
  let token = null;
  if (hasText) {
    // A high temperature writes until the limit; a text that ends early is divided by its length.
    const tokens = (seed) =>
      model.count(model.read({ seed, temperature: 2, max_tokens: 64 }, file)) + 1;
    token = median(count, tokens, true);
  }
  return { image, token, steps };
}

/** Returns the median of the milliseconds that `run` takes, by what it returns if `isShared`. */
function median(count, run, isShared = false) {
  const times = [];
  for (let at = 0; at < count; at += 1) {
    const begun = performance.now();
    const parts = run(at);
    times.push((performance.now() - begun) / (isShared ? parts : 1));
  }
  return times.sort((a, b) => a - b)[Math.floor(count / 2)];
}
