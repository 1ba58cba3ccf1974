// A site whose model may run on the graphics device, in a headless Chromium that has one in software.
//
//   MM_PAGE_TOOLS=DIR MM_WASM=DIR MM_MODEL=DIR MM=FILE node web_gpu.mjs URL SCREENSHOTS [PART]
//
// The arguments are those of web_flows.mjs; MM_WASM must hold the program that computes by WebGPU
// too. A device in software is slow, so images of two steps are drawn.

import assert from "node:assert/strict";
import fs from "node:fs";
import path from "node:path";

process.env.CHROMIUM_FLAGS = "--enable-unsafe-webgpu --use-webgpu-adapter=swiftshader";
const { browser, flow, open, shot } = await import("./page_kit.mjs");
const { FLEX, drawn, run, scratch } = await import("./web_kit.mjs");
const { askedFor, difference, draw, loaded, mm, model, paint, read, serve, stop } = await import(
  "./web_site.mjs"
);

const PROGRAM = "wasm/mm_web_gpu_bg.wasm";
const line = (page) => page.locator("#engine-line").textContent();

/** Waits until the line of the page has these words. */
const said = (page, words) => page.locator("#engine-line", { hasText: words }).waitFor();

/** Opens a view whose model runs on the graphics device, without a race. */
async function onDevice(view) {
  const page = await open({ view, query: "?engine=webgpu" });
  page.setDefaultTimeout(300_000); // Shaders are compiled for a processor, and run on it.
  await said(page, "on the graphics device of this machine");
  return page;
}

/** Compares a drawing of two steps with that of `mm draw` on the processor. */
async function checkDrawing(page, caption, seed, ...more) {
  const apart = await difference(page, caption, seed, "--steps", "2", ...more);
  const count = apart.filter((by) => by > 0).length;
  console.log(`“${caption}”: ${count} of ${apart.length} bytes differ, by up to ${Math.max(...apart)}`);
  assert.ok(Math.max(...apart) <= 2, "another drawing than mm draw's");
}

await serve();

await flow("a device in software is not asked unless the address says so", async () => {
  for (const query of ["", "?engine=processor"]) {
    const page = await open({ query });
    await loaded(page);
    await draw(page, "red K", 1, { steps: "2" });
    assert.match(await line(page), /on the processor of this machine: .* Nothing is sent\.$/);
    assert.doesNotMatch(await line(page), /WebGPU/);
  }
  assert.ok(!askedFor.has(PROGRAM), "the program was loaded for no device");
});

await flow("a device that loses the race does not compute", async () => {
  const page = await open({ query: "?engine=race" });
  page.setDefaultTimeout(300_000);
  await said(page, "is not faster");
  assert.match(
    await line(page),
    /on the processor .* WebGPU \(.+\) is not faster: it takes [\d.]+ ms for a step and the processor [\d.]+ ms\. Nothing/,
  );
  assert.ok(askedFor.has(PROGRAM));
  await draw(page, "red K", 1, { steps: "2" });
  await shot(page, "gpu-lost");
});

await flow("the graphics device draws what mm draw draws, with an estimate at every step", async () => {
  const page = await onDevice("draw");
  await draw(page, "red K on yellow", 7, { steps: "2" });
  await checkDrawing(page, "red K on yellow", 7);
  const slider = page.getByRole("slider", { name: "Denoising" }).first();
  assert.equal(await slider.getAttribute("max"), "1");
  await draw(page, "blue 3", 1, { steps: "2", guidance: "1" });
  await checkDrawing(page, "blue 3", 1, "--guidance", "1");
  await shot(page, "gpu-drawn");
});

await flow("the graphics device reads what mm read reads", async () => {
  const page = await onDevice("read");
  const file = drawn(mm, model, "red K on yellow", 7);
  const name = path.join(scratch(), "k.png");
  fs.writeFileSync(name, file);
  const wanted = run(mm, "read", model, name, ...FLEX).slice(0, -1);
  assert.equal(await read(page, file), wanted || "The model wrote nothing.");
});

await flow("the graphics device keeps what an edit keeps", async () => {
  const page = await onDevice("edit");
  await paint(page, 2);
});

await flow("after a panic on the graphics device the processor goes on", async () => {
  const page = await onDevice("draw");
  const words = await page.evaluate(async () => {
    const { LocalEngine } = await import("./local.js");
    const engine = new LocalEngine();
    const lines = [];
    const graphics = new Promise((resolve) => {
      engine.listen((text) => {
        lines.push(text);
        if (text.includes("on the graphics device")) resolve();
      });
    });
    await engine.models();
    await graphics;
    const panic = await engine.panic().catch((why) => why.message);
    const events = [];
    for await (const event of engine.draw({ prompt: "red K", n: 1, seed: 1 })) events.push(event.type);
    return [panic, lines.at(-1), events.at(-1)];
  });
  assert.match(words[0], /The model stopped: .*a panic that was asked for/s);
  assert.match(words[1], /on the processor of this machine.*WebGPU failed, so the processor goes on\./);
  assert.equal(words[2], "image");
});

await flow("the program of the graphics device opens without a network too", async () => {
  const page = await onDevice("draw");
  await page.evaluate(() => navigator.serviceWorker.ready);
  await page.reload(); // The keeper sees what is loaded from now on.
  await said(page, "on the graphics device of this machine");
  await stop();
  try {
    await page.reload();
    await said(page, "on the graphics device of this machine");
  } finally {
    await serve();
  }
});

await browser.close();
await stop();
console.log("all flows of the site on a graphics device are right");
