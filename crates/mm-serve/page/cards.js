// A card: an image, how it was made, and what can be done with it.

import { action, announce, download, h, pixelImage, scrubber, summary } from "./view.js";

/**
 * Makes the card of a finished item. `context` says where images go; `partials` are the addresses
 * of the estimates from before the end, and `room` is the largest width in pixels.
 */
export function card(context, item, { partials = [], room = 320, forget = null } = {}) {
  const { settings } = item;
  const name = settings.prompt || "image";
  const image = pixelImage(item.url, settings.prompt || "Image that the model drew", room);
  const parts = [h("div", { class: "frame" }, image)];
  if (partials.length > 0) parts.push(scrubber(partials, item.url, (url) => (image.src = url)));
  if (settings.prompt) parts.push(h("p", { class: "caption", text: settings.prompt }));
  const line = summary(settings);
  if (line) parts.push(h("p", { class: "hint", text: line }));
  parts.push(actions(context, item, name, forget));
  return h("li", { class: "card" }, ...parts);
}

/** Makes the buttons of an item. */
export function actions(context, item, name, forget = null) {
  const save = () => download(item).then(() => announce("Downloaded."));
  const buttons = [action("Download", name, save)];
  if (item.settings.seed !== undefined && item.kind !== "chat") {
    buttons.push(action("Reuse settings", name, () => context.reuse(item)));
  }
  buttons.push(action("Edit", name, () => context.edit(item)));
  buttons.push(action("Use in chat", name, () => context.attach(item)));
  if (forget) buttons.push(action("Forget", name, forget));
  return h("div", { class: "actions" }, ...buttons);
}
