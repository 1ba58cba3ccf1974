// What the flows of the page need: the browser, answers that are made here, and checks that hold in
// every view.

import assert from "node:assert/strict";
import fs from "node:fs";
import { createRequire } from "node:module";
import path from "node:path";

export const [base, folder, part = ""] = process.argv.slice(2);
const tools = process.env.MM_PAGE_TOOLS;
if (!base || !folder || !tools) {
  console.error("usage: MM_PAGE_TOOLS=DIR node page_flows.mjs URL SCREENSHOTS");
  process.exit(2);
}
const need = createRequire(path.join(path.resolve(tools), "package.json"));
const { chromium } = need("playwright-core");
const axeSource = fs.readFileSync(need.resolve("axe-core/axe.min.js"), "utf8");
fs.mkdirSync(folder, { recursive: true });

const FLAGS = [
  "--no-sandbox",
  "--disable-gpu",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
  ...(process.env.CHROMIUM_FLAGS ?? "").split(" ").filter(Boolean),
];
const PATIENCE = 60_000;
/** One red pixel. */
export const PIXEL =
  "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR4nGP4z8AAAAMBAQDJ/pLvAAAAAElFTkSuQmCC";

export const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
  headless: true,
  args: FLAGS,
});

/** What the browser complained about, which must stay empty but for what a flow expects. */
let complaints = [];

/** Forgets a complaint that a flow expects. */
export const forgive = (words) => {
  complaints = complaints.filter((text) => !text.includes(words));
};

/** Opens the page in a browser of its own, without a past. */
export async function open(options = {}) {
  const { view = "", query = "", width = 1280, height = 900, dark = false, still = false } = options;
  const context = await browser.newContext({
    viewport: { width, height },
    colorScheme: dark ? "dark" : "light",
    reducedMotion: still ? "reduce" : "no-preference",
    acceptDownloads: true,
    bypassCSP: false,
  });
  const page = await context.newPage();
  page.setDefaultTimeout(PATIENCE);
  page.on("pageerror", (error) => complaints.push(String(error)));
  page.on("console", (message) => {
    const text = message.text();
    const isStatus = /Failed to load resource: the server responded with a status/.test(text);
    if (message.type() === "error" && !isStatus) complaints.push(text);
  });
  page.on("request", (request) => {
    const url = request.url();
    const isOurs = url.startsWith(base) || /^(data|blob):/.test(url);
    if (!isOurs) complaints.push(`the page asked for ${url}`);
  });
  await page.addInitScript(recordForms);
  await page.goto(`${base}/${query}${view ? `#${view}` : ""}`);
  return page;
}

/** Keeps the forms that the page sends: the browser does not tell of files in them. */
function recordForms() {
  globalThis.sentForms = [];
  const { fetch } = globalThis;
  globalThis.fetch = (address, init) => {
    if (init?.body instanceof FormData) {
      const entries = [...init.body].map(([name, value]) => [name, value.size ?? value]);
      globalThis.sentForms.push(Object.fromEntries(entries));
    }
    return fetch(address, init);
  };
}

export const lastForm = (page) => page.evaluate(() => globalThis.sentForms.at(-1));

export async function flow(name, run) {
  if (!name.includes(part)) return;
  complaints = [];
  try {
    await run();
    assert.deepEqual(complaints, [], "the browser complained");
    console.log(`ok ${name}`);
  } catch (why) {
    console.error(`wrong: ${name}\n${why.stack ?? why}`);
    if (complaints.length > 0) console.error(complaints.join("\n"));
    await browser.close();
    process.exit(1);
  } finally {
    for (const context of browser.contexts()) await context.close();
  }
}

/** Keeps what is seen, and checks that nothing stands beyond the side of the window. */
export async function shot(page, name) {
  await page.screenshot({ path: path.join(folder, `${name}.png`), fullPage: true });
  await checkWidth(page, name);
}

/** Checks by axe-core that nothing of what is seen shuts out a reader. */
export async function checkAccess(page, where) {
  // An isolated evaluation is not held by the policy of the page, which forbids foreign scripts.
  await page.evaluate(axeSource);
  const found = await page.evaluate(() =>
    globalThis.axe.run(document, { resultTypes: ["violations"] }),
  );
  const violations = found.violations.map(
    ({ id, nodes }) => `${id}: ${nodes.map((node) => `${node.html} ${node.failureSummary}`)}`,
  );
  assert.deepEqual(violations, [], `axe-core in ${where}`);
}

export async function checkWidth(page, where) {
  const [wanted, found] = await page.evaluate(() => [
    document.documentElement.clientWidth,
    document.documentElement.scrollWidth,
  ]);
  assert.ok(found <= wanted, `${where} is ${found} pixels wide in a window of ${wanted}`);
}

/** Answers a path with events that are made here. */
export async function script(page, route, events) {
  const body = events.map((event) => `data: ${JSON.stringify(event)}\n\n`).join("");
  await page.route(route, (asked) =>
    asked.fulfill({ contentType: "text/event-stream", body: `${body}data: [DONE]\n\n` }),
  );
}

export const CHAT = "**/v1/chat/completions";
export const DRAW = "**/v1/images/generations";
export const EDIT = "**/v1/images/edits";
export const delta = (what, reason = null) => ({
  choices: [{ index: 0, delta: what, finish_reason: reason }],
});
export const url = `data:image/png;base64,${PIXEL}`;
export const ANSWER = [
  delta({ role: "assistant" }),
  delta({ content: "Here " }),
  delta({ content: "it is:" }),
  delta({ images: [{ type: "image_url", image_url: { url } }] }),
  delta({ content: "Is it red?" }),
  delta({}, "stop"),
];

/**
 * Lets every request of the page be answered by events and then by silence, until it is stopped or,
 * after `breaksAfter` milliseconds, the connection breaks. Bytes arrive cut in the middle of lines.
 */
export function hang(page, events, breaksAfter = null) {
  const text = events.map((event) => `data: ${JSON.stringify(event)}\r\n\r\n`).join("");
  const replace = ([text, breaksAfter]) => {
    globalThis.fetch = async (address, { signal }) => {
      const body = new ReadableStream({
        start(stream) {
          for (let at = 0; at < text.length; at += 30) {
            stream.enqueue(new TextEncoder().encode(text.slice(at, at + 30)));
          }
          signal.addEventListener("abort", () => stream.error(signal.reason));
          const broken = new TypeError("network error");
          if (breaksAfter) setTimeout(() => stream.error(broken), breaksAfter);
        },
      });
      return new Response(body, { headers: { "content-type": "text/event-stream" } });
    };
  };
  return page.evaluate(replace, [text, breaksAfter]);
}

/** Waits until a view is no longer busy. */
export const idle = (page, id) => page.locator(`#${id}[aria-busy=false]`).waitFor({ state: "attached" });

export async function drawOne(page, caption, { seed = "7", count = "1" } = {}) {
  await page.locator("#draw-form details").evaluate((details) => (details.open = true));
  await page.fill("#draw-prompt", caption);
  await page.fill("#draw-steps", "6");
  await page.fill("#draw-count", count);
  if (seed !== null) {
    await page.uncheck("#draw-random");
    await page.fill("#draw-seed", seed);
  }
  await page.click("#draw-go");
  await idle(page, "drawn");
  const places = ["#draw-error", "#draw-form .problem"];
  for (const place of places) {
    for (const text of await page.locator(place).allTextContents()) {
      assert.equal(text, "", "the drawing was refused");
    }
  }
}

export const imageOf = (page, at = 0) => page.locator("#drawn .card img").nth(at).getAttribute("src");

export async function saved(page, click) {
  const [file] = await Promise.all([page.waitForEvent("download"), click()]);
  return { name: file.suggestedFilename(), bytes: fs.readFileSync(await file.path()) };
}
