// The library compiled for browsers, in Node: it does what the program `mm` does with the same model.
//
//   node web_node.mjs WASM MODEL MM [--bench]
//
// WASM is the folder that `cargo xtask web` writes, MODEL a model folder with 32-bit weights, MM the
// program. A line is printed for each test; the first that is wrong ends the program with code 1.
// --bench prints times of the processor instead, in milliseconds, which hold on a busy machine too.

import assert from "node:assert/strict";
import fs from "node:fs";
import path from "node:path";
import { pathToFileURL } from "node:url";

import { FLEX, drawn, parts, run, scratch } from "./web_kit.mjs";

const [wasm, folder, mm, flag] = process.argv.slice(2);
if (!mm) {
  console.error("usage: node web_node.mjs WASM MODEL MM [--bench]");
  process.exit(2);
}
const web = await import(pathToFileURL(path.resolve(wasm, "mm_web.js")));
const compiled = await WebAssembly.compile(fs.readFileSync(path.join(wasm, "mm_web_bg.wasm")));
const { memory } = await web.default({ module_or_path: compiled });
const model = await web.Model.load("tiny", ...parts(folder));

/** Returns all that a call tells. */
async function told(call) {
  const made = [];
  await call((one) => made.push(one));
  return made;
}

/** Draws an image; returns its file. */
const draw = async (request) => (await told((on) => model.draw(request, on))).at(-1).png;

/** Fails unless two image files have the same pixels. */
function same(found, wanted, what) {
  alike(found, wanted, what, 0);
}

/**
 * Fails unless two image files are the same but for rounding: this processor has wider vector
 * instructions than WebAssembly, which add in another order, so that a byte in some thousand may be
 * off by one.
 */
function alike(found, wanted, what, share = 0.005) {
  const [a, b] = [web.pixels(found), web.pixels(wanted)];
  assert.deepEqual([a.width, a.height], [b.width, b.height], `the size of ${what}`);
  let [largest, count] = [0, 0];
  a.rgb.forEach((byte, at) => {
    largest = Math.max(largest, Math.abs(byte - b.rgb[at]));
    count += byte === b.rgb[at] ? 0 : 1;
  });
  const said = `${what}: ${count} of ${a.rgb.length} bytes differ, by up to ${largest}`;
  if (count > 0) console.log(said);
  assert.ok(count <= share * a.rgb.length && largest <= 1, said);
}

async function test(name, check) {
  try {
    await check();
    console.log(`ok ${name}`);
  } catch (why) {
    console.error(`wrong: ${name}\n${why.stack ?? why}`);
    process.exit(1);
  }
}

if (flag === "--bench") {
  await bench();
  process.exit(0);
}

await test("a model says what it is", async () => {
  const info = model.info();
  const { model: config } = JSON.parse(fs.readFileSync(path.join(folder, "config.json")));
  assert.equal(info.patch, config.patch);
  assert.equal(info.has_text, true);
  assert.ok(info.parameters > 1000);
});

await test("a caption and a seed draw what mm draw draws", async () => {
  for (const [caption, seed] of [["red K on yellow", 7], ["blue 3", 0], ["", 4294967295]]) {
    alike(await draw({ prompt: caption, seed }), drawn(mm, folder, caption, seed), `“${caption}”`);
  }
  const more = ["--steps", "4", "--sampler", "dpm++2m", "--guidance", "1.5", "--negative", "red"];
  const request = { steps: 4, sampler: "dpm++2m", guidance: 1.5, negative_prompt: "red" };
  const size = ["--size", "64x32"];
  const wanted = drawn(mm, folder, "a K", 3, ...more, ...size);
  alike(await draw({ prompt: "a K", seed: 3, size: "64x32", ...request }), wanted, "with all settings");
});

await test("every step is told with its estimate, and the image comes last", async () => {
  const made = await told((on) => model.draw({ prompt: "red K", seed: 1, steps: 5 }, on));
  assert.deepEqual(made.map(({ type }) => type), ["step", "step", "step", "step", "step", "image"]);
  assert.deepEqual(made.slice(0, 5).map(({ done, of }) => `${done}/${of}`).join(), "1/5,2/5,3/5,4/5,5/5");
  same(made[4].estimate, made[5].png, "the last estimate");
});

await test("an image is read as mm read reads it", async () => {
  const file = path.join(scratch(), "k.png");
  fs.writeFileSync(file, await draw({ prompt: "red K on yellow", seed: 7 }));
  assert.equal(await model.read({}, fs.readFileSync(file)), run(mm, "read", folder, file, ...FLEX).slice(0, -1));
});

await test("an edit draws what mm edit draws", async () => {
  const at = (name) => path.join(scratch(), name);
  const [image, mask, out] = [at("image.png"), at("mask.png"), at("out.png")];
  fs.writeFileSync(image, await draw({ prompt: "red K on yellow", seed: 7 }));
  // A drawing in gray is as good a mask as any.
  fs.writeFileSync(mask, await draw({ prompt: "white K on black", seed: 2 }));
  run(mm, "edit", "inpaint", folder, image, "blue K", "--mask", mask, "--seed", "5", ...FLEX, "--out", out);
  const files = [image, mask].map((file) => fs.readFileSync(file));
  const made = await told((on) => model.edit({ prompt: "blue K", seed: 5 }, ...files, on));
  alike(made.at(-1).png, fs.readFileSync(out), "the edit");
  run(mm, "edit", "img2img", folder, image, "blue K", "--strength", "0.6", ...FLEX, "--out", out, "--force");
  const request = { prompt: "blue K", strength: 0.6 };
  const again = await told((on) => model.edit(request, files[0], undefined, on));
  alike(again.at(-1).png, fs.readFileSync(out), "the edit by strength");
});

await test("a conversation is answered piece by piece, the same for one seed", async () => {
  const content = [{ type: "text", text: "draw red K" }];
  const messages = [{ role: "user", content }];
  const answer = async (seed) => {
    const request = { messages, temperature: 2, max_tokens: 40, steps: 2, seed };
    const made = await told((on) => model.generate(request, [], on));
    return made.map(({ type, text, png }) => text ?? (png ? Buffer.from(png).toString("base64") : type));
  };
  const all = () => Promise.all(Array.from({ length: 8 }, (_, seed) => answer(seed)));
  const answers = await all();
  assert.ok(answers.some((pieces) => pieces.length > 1), "eight answers without a word");
  assert.ok(new Set(answers.map(String)).size > 1, "all seeds answer alike");
  assert.deepEqual(await all(), answers);
});

await test("an error has the library's words and the field that is wrong", async () => {
  const fails = async (call, words, param) => {
    await assert.rejects(call, (why) => {
      assert.ok(why instanceof Error);
      assert.match(why.message, words);
      assert.equal(why.param, param);
      return true;
    });
  };
  await fails(() => draw({ steps: 0 }), /`steps` is 0, wanted 1 to 1000/, "steps");
  await fails(() => draw({ sampler: "oiler" }), /`sampler` is oiler/, "sampler");
  await fails(() => draw({ sede: 1 }), /unknown field `sede`/, undefined);
  await fails(() => model.read({}, new Uint8Array([1, 2])), /`image` cannot be used/, "image");
  const [config, tokenizer, generation, weights] = parts(folder);
  const load = (...files) => web.Model.load("bad", ...files);
  const cut = weights.subarray(0, weights.length >> 1);
  await fails(() => load(config, tokenizer, generation, cut), /model\.safetensors/, undefined);
  await fails(() => load(config, tokenizer, generation, tokenizer), /model\.safetensors/, undefined);
  await fails(() => load(tokenizer, tokenizer, generation, weights), /config\.json/, undefined);
  const thrown = new Error("enough");
  await fails(() => model.draw({}, () => { throw thrown; }), /enough/, undefined);
  assert.ok((await draw({})).length > 0, "an error left the model in disorder");
});

await test("a hundred images take no more memory than ten", async () => {
  const bytes = [];
  for (let seed = 0; seed < 100; seed += 1) {
    await draw({ prompt: "red K", seed, steps: 2 });
    bytes.push(memory.buffer.byteLength);
  }
  assert.equal(bytes.at(-1), bytes[9]);
});

await test("a panic is a trap whose words are kept", async () => {
  assert.equal(web.lastPanic(), undefined);
  assert.throws(() => web.panicForTest(), WebAssembly.RuntimeError);
  assert.match(web.lastPanic(), /a panic that was asked for/);
});

console.log("all tests of the library in Node are right");

/** Prints the median times of the processor for an image and for a token. */
async function bench() {
  const median = async (count, work) => {
    const times = [];
    for (let at = 0; at < count; at += 1) {
      const begun = process.cpuUsage();
      const parts = await work(at);
      times.push(process.cpuUsage(begun).user / 1000 / parts);
    }
    return times.sort((a, b) => a - b)[count >> 1];
  };
  let file = null;
  const image = await median(20, async (seed) => {
    file = await draw({ prompt: "red K on yellow", seed });
    return 1;
  });
  const request = (seed) => ({ seed, temperature: 2, max_tokens: 64 });
  const read = async (seed) => model.count(await model.read(request(seed), file)) + 1;
  const token = await median(10, read);
  console.log(JSON.stringify({ image, token, steps: model.info().steps }));
}
