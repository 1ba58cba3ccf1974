// Times of a site whose model runs in the browser, in a headless Chromium: from opening the page
// without anything kept to a model that is ready, to its first image, and what the button of the
// page measures.
//
//   MM_PAGE_TOOLS=DIR MM_WASM=DIR MM_MODEL=DIR MM=FILE node web_times.mjs URL SCREENSHOTS
//
// The variables and URL are as in web_flows.mjs. Nothing else should run on the machine.

import { browser } from "./page_kit.mjs";
import { draw, ready, serve, stop } from "./web_site.mjs";

const OPENED = 5;

await serve();
const times = { ready: [], image: [], button: [] };
for (let at = 0; at < OPENED; at += 1) {
  const begun = Date.now();
  const page = await ready("draw");
  times.ready.push(Date.now() - begun);
  await draw(page, "red K on yellow", at);
  times.image.push(Date.now() - begun);
  await page.click("#bench");
  const result = page.locator("#bench-result", { hasText: "ms" });
  await result.waitFor();
  times.button.push(await result.textContent());
  await page.context().close();
}
console.log(JSON.stringify(times, null, 2));
await browser.close();
await stop();
