// Fields of a form: what they are called, how they are read, and where their errors stand.

import { byId, h } from "./view.js";

const SAMPLERS = [
  ["", "Default"],
  ["euler", "Euler"],
  ["heun", "Heun, two calls a step"],
  ["dpm++2m", "DPM-Solver++ 2M"],
  ["ddim", "DDIM"],
  ["ddpm", "DDPM, hundreds of steps"],
];

/** A wrong value of the field that is called `field`, in words. */
export class FieldError extends Error {
  constructor(field, message) {
    super(message);
    this.field = field;
  }
}

/** The fields of a form by their names, each with a place for its error. */
export class Fields {
  #inputs = new Map();

  /** Takes the fields that stand in the page: an input with a name and a place `ID-problem`. */
  constructor(form) {
    this.form = form;
    for (const input of form.elements) this.adopt(input);
  }

  /** Adds an input that was made later. */
  adopt(input) {
    if (input.name && byId(`${input.id}-problem`)) this.#inputs.set(input.name, input);
  }

  /** Writes an error below the field that it is about; says whether there is such a field. */
  problem(name, message) {
    const input = this.#inputs.get(name);
    if (!input) return false;
    const place = byId(`${input.id}-problem`);
    place.textContent = message;
    place.hidden = false;
    input.setAttribute("aria-invalid", "true");
    for (let at = input.parentElement; at; at = at.parentElement) {
      if (at instanceof HTMLDetailsElement) at.open = true;
    }
    input.focus();
    return true;
  }

  /** Takes all errors away. */
  clear() {
    for (const input of this.#inputs.values()) {
      input.removeAttribute("aria-invalid");
      byId(`${input.id}-problem`).hidden = true;
    }
  }

  /** Returns the text of a field without blanks around it. */
  text(name) {
    return this.form.elements[name].value.trim();
  }

  /** Returns the number in a field, or `undefined` if it is empty. */
  number(name, { whole = false, min = 0, max = Number.MAX_SAFE_INTEGER } = {}) {
    const input = this.form.elements[name];
    const text = input.value.trim();
    if (text === "" && !input.validity.badInput) return undefined;
    const value = Number(text);
    const isRight = text !== "" && Number.isFinite(value) && (!whole || Number.isInteger(value));
    if (isRight && value >= min && value <= max) return value;
    const kind = whole ? "a whole number" : "a number";
    const range = max === Number.MAX_SAFE_INTEGER ? `of at least ${min}` : `from ${min} to ${max}`;
    throw new FieldError(name, `Wanted ${kind} ${range}.`);
  }
}

/** Makes a label, an input, and the place of its error. */
export function field(id, label, input, hint) {
  input.id = id;
  const described = [hint ? `${id}-hint` : null, `${id}-problem`].filter(Boolean).join(" ");
  input.setAttribute("aria-describedby", described);
  const problem = h("p", { class: "problem", id: `${id}-problem`, hidden: true });
  const help = hint ? h("p", { class: "hint", id: `${id}-hint`, text: hint }) : null;
  return h("div", { class: "field" }, h("label", { for: id, text: label }), input, help, problem);
}

const numeric = (name, placeholder) =>
  h("input", { name, inputmode: "decimal", autocomplete: "off", placeholder });

/** Makes the fields of how an image is denoised; `extra` are fields that stand before them. */
export function samplingFields(prefix, extra = []) {
  const seed = field(`${prefix}-seed`, "Seed", numeric("seed", "random"));
  const isRandom = h("input", { type: "checkbox", name: "random", id: `${prefix}-random` });
  isRandom.checked = true;
  const random = h("label", { class: "check", for: isRandom.id }, isRandom, "New seed each time");
  seed.classList.add("wide");
  seed.append(random);
  const sampler = h("select", { name: "sampler" });
  sampler.append(...SAMPLERS.map(([value, text]) => h("option", { value, text })));
  const negative = h("input", { name: "negative_prompt", autocomplete: "off" });
  const wide = (element) => (element.classList.add("wide"), element);
  const hint = "What the image should not show.";
  return [
    ...extra,
    field(`${prefix}-steps`, "Steps", numeric("steps", "default")),
    field(`${prefix}-guidance`, "Guidance", numeric("guidance", "default")),
    seed,
    wide(field(`${prefix}-sampler`, "Sampler", sampler)),
    wide(field(`${prefix}-negative`, "Negative caption", negative, hint)),
  ];
}

/** Reads the fields of `samplingFields`; a seed is chosen if none is wanted. */
export function readSampling(fields) {
  const { elements } = fields.form;
  const isRandom = elements.random.checked || fields.text("seed") === "";
  const settings = {
    seed: isRandom ? randomSeed() : fields.number("seed", { whole: true }),
    steps: fields.number("steps", { whole: true, min: 1 }),
    guidance: fields.number("guidance"),
    sampler: fields.text("sampler") || undefined,
    negative_prompt: fields.text("negative_prompt") || undefined,
  };
  elements.seed.value = settings.seed;
  return settings;
}

/** Writes settings into the fields of `samplingFields`, and so that the seed stays. */
export function fillSampling(fields, settings) {
  const { elements } = fields.form;
  for (const name of ["seed", "steps", "guidance", "negative_prompt"]) {
    if (settings[name] !== undefined) elements[name].value = settings[name];
    else if (name !== "seed") elements[name].value = "";
  }
  chooseOption(elements.sampler, settings.sampler ?? "");
  elements.random.checked = settings.seed === undefined;
}

function chooseOption(select, value) {
  const isThere = [...select.options].some((option) => option.value === value);
  if (!isThere) select.append(h("option", { value, text: value }));
  select.value = value;
}

/** Chooses a seed of 32 bits. */
export function randomSeed() {
  return crypto.getRandomValues(new Uint32Array(1))[0];
}

/** Shows why something was not done: below the field that is wrong, or in the place for it. */
export function showFailure(place, fields, why, names = {}) {
  const param = why.field ?? why.param;
  const name = names[param] ?? param;
  let message = why.message;
  if (why.retryAfter && !/try again/i.test(message)) {
    message += `; try again in ${why.retryAfter} s`;
  }
  if (name && fields?.problem(name, message)) return;
  place.textContent = param ? `${message} (${param})` : message;
  place.hidden = false;
}
