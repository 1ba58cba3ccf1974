// Every flow of a site whose model runs in the browser, in a headless Chromium.
//
//   MM_PAGE_TOOLS=DIR MM_WASM=DIR MM_MODEL=DIR MM=FILE node web_flows.mjs URL SCREENSHOTS [PART]
//
// URL is where this program serves the site that it lets `mm export web` write, with a folder in it,
// such as http://127.0.0.1:8797/a/folder. The rest is as in page_flows.mjs. The server here is a
// server of files and no more: the page gets nothing else.

import assert from "node:assert/strict";
import fs from "node:fs";
import path from "node:path";

import { browser, checkAccess, flow, forgive, idle, open, shot } from "./page_kit.mjs";
import { FLEX, drawn, run, scratch } from "./web_kit.mjs";
import {
  TYPES,
  difference,
  draw,
  first,
  loaded,
  mm,
  model,
  paint,
  read,
  ready,
  replaced,
  serve,
  site,
  stop,
} from "./web_site.mjs";

/** Compares a drawing of the page with that of `mm draw`, up to rounding: see web_node.mjs. */
async function checkDrawing(page, caption, seed) {
  const apart = await difference(page, caption, seed);
  const count = apart.filter((by) => by > 0).length;
  if (count > 0) console.log(`“${caption}”: ${count} of ${apart.length} bytes differ`);
  assert.ok(count <= apart.length / 200 && Math.max(...apart) <= 1, "another drawing than mm draw's");
}

await serve();

await flow("the page loads its model and says what runs where", async () => {
  const page = await ready("");
  assert.match(await page.locator("#engine-line").textContent(), /tiny .* Nothing is sent\./);
  assert.equal(await page.locator("nav [aria-current=page]").textContent(), "Draw");
  await shot(page, "local-draw-empty");
  await checkAccess(page, "a site");
});

await flow("a caption and a seed draw what mm draw draws, with an estimate at every step", async () => {
  const page = await ready("draw");
  await draw(page, "red K on yellow", 7);
  await checkDrawing(page, "red K on yellow", 7);
  const steps = JSON.parse(fs.readFileSync(path.join(model, "generation_config.json"))).steps;
  const slider = page.getByRole("slider", { name: "Denoising" }).first();
  assert.equal(await slider.getAttribute("max"), String(steps - 1));
  await shot(page, "local-drawn");
  await checkAccess(page, "a drawing");
  await draw(page, "blue 3", 1, { count: "3" });
  assert.equal(await page.locator("#drawn .card img").count(), 3);
});

await flow("a dropped image is read as mm read reads it", async () => {
  const page = await ready("read");
  await shot(page, "local-read-empty");
  const file = drawn(mm, model, "red K on yellow", 7);
  const name = path.join(scratch(), "k.png");
  fs.writeFileSync(name, file);
  const text = await read(page, file);
  const wanted = run(mm, "read", model, name, ...FLEX).slice(0, -1);
  assert.equal(text, wanted || "The model wrote nothing.");
  await shot(page, "local-read");
  await checkAccess(page, "a caption");
});

await flow("what is painted is drawn anew and the rest keeps its bytes", async () => {
  const page = await ready("edit");
  await paint(page);
  await shot(page, "local-edited");
});

await flow("a conversation is answered, and what is stopped ends at once", async () => {
  const page = await ready("chat");
  await page.fill("#message", "red K");
  await page.press("#message", "Enter");
  await idle(page, "turns");
  assert.equal(await page.locator(".turn .error").count(), 0);
  await shot(page, "local-chat");
  await page.getByRole("link", { name: "Draw" }).click();
  await page.fill("#draw-prompt", "red K");
  await page.fill("#draw-steps", "900");
  await page.click("#draw-go");
  await page.locator("#draw-stop").click();
  const begun = Date.now();
  await idle(page, "drawn");
  assert.ok(Date.now() - begun < 2000, "a stop takes longer than two seconds");
  await draw(page, "red K on yellow", 7, { steps: "" });
  await checkDrawing(page, "red K on yellow", 7);
});

await flow("a panic is an error in the page, and the next drawing is right", async () => {
  const page = await ready("draw");
  const said = await page.evaluate(async () => {
    const { LocalEngine } = await import("./local.js");
    const engine = new LocalEngine();
    await engine.models();
    const words = await engine.panic().catch((why) => why.message);
    const events = [];
    for await (const event of engine.draw({ prompt: "red K", n: 1, seed: 1 })) events.push(event.type);
    return [words, events.at(-1)];
  });
  assert.match(said[0], /The model stopped: .*a panic that was asked for.* It is started again\./s);
  assert.equal(said[1], "image");
});

await flow("a wrong setting is said at its field", async () => {
  const page = await ready("draw");
  await draw(page, "red K", 1, { size: "33x32" });
  const problem = page.locator("#draw-size-problem");
  assert.match(await problem.textContent(), /`size` is 33x32, wanted `auto` or WIDTHxHEIGHT/);
  await shot(page, "local-wrong-size");
});

await flow("the button measures this machine", async () => {
  const page = await ready("draw");
  await page.click("#bench");
  await page.locator("#bench-result", { hasText: "ms" }).waitFor();
  assert.match(await page.locator("#bench-result").textContent(), /An image of \d+ steps takes \d+ ms/);
  await shot(page, "local-measured");
});

await flow("weights that are cut or foreign are an error in the page", async () => {
  const name = "models/0/model.safetensors";
  const whole = fs.readFileSync(path.join(site, name));
  for (const [what, bytes] of [["cut", whole.subarray(0, whole.length >> 1)], ["foreign", TYPES[".js"]]]) {
    replaced.set(name, bytes);
    const page = await open({ view: "draw" });
    await page.locator("#offline-text", { hasText: "model.safetensors" }).waitFor();
    await shot(page, `local-${what}`);
    replaced.delete(name);
    await page.click("#retry");
    await page.locator("#model:enabled").waitFor();
    await page.context().close();
  }
  replaced.set("wasm/mm_web_bg.wasm", "no program");
  const page = await open({ view: "draw" });
  await page.locator("#offline-text:not(:empty)").waitFor();
  await shot(page, "local-no-program");
  replaced.clear();
  forgive("WebAssembly");
});

await flow("the site opens and draws without a network", async () => {
  const page = await ready("draw");
  await page.evaluate(() => navigator.serviceWorker.ready);
  await stop();
  try {
    await page.reload();
    await loaded(page);
    await draw(page, "red K on yellow", 7);
    await checkDrawing(page, "red K on yellow", 7);
    await shot(page, "local-offline");
  } finally {
    await serve();
  }
});

for (const [name, options] of [
  ["narrow", { width: 360, height: 740 }],
  ["dark", { dark: true }],
]) {
  await flow(`a site is readable: ${name}`, async () => {
    const page = await ready("draw", options);
    await draw(page, "red K on yellow", 7);
    await checkAccess(page, `a drawing, ${name}`);
    await shot(page, `local-drawn-${name}`);
    await page.getByRole("link", { name: "Read" }).click();
    await checkAccess(page, `reading, ${name}`);
    await shot(page, `local-read-${name}`);
  });
}

await browser.close();
await stop();
console.log("all flows of the site are right");
