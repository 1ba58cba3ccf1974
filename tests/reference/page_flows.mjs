// Every flow of the page at `/`, in a headless Chromium, against a running server.
//
//   MM_PAGE_TOOLS=DIR node page_flows.mjs http://127.0.0.1:8080 SCREENSHOTS [PART-OF-A-NAME]
//
// DIR is a folder in which `npm install playwright-core axe-core` was run; CHROMIUM names the
// browser, /usr/bin/chromium if it is not set. A line is printed for each flow; the first that is
// wrong ends the program with code 1. Where a flow needs an answer that no server gives at will (a
// key is asked for, a queue is full, a stream that breaks), the answer is made here.

import assert from "node:assert/strict";

import { ANSWER, CHAT, DRAW, EDIT, PIXEL, base, browser, delta, url } from "./page_kit.mjs";
import { checkAccess, drawOne, flow, forgive, hang, idle, imageOf } from "./page_kit.mjs";
import { lastForm, open, saved, script, shot } from "./page_kit.mjs";

await flow("the page loads from its server alone and lists the models", async () => {
  const page = await open();
  await page.locator("#model:enabled").waitFor();
  assert.ok((await page.locator("#model option").count()) > 0);
  assert.equal(await page.locator("nav [aria-current=page]").textContent(), "Chat");
  await shot(page, "chat-empty");
  for (const view of ["Draw", "Edit", "History"]) {
    await page.getByRole("link", { name: view, exact: true }).click();
    await page.locator(`#view-${view.toLowerCase()}`).waitFor();
    await shot(page, `${view.toLowerCase()}-empty`);
  }
});

await flow("an answer shows text and images in their order", async () => {
  const page = await open();
  await script(page, CHAT, ANSWER);
  await page.fill("#message", "draw a red 7");
  await page.press("#message", "Enter");
  await idle(page, "turns");
  const parts = await page.locator(".turn.assistant").evaluate((turn) =>
    [...turn.querySelectorAll("p, img")].map((part) => part.textContent || part.tagName),
  );
  assert.deepEqual(parts, ["Here it is:", "IMG", "Is it red?"]);
  await shot(page, "chat-answer");
  await page.reload();
  assert.equal(await page.locator(".turn").count(), 2, "the conversation is lost by loading anew");
  await page.click("#chat-new");
  assert.equal(await page.locator(".turn").count(), 0);
});

await flow("images are pasted, dropped and chosen into a message and sent in order", async () => {
  const page = await open();
  let sent = null;
  await page.route(CHAT, (asked) => {
    sent = asked.request().postDataJSON();
    const body = ANSWER.map((event) => `data: ${JSON.stringify(event)}\n\n`).join("");
    return asked.fulfill({ contentType: "text/event-stream", body });
  });
  const give = (kind) =>
    page.evaluate(
      ([name, base64]) => {
        const bytes = Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0));
        const transfer = new DataTransfer();
        transfer.items.add(new File([bytes], `${name}.png`, { type: "image/png" }));
        const options = { bubbles: true, cancelable: true };
        const event =
          name === "paste"
            ? new ClipboardEvent(name, { ...options, clipboardData: transfer })
            : new DragEvent(name, { ...options, dataTransfer: transfer });
        document.body.dispatchEvent(event);
      },
      [kind, PIXEL],
    );
  await give("paste");
  await page.locator("#attached li").nth(0).waitFor();
  await give("drop");
  await page.locator("#attached li").nth(1).waitFor();
  const buffer = Buffer.from(PIXEL, "base64");
  await page.setInputFiles("#attach", { name: "chosen.png", mimeType: "image/png", buffer });
  await page.locator("#attached li").nth(2).waitFor();
  await page.getByRole("button", { name: "Remove: drop.png" }).click();
  await page.fill("#message", "what are these?");
  await shot(page, "chat-attached");
  await checkAccess(page, "a message with images");
  await page.click("#send");
  await idle(page, "turns");
  const kinds = sent.messages[0].content.map((part) => part.type);
  assert.deepEqual(kinds, ["image_url", "image_url", "text"]);
  assert.equal(sent.messages[0].content[0].image_url.url, url);
  await page.fill("#message", "and now?");
  await page.press("#message", "Enter");
  await page.locator(".turn.assistant").nth(1).waitFor();
  await idle(page, "turns");
  const roles = sent.messages.map((message) => message.role);
  assert.deepEqual(roles, ["user", "assistant", "user"]);
  const answer = sent.messages[1].content.map((part) => part.type);
  assert.deepEqual(answer, ["text", "image_url", "text"]);
});

await flow("a file that is no image, and an empty message, are refused in words", async () => {
  const page = await open();
  await page.click("#send");
  assert.match(await page.locator("#message-problem").textContent(), /Write a message/);
  const buffer = Buffer.from("no image");
  await page.setInputFiles("#attach", { name: "a.png", mimeType: "image/png", buffer });
  await page.getByText("cannot be read as an image").waitFor();
});

await flow("an answer that does not end can be stopped", async () => {
  const page = await open();
  await page.route(CHAT, () => {});
  await page.fill("#message", "draw a red 7");
  await page.press("#message", "Enter");
  await page.locator("#chat-stop").waitFor();
  await shot(page, "chat-busy");
  await page.click("#chat-stop");
  await page.locator(".turn .hint", { hasText: "Stopped." }).waitFor();
  await page.locator("#send").waitFor();
});

await flow("a new chat forgets the answer that was on its way", async () => {
  const page = await open();
  await hang(page, [delta({ content: "Half an ans" })]);
  await page.fill("#message", "draw a red 7");
  await page.press("#message", "Enter");
  await page.getByText("Half an ans").waitFor();
  await page.click("#chat-new");
  await page.locator("#chat-empty").waitFor();
  await page.locator("#send").waitFor();
  await page.reload();
  await page.locator("#chat-empty").waitFor();
  assert.equal(await page.locator(".turn").count(), 0);
});

await flow("a failed answer says why and can be asked again", async () => {
  const page = await open();
  const error = { message: "3 requests wait, which is the most", param: null };
  const refuse = (asked) =>
    asked.fulfill({ status: 429, headers: { "retry-after": "3" }, json: { error } });
  await page.route(CHAT, refuse);
  await page.fill("#message", "draw a red 7");
  await page.press("#message", "Enter");
  const words = await page.locator(".turn .error").textContent();
  assert.equal(words, "3 requests wait, which is the most; try again in 3 s");
  await shot(page, "chat-failed");
  await checkAccess(page, "a failed answer");
  await page.unroute(CHAT);
  await script(page, CHAT, [delta({ content: "Half" }), { error: { message: "out of memory" } }]);
  await page.getByRole("button", { name: "Ask again" }).click();
  await page.getByText("out of memory").waitFor();
  assert.equal(await page.locator(".turn.assistant").count(), 1);
  let sent = null;
  await page.unroute(CHAT);
  await page.route(CHAT, (asked) => {
    sent = asked.request().postDataJSON();
    const body = `data: ${JSON.stringify(delta({ content: "A whole answer" }, "stop"))}\n\n`;
    return asked.fulfill({ contentType: "text/event-stream", body });
  });
  await page.getByRole("button", { name: "Ask again" }).click();
  await page.getByText("A whole answer").waitFor();
  assert.equal(sent.messages.length, 1, "half an answer was sent back");
});

await flow("a model answers a message without an error", async () => {
  const page = await open();
  await page.locator("#model:enabled").waitFor();
  await page.locator("summary").first().click();
  await page.fill("#chat-tokens", "40");
  await page.fill("#chat-steps", "4");
  await page.fill("#message", "draw a red 7");
  await page.press("#message", "Enter");
  await page.locator(".turn.assistant").waitFor();
  await idle(page, "turns");
  assert.equal(await page.locator(".turn .error").count(), 0);
  await shot(page, "chat-model");
  await checkAccess(page, "a chat");
});

await flow("a drawing is watched, scrubbed, and the same again by its seed", async () => {
  const page = await open({ view: "draw" });
  await page.locator("#model:enabled").waitFor();
  await page.evaluate(() => {
    globalThis.seen = new Set();
    const look = () => {
      for (const { textContent } of document.querySelectorAll("#drawn .hint")) {
        seen.add(textContent);
      }
    };
    const place = document.querySelector("#drawn");
    new MutationObserver(look).observe(place, { subtree: true, childList: true });
  });
  await drawOne(page, "a red 7 on gray");
  await shot(page, "draw-done");
  const seen = await page.evaluate(() => [...globalThis.seen]);
  for (const text of ["Waiting for its turn…", "Denoising: estimate 1", "Denoising: estimate 3"]) {
    assert.ok(seen.includes(text), `${text} was not seen, only ${seen}`);
  }
  const slider = page.getByRole("slider", { name: "Denoising" });
  assert.equal(await slider.getAttribute("max"), "3", "three estimates are kept");
  const final = await imageOf(page);
  await slider.press("Home");
  assert.equal(await slider.getAttribute("aria-valuetext"), "1 of 4");
  assert.notEqual(await imageOf(page), final);
  await shot(page, "draw-scrubbed");
  await slider.press("End");
  assert.equal(await imageOf(page), final);
  await checkAccess(page, "a finished drawing");
  await drawOne(page, "a red 7 on gray");
  assert.equal(await imageOf(page), final, "the same seed gave another image");
  await drawOne(page, "a red 7 on gray", { seed: "8" });
  assert.notEqual(await imageOf(page), final);
});

await flow("a drawing that hangs shows its estimate and can be stopped", async () => {
  const page = await open({ view: "draw" });
  const event = { type: "image_generation.partial_image", partial_image_index: 0 };
  const estimate = { ...event, b64_json: PIXEL, image_index: 0 };
  await hang(page, [estimate]);
  await page.fill("#draw-prompt", "a red 7");
  await page.click("#draw-go");
  await page.getByText("Denoising: estimate 1").waitFor();
  await shot(page, "draw-busy");
  await checkAccess(page, "a drawing in progress");
  await page.click("#draw-stop");
  await page.getByText("Stopped at estimate 1; not kept.").waitFor();
  await page.locator("#draw-go").waitFor();
  await hang(page, [estimate], 300);
  await page.click("#draw-go");
  await page.getByText("The connection broke before the answer was complete.").waitFor();
});

await flow("several images are drawn side by side, each with its seed", async () => {
  const page = await open({ view: "draw" });
  await drawOne(page, "a green K", { seed: "40", count: "3" });
  const lines = await page.locator("#drawn .card p.hint").allTextContents();
  assert.deepEqual(lines.map((line) => line.split(" · ")[0]), ["seed 40", "seed 41", "seed 42"]);
  await shot(page, "draw-three");
});

await flow("a random seed is shown and can be reused", async () => {
  const page = await open({ view: "draw" });
  await drawOne(page, "a blue K", { seed: null });
  const seed = await page.inputValue("#draw-seed");
  assert.match(seed, /^\d+$/);
  const first = await imageOf(page);
  await page.getByRole("button", { name: "Reuse settings: a blue K" }).click();
  assert.equal(await page.isChecked("#draw-random"), false);
  await page.click("#draw-go");
  await idle(page, "drawn");
  assert.equal(await page.inputValue("#draw-seed"), seed);
  assert.equal(await imageOf(page), first);
});

await flow("a downloaded image restores its settings where it is dropped or chosen", async () => {
  const page = await open({ view: "draw" });
  await drawOne(page, "a red 7 on gray", { seed: "1234" });
  const card = page.locator("#drawn .card");
  const { name, bytes } = await saved(page, () => card.getByText("Download").click());
  assert.equal(name, "a-red-7-on-gray-seed-1234.png");
  await page.reload();
  assert.equal(await page.inputValue("#draw-prompt"), "");
  const file = { name, mimeType: "image/png", buffer: bytes };
  await page.setInputFiles("#draw-restore", file);
  await page.getByText("The settings of the image were restored.").waitFor();
  assert.equal(await page.inputValue("#draw-prompt"), "a red 7 on gray");
  assert.equal(await page.inputValue("#draw-seed"), "1234");
  assert.equal(await page.inputValue("#draw-steps"), "6");
  await shot(page, "draw-restored");
  const plain = { name: "plain.png", mimeType: "image/png", buffer: Buffer.from(PIXEL, "base64") };
  await page.setInputFiles("#draw-restore", plain);
  await page.getByText("holds no settings").waitFor();
});

await flow("an image of the chat is saved with its settings inside", async () => {
  const page = await open();
  await script(page, CHAT, ANSWER);
  await page.fill("#message", "draw ein grünes ß");
  await page.press("#message", "Enter");
  await idle(page, "turns");
  const { bytes } = await saved(page, () => page.locator(".made").getByText("Download").click());
  assert.ok(bytes.includes(Buffer.from("draw ein grünes ß", "utf8")), "no caption in the file");
  await page.goto(`${base}/#draw`);
  const file = { name: "chat.png", mimeType: "image/png", buffer: bytes };
  await page.setInputFiles("#draw-restore", file);
  await page.getByText("The settings of the image were restored.").waitFor();
  assert.equal(await page.inputValue("#draw-prompt"), "draw ein grünes ß");
});

await flow("wrong fields of a drawing are named where they stand", async () => {
  const page = await open({ view: "draw" });
  await page.click("#draw-go");
  assert.match(await page.locator("#draw-prompt-problem").textContent(), /Write what/);
  assert.equal(await page.evaluate(() => document.activeElement.id), "draw-prompt");
  await page.fill("#draw-prompt", "a red 7");
  await page.fill("#draw-steps", "many");
  await page.click("#draw-go");
  assert.match(await page.locator("#draw-steps-problem").textContent(), /whole number/);
  assert.equal(await page.locator("#draw-prompt-problem").isVisible(), false);
  await page.fill("#draw-steps", "");
  await page.fill("#draw-size", "33x7");
  await page.click("#draw-go");
  const size = page.locator("#draw-size-problem");
  await size.waitFor();
  assert.match(await size.textContent(), /33/);
  assert.equal(await page.getAttribute("#draw-size", "aria-invalid"), "true");
  await shot(page, "draw-refused");
  await checkAccess(page, "a refused drawing");
});

await flow("a drawing can be stopped, and a server that is gone is told in words", async () => {
  const page = await open({ view: "draw" });
  await page.route(DRAW, () => {});
  await page.fill("#draw-prompt", "a red 7");
  await page.click("#draw-go");
  await shot(page, "draw-waiting");
  await page.click("#draw-stop");
  await page.locator("#draw-empty").waitFor();
  await page.unroute(DRAW);
  await page.route(DRAW, (asked) => asked.abort());
  await page.click("#draw-go");
  await page.getByText("The server cannot be reached.").waitFor();
  await shot(page, "draw-failed");
  forgive("net::ERR_FAILED");
});

/** Draws an image and takes it into Edit. */
async function openEdit(options = {}) {
  const page = await open({ view: "draw", ...options });
  await drawOne(page, "a red 7 on gray");
  await page.getByRole("button", { name: "Edit: a red 7 on gray" }).click();
  await page.locator("#painter canvas").waitFor();
  await page.locator("#painter-title", { hasText: "×" }).waitFor();
  await page.locator("#edit-form summary").click();
  await page.fill("#edit-steps", "6");
  return page;
}

const painted = (page) =>
  page.locator("#painter canvas").evaluate((canvas) => {
    const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
    return data.filter((value, at) => at % 4 === 3 && value > 0).length;
  });

await flow("a mask is painted by pointer and keys, inverted, undone and cleared", async () => {
  const page = await openEdit();
  await page.click("#edit-go");
  assert.match(await page.locator("#mask-problem").textContent(), /Nothing is painted/);
  await shot(page, "edit-refused");
  const canvas = page.locator("#painter canvas");
  const box = await canvas.boundingBox();
  await page.mouse.move(box.x + box.width * 0.3, box.y + box.height * 0.3);
  await page.mouse.down();
  await page.mouse.move(box.x + box.width * 0.6, box.y + box.height * 0.5, { steps: 5 });
  await page.mouse.up();
  const first = await painted(page);
  assert.ok(first > 0);
  await page.click("#mask-invert");
  const whole = await canvas.evaluate(({ width, height }) => width * height);
  assert.equal(await painted(page), whole - first);
  await page.click("#mask-undo");
  assert.equal(await painted(page), first);
  await page.click("#mask-clear");
  assert.equal(await painted(page), 0);
  await canvas.focus();
  await page.keyboard.press("[");
  await page.keyboard.press("Space");
  const dab = await painted(page);
  assert.ok(dab > 0);
  await page.keyboard.down("Space");
  for (let step = 0; step < 6; step += 1) await page.keyboard.press("ArrowRight");
  await page.keyboard.up("Space");
  const line = await painted(page);
  assert.ok(line > dab);
  await page.keyboard.press("ArrowDown");
  assert.equal(await painted(page), line, "a move without Space painted");
  await shot(page, "edit-painted");
  await page.keyboard.press("e");
  await page.keyboard.press("Space");
  assert.ok((await painted(page)) < line);
  await page.keyboard.press("Control+z");
  assert.equal(await painted(page), line);
  await checkAccess(page, "a painted mask");
});

await flow("a masked edit sends image and mask and compares before and after", async () => {
  const page = await openEdit();
  const canvas = page.locator("#painter canvas");
  await canvas.focus();
  await page.keyboard.press("Space");
  await page.fill("#edit-prompt", "a green 7 on gray");
  await page.click("#edit-go");
  const slider = page.getByRole("slider", { name: "Compare before and after" });
  await slider.waitFor();
  const sent = await lastForm(page);
  assert.equal(sent.prompt, "a green 7 on gray");
  assert.equal(sent.steps, "6");
  assert.ok(sent.image > 0 && sent.mask > 0 && sent.seed !== undefined, JSON.stringify(sent));
  assert.ok(!("strength" in sent));
  const seed = await page.inputValue("#edit-seed");
  await page.fill("#edit-prompt", "something else");
  await page.getByRole("button", { name: "Reuse settings: result" }).click();
  assert.equal(await page.inputValue("#edit-prompt"), "a green 7 on gray");
  assert.equal(await page.inputValue("#edit-seed"), seed);
  assert.equal(await page.isChecked("#edit-random"), false);
  await slider.press("ArrowRight");
  assert.equal(await slider.getAttribute("aria-valuetext"), "51 % before, 49 % after");
  const clip = await page.locator(".pair .over").evaluate((image) => image.style.clipPath);
  assert.match(clip, /51%/);
  assert.equal(await page.getByRole("slider", { name: "Denoising" }).last().isVisible(), true);
  await shot(page, "edit-done");
  await checkAccess(page, "a finished edit");
});

await flow("an edit without a mask has a strength, or none by instruction", async () => {
  const page = await openEdit();
  await page.getByLabel("The whole image, by strength").check();
  await page.locator("#edit-strength").press("ArrowRight");
  await shot(page, "edit-strength");
  await page.click("#edit-go");
  await page.locator(".compare").waitFor();
  await idle(page, "edit-result");
  const byStrength = await lastForm(page);
  assert.equal(byStrength.strength, "0.65");
  assert.ok(!("mask" in byStrength));
  await page.getByLabel("What the caption tells to change").check();
  await page.fill("#edit-prompt", "make it blue");
  await script(page, EDIT, [
    { type: "image_edit.completed", b64_json: PIXEL, output_format: "png", image_index: 0 },
  ]);
  await page.click("#edit-go");
  await page.locator(".caption", { hasText: "make it blue" }).waitFor();
  const byInstruction = await lastForm(page);
  assert.ok(!("strength" in byInstruction) && !("mask" in byInstruction));
});

await flow("what an edit lacks is said where it is, by page and by server", async () => {
  const page = await open({ view: "edit" });
  await page.click("#edit-go");
  assert.match(await page.locator("#edit-file-problem").textContent(), /Choose the image/);
  const buffer = Buffer.from(PIXEL, "base64");
  await page.setInputFiles("#edit-file", { name: "a.png", mimeType: "image/png", buffer });
  await page.locator("#painter-title", { hasText: "×" }).waitFor(); // The image is loaded.
  await page.locator("#painter canvas").focus();
  await page.keyboard.press("Space");
  await page.fill("#edit-prompt", "a green 7");
  const error = { message: "the mask has another size than the image", param: "mask" };
  await page.route(EDIT, (asked) => asked.fulfill({ status: 400, json: { error } }));
  await page.click("#edit-go");
  await page.locator("#mask-problem", { hasText: "another size" }).waitFor();
});

await flow("the history keeps images with their settings, gives them on, and forgets", async () => {
  const page = await open({ view: "draw" });
  await drawOne(page, "a red 7 on gray", { seed: "1" });
  await drawOne(page, "a green K", { seed: "2", count: "2" });
  await page.reload();
  await page.getByRole("link", { name: "History" }).click();
  const cards = page.locator("#history .card");
  await cards.nth(2).waitFor();
  assert.equal(await cards.count(), 3);
  await shot(page, "history");
  await checkAccess(page, "the history");
  await page.getByRole("button", { name: "Use in chat: a red 7 on gray" }).click();
  await page.locator("#attached li").waitFor();
  await page.getByRole("link", { name: "History" }).click();
  await page.getByRole("button", { name: "Reuse settings: a red 7 on gray" }).click();
  assert.equal(await page.inputValue("#draw-seed"), "1");
  await page.getByRole("link", { name: "History" }).click();
  await page.getByRole("button", { name: "Forget: a red 7 on gray" }).click();
  await cards.nth(2).waitFor({ state: "detached" });
  assert.equal(await cards.count(), 2);
  await page.evaluate(() => {
    const { clear } = IDBObjectStore.prototype;
    IDBObjectStore.prototype.clear = () => {
      IDBObjectStore.prototype.clear = clear;
      throw new DOMException("no room", "QuotaExceededError");
    };
  });
  await page.click("#history-clear");
  assert.equal(await cards.count(), 2, "one click forgot everything");
  await page.click("#history-clear");
  await page.locator("#history-problem", { hasText: "could not forget" }).waitFor();
  assert.equal(await cards.count(), 2, "what is still in the database is still shown");
  await page.click("#history-clear");
  await page.click("#history-clear");
  await page.locator("#history-empty").waitFor();
  assert.ok(await page.locator("#history-problem").isHidden());
  // What is told to be forgotten does not come back, however soon the page is loaded anew.
  await page.reload();
  await page.locator("#history-empty").waitFor();
});

await flow("a server that wants a key asks for it, and requests show the key", async () => {
  const page = await open({ view: "edit" });
  const error = { message: "an API key is wanted", code: "invalid_api_key" };
  const keys = [];
  await page.route("**/v1/models", (asked) => {
    const key = asked.request().headers().authorization;
    keys.push(key);
    if (key !== "Bearer right") return asked.fulfill({ status: 401, json: { error } });
    return asked.fulfill({ json: { data: [{ id: "behind-a-key" }] } });
  });
  await page.reload();
  await page.getByText("an API key is wanted").waitFor();
  await shot(page, "key");
  await checkAccess(page, "the key");
  await page.fill("#key", "wrong");
  await page.press("#key", "Enter");
  await page.waitForTimeout(100);
  await page.fill("#key", "right");
  await page.press("#key", "Enter");
  await page.locator("#model option", { hasText: "behind-a-key" }).waitFor({ state: "attached" });
  assert.equal(await page.locator("#key-form").isVisible(), false);
  assert.equal(keys.at(-1), "Bearer right");
  await page.reload();
  await page.locator("#model:enabled").waitFor();
  assert.equal(keys.at(-1), "Bearer right", "the key is forgotten within the tab");
});

await flow("an image is drawn, scrubbed and masked by the keyboard alone", async () => {
  const page = await open();
  await page.locator("#model:enabled").waitFor();
  const focused = () =>
    page.evaluate(() => {
      const { activeElement: at } = document;
      return at.id || at.getAttribute("aria-label") || at.textContent.trim();
    });
  const tabTo = async (wanted) => {
    for (let tabs = 0; tabs < 80; tabs += 1) {
      if ((await focused()) === wanted) return;
      await page.keyboard.press("Tab");
    }
    assert.fail(`Tab does not lead to ${wanted}`);
  };
  await tabTo("Draw");
  await page.keyboard.press("Enter");
  await page.locator("#view-draw").waitFor();
  await tabTo("draw-prompt");
  await page.keyboard.type("a red 7");
  await page.keyboard.press("Control+Enter");
  await page.locator("#drawn .card img").first().waitFor();
  await idle(page, "drawn");
  await tabTo("Denoising");
  await page.keyboard.press("ArrowLeft");
  await shot(page, "keyboard-focus");
  await tabTo("Edit: a red 7");
  await page.keyboard.press("Enter");
  await page.locator("#painter-title", { hasText: "×" }).waitFor();
  await tabTo("Mask over the image");
  await page.keyboard.press("Space");
  assert.ok((await painted(page)) > 0);
  await page.keyboard.press("Tab");
  assert.notEqual(await focused(), "Mask over the image", "the mask keeps the focus");
});

for (const [name, options] of [
  ["dark", { dark: true }],
  ["narrow", { width: 360, height: 740 }],
  ["narrow-dark", { width: 360, height: 740, dark: true, still: true }],
]) {
  await flow(`every view is readable: ${name}`, async () => {
    const page = await openEdit(options);
    await page.locator("#painter canvas").focus();
    await page.keyboard.press("Space");
    await page.click("#edit-go");
    await page.locator(".compare").waitFor();
    await idle(page, "edit-result");
    const check = async (view) => {
      await checkAccess(page, `${view}, ${name}`);
      await shot(page, `${view}-${name}`);
    };
    await check("edit");
    for (const view of ["draw", "history"]) {
      await page.goto(`${base}/#${view}`);
      await page.locator(`#view-${view} .card img`).first().waitFor();
      await check(view);
    }
    await page.goto(`${base}/#chat`);
    await page.locator("#chat-empty").waitFor();
    await check("chat-empty");
    await script(page, CHAT, ANSWER);
    await page.fill("#message", "draw a red 7, and tell me whether it is red");
    await page.click("#send");
    await idle(page, "turns");
    await check("chat");
  });
}

await browser.close();
console.log("all flows are right");
