// Small pieces that every view is made of: elements, files, and images with what can be done.

import { isPng, pngTexts, withTexts } from "./png.js";

/** Images with a shorter side below this are magnified with hard edges. */
const SMALL = 256;

/** Makes an element. Names that start with `on` are listeners; `text` is its text. */
export function h(tag, props = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(props)) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "text") element.textContent = value;
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

export const byId = (id) => document.getElementById(id);

/** Says something to those who do not see the page. */
export function announce(text) {
  const status = byId("announcer");
  status.textContent = "";
  // A change of text is read; the same text twice is not, unless it was empty in between.
  setTimeout(() => (status.textContent = text), 50);
}

/** Reads a file as a data URI. */
export function dataUrlOf(blob) {
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(reader.result);
    reader.onerror = () => reject(reader.error);
    reader.readAsDataURL(blob);
  });
}

/** Returns the bytes of a data URI; its content is base64. */
export function bytesOf(url) {
  const binary = atob(url.slice(url.indexOf(",") + 1));
  return Uint8Array.from(binary, (letter) => letter.charCodeAt(0));
}

/** Returns a blob of a data URI, with its type. */
export function blobOf(url) {
  const type = url.slice(5, url.indexOf(";"));
  return new Blob([bytesOf(url)], { type });
}

/** Loads an image, or rejects in words that a reader understands. */
export function loadImage(url) {
  return new Promise((resolve, reject) => {
    const image = new Image();
    image.onload = () => resolve(image);
    image.onerror = () => reject(new Error("This file cannot be read as an image."));
    image.src = url;
  });
}

/** Makes an image element that magnifies small images by a whole number up to `room` pixels. */
export function pixelImage(url, alt, room) {
  const image = h("img", { alt, class: "pixels", draggable: "false" });
  image.addEventListener("load", () => fit(image, room));
  image.src = url;
  return image;
}

/** Sets the width of an image: magnified by a whole number if it is small. */
export function fit(image, most) {
  const { naturalWidth: width, naturalHeight: height } = image;
  if (!width || !height) return;
  const room = Math.min(most, document.documentElement.clientWidth - 32);
  const longer = Math.max(width, height);
  const isSmall = Math.min(width, height) < SMALL;
  const times = isSmall ? Math.max(1, Math.floor(room / longer)) : Math.min(1, room / longer);
  image.classList.toggle("magnified", isSmall);
  image.style.width = `${Math.round(width * times)}px`;
}

/** Makes a small button. */
export function action(text, name, run) {
  const label = name ? `${text}: ${name}` : undefined;
  return h("button", { type: "button", class: "quiet", text, "aria-label": label, onclick: run });
}

/** Returns the images among files that were chosen, dropped or pasted. */
export function imagesIn(transfer) {
  const files = [...(transfer?.files ?? [])];
  return files.filter((file) => file.type.startsWith("image/"));
}

/** Saves an item as a file; a PNG file tells how the image was made. */
export async function download(item) {
  const bytes = bytesOf(item.url);
  const file = isPng(bytes) ? await withTexts(bytes, textsOf(item.settings)) : bytes;
  const type = item.url.slice(5, item.url.indexOf(";"));
  const url = URL.createObjectURL(new Blob([file], { type }));
  h("a", { href: url, download: nameOf(item, type.slice(6)) }).click();
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
}

function nameOf(item, format) {
  const { prompt = "", seed } = item.settings;
  const words = prompt.toLowerCase().replace(/[^\p{L}\p{N}]+/gu, "-").slice(0, 40);
  const stem = words.replace(/^-+|-+$/g, "") || item.kind;
  const extension = format === "jpeg" ? "jpg" : format;
  return seed === undefined ? `${stem}.${extension}` : `${stem}-seed-${seed}.${extension}`;
}

/** The keywords under which settings stand in PNG files, as the command line writes them. */
const KEYWORDS = {
  prompt: "Description",
  negative_prompt: "Negative",
  model: "Model",
  seed: "Seed",
  sampler: "Sampler",
  steps: "Steps",
  guidance: "Guidance",
  strength: "Strength",
  size: "Size",
};

function textsOf(settings) {
  const texts = {};
  for (const [name, keyword] of Object.entries(KEYWORDS)) {
    if (settings[name] !== undefined) texts[keyword] = String(settings[name]);
  }
  return texts;
}

/** Returns the settings that the texts of a PNG file tell. */
export function settingsFrom(texts) {
  const settings = {};
  for (const [name, keyword] of Object.entries(KEYWORDS)) {
    if (texts[keyword] !== undefined) settings[name] = texts[keyword];
  }
  return settings;
}

/** Returns settings with what the PNG file of an image tells, such as the defaults that it had. */
export async function withSettingsOf(url, settings) {
  return { ...settings, ...settingsFrom(await pngTexts(bytesOf(url))) };
}

/** Says in a line how an image was made. */
export function summary(settings) {
  const { seed, steps, guidance, sampler, strength, size } = settings;
  const parts = [
    seed === undefined ? null : `seed ${seed}`,
    steps === undefined ? null : `${steps} steps`,
    guidance === undefined ? null : `guidance ${guidance}`,
    strength === undefined ? null : `strength ${strength}`,
    sampler ?? null,
    size && size !== "auto" ? size : null,
  ];
  return parts.filter(Boolean).join(" · ");
}

/** Makes a slider over the estimates of a drawing; `show` gets the address of the chosen one. */
export function scrubber(partials, last, show) {
  const all = [...partials, last];
  const words = (at) => (at < partials.length ? `${at + 1} of ${all.length}` : "finished");
  const output = h("output", { text: words(partials.length), "aria-hidden": "true" });
  const slider = h("input", {
    type: "range",
    min: 0,
    max: partials.length,
    value: partials.length,
    "aria-label": "Denoising",
    "aria-valuetext": words(partials.length),
    oninput: () => {
      const at = Number(slider.value);
      output.textContent = words(at);
      slider.setAttribute("aria-valuetext", words(at));
      show(all[at]);
    },
  });
  const name = h("span", { text: "Denoising", "aria-hidden": "true" });
  return h("div", { class: "scrub" }, name, slider, output);
}
