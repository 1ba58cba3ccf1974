// The worker that holds the model, so that the page stays alive while it computes. It does one call
// after another; a call that shall not go on is ended with the worker.
//
// in    {id, call, args}
// out   {id, made}, any number of them, and then {id, result} or {id, error}

/** What was compiled for browsers: the processor or the graphics device computes. */
let web = null;
let model = null;
/** The call that is being done. */
let current = null;
let queue = Promise.resolve();

const CALLS = {
  async load({ program, module, name, config, tokenizer, generation, weights }) {
    web = await import(`./wasm/${program}.js`);
    await web.default({ module_or_path: module });
    model?.free();
    model = await web.Model.load(name, config, tokenizer, generation, weights);
    return model.info();
  },
  draw: ({ request }, on) => model.draw(request, on),
  edit: ({ request, image, mask }, on) => model.edit(request, image, mask, on),
  chat: ({ request, images }, on) => model.generate(request, images, on),
  read: ({ request, image }) => model.read(request, image),
  bench: ({ images }) => bench(images),
  step: () => step(),
  panic: () => web.panicForTest(),
};

self.addEventListener("message", ({ data }) => {
  queue = queue.then(() => answer(data));
});

// A trap behind a wait ends in nobody's hands but these.
self.addEventListener("error", (event) => {
  if (current === null) return;
  event.preventDefault();
  self.postMessage({ id: current, error: wordsOf(event.error ?? new Error(event.message)) });
});

async function answer({ id, call, args }) {
  const on = (made) => self.postMessage({ id, made });
  current = id;
  try {
    self.postMessage({ id, result: await CALLS[call](args, on) });
  } catch (why) {
    self.postMessage({ id, error: wordsOf(why) });
  }
  current = null;
}

/**
 * Returns an error as data. It is fatal after a trap, when the module is in no known state, and
 * after an error of the device.
 */
function wordsOf(why) {
  const isTrap = why instanceof WebAssembly.RuntimeError || why instanceof RangeError;
  const isFatal = isTrap || why.name === "DeviceError";
  const reason = isTrap ? said() ?? "the memory was not enough, or a part of the program is wrong" : why.message;
  return { message: reason ?? String(why), param: why.param, isFatal };
}

function said() {
  try {
    return web.lastPanic();
  } catch {
    return undefined;
  }
}

/** Returns the milliseconds of one denoising step, the shortest of a few. */
async function step() {
  const times = [];
  for (let at = 0; at < 4; at += 1) {
    const begun = performance.now();
    await model.draw({ seed: at, steps: 1 }, () => {});
    times.push(performance.now() - begun);
  }
  return Math.min(...times.slice(1)); // The first makes ready what is needed.
}

/** Times a few images, and tokens of texts after the last of them. */
async function bench(count) {
  const { has_text: hasText, steps } = model.info();
  let file = null;
  const keep = (made) => (file = made.type === "image" ? made.png : file);
  const image = await median(count, (seed) => model.draw({ seed }, keep));
  let token = null;
  if (hasText) {
    // A high temperature writes until the limit; a text that ends early is divided by its length.
    const tokens = async (seed) =>
      model.count(await model.read({ seed, temperature: 2, max_tokens: 64 }, file)) + 1;
    token = await median(count, tokens, true);
  }
  return { image, token, steps };
}

/** Returns the median of the milliseconds that `run` takes, by what it returns if `isShared`. */
async function median(count, run, isShared = false) {
  const times = [];
  for (let at = 0; at < count; at += 1) {
    const begun = performance.now();
    const parts = await run(at);
    times.push((performance.now() - begun) / (isShared ? parts : 1));
  }
  return times.sort((a, b) => a - b)[Math.floor(count / 2)];
}
