// A site of the model at MM_MODEL that is served here, and what its flows do with it: see
// web_flows.mjs and web_gpu.mjs.

import assert from "node:assert/strict";
import fs from "node:fs";
import http from "node:http";
import path from "node:path";

import { base, idle, open } from "./page_kit.mjs";
import { drawn, run, scratch } from "./web_kit.mjs";

const { MM_WASM: wasm } = process.env;
export const { MM: mm, MM_MODEL: model } = process.env;
export const site = path.join(scratch(), "site");
const exported = ["export", "web", model, "--wasm", wasm, "--name", "tiny", "--weights", "f32"];
run(mm, ...exported, "--out", site);

export const TYPES = {
  ".html": "text/html; charset=utf-8",
  ".js": "text/javascript",
  ".css": "text/css",
  ".svg": "image/svg+xml",
  ".json": "application/json",
  ".wasm": "application/wasm",
};
const { hostname, port, pathname } = new URL(base);
/** Files that are answered otherwise than they are, by their paths in the site. */
export const replaced = new Map();
/** The files that were asked for, by their paths in the site. */
export const askedFor = new Set();
let server = null;

/** Serves the files of the site; the browser may not keep what is not kept on purpose. */
export function serve() {
  server = http.createServer((request, response) => {
    const asked = decodeURIComponent(new URL(request.url, base).pathname);
    const name = asked.slice(pathname.length + 1) || "index.html";
    const file = path.join(site, name);
    askedFor.add(name);
    const isThere = asked.startsWith(`${pathname}/`) && file.startsWith(site) && fs.existsSync(file);
    if (!isThere) return response.writeHead(404).end();
    const type = TYPES[path.extname(file)] ?? "application/octet-stream";
    response.writeHead(200, { "content-type": type, "cache-control": "no-store" });
    return response.end(replaced.get(name) ?? fs.readFileSync(file));
  });
  return new Promise((resolve) => server.listen(Number(port), hostname, resolve));
}

export function stop() {
  server.closeAllConnections();
  return new Promise((resolve) => server.close(resolve));
}

/** Waits until the model is loaded. */
export const loaded = (page) => page.locator("#engine-line", { hasText: "runs in this tab" }).waitFor();

/** Opens a view with a model in it. */
export async function ready(view, options = {}) {
  const page = await open({ view, ...options });
  await loaded(page);
  return page;
}

export async function draw(page, caption, seed, settings = {}) {
  await page.locator("#draw-form details").evaluate((details) => (details.open = true));
  await page.fill("#draw-prompt", caption);
  await page.fill("#draw-seed", String(seed));
  await page.locator("#draw-random").uncheck();
  for (const [name, value] of Object.entries(settings)) await page.fill(`#draw-${name}`, value);
  await page.click("#draw-go");
  await idle(page, "drawn");
}

/** Returns the pixels of an image of the page, or of a file, as the browser decodes them. */
export const pixels = (page, url) =>
  page.evaluate(async (address) => {
    const image = new Image();
    image.src = address;
    await image.decode();
    const { naturalWidth: width, naturalHeight: height } = image;
    const canvas = Object.assign(document.createElement("canvas"), { width, height });
    const context = canvas.getContext("2d");
    context.drawImage(image, 0, 0);
    return [...context.getImageData(0, 0, width, height).data];
  }, url);

export const first = (page) => page.locator("#drawn .card img").first().getAttribute("src");
export const urlOf = (file) => `data:image/png;base64,${file.toString("base64")}`;

/** Reads an image that is dropped onto the page; returns the text. */
export async function read(page, file) {
  await page.evaluate(async (url) => {
    const transfer = new DataTransfer();
    const bytes = Uint8Array.from(atob(url.split(",")[1]), (letter) => letter.charCodeAt(0));
    transfer.items.add(new File([bytes], "k.png", { type: "image/png" }));
    const drop = new DragEvent("drop", { bubbles: true, cancelable: true, dataTransfer: transfer });
    document.body.dispatchEvent(drop);
  }, urlOf(file));
  await page.waitForFunction(() => {
    const text = document.getElementById("read-text").textContent;
    return text !== "" && text !== "Reading…";
  });
  return page.locator("#read-text").textContent();
}

/** Paints the middle of an image on the view of edits, which draws it anew; checks what changed. */
export async function paint(page, steps) {
  const file = drawn(mm, model, "red K on yellow", 7);
  await page.setInputFiles("#edit-file", { name: "k.png", mimeType: "image/png", buffer: file });
  await page.locator("#painter-title", { hasText: "×" }).waitFor();
  await page.locator("#painter canvas").focus();
  await page.keyboard.press("Space");
  await page.fill("#edit-prompt", "blue 3");
  if (steps !== undefined) {
    await page.locator("#edit-form details").evaluate((details) => (details.open = true));
    await page.fill("#edit-steps", String(steps));
  }
  await page.click("#edit-go");
  await page.locator(".compare").waitFor();
  await idle(page, "edit-result");
  const after = await pixels(page, await page.locator(".pair img.over").getAttribute("src"));
  const before = await pixels(page, urlOf(file));
  const changed = after.filter((byte, at) => byte !== before[at]).length;
  assert.ok(changed > 0 && changed < before.length / 2, `${changed} of ${before.length} bytes changed`);
}

/** Returns how a drawing of the page differs from that of `mm draw`, byte by byte. */
export async function difference(page, caption, seed, ...more) {
  const found = await pixels(page, await first(page));
  const wanted = await pixels(page, urlOf(drawn(mm, model, caption, seed, ...more)));
  assert.equal(found.length, wanted.length);
  return found.map((byte, at) => Math.abs(byte - wanted[at]));
}
