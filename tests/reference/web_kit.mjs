// What the tests of the library in the browser share: the program `mm` of the processor beside it.

import { execFileSync } from "node:child_process";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";

const PARTS = ["config.json", "tokenizer.json", "generation_config.json", "model.safetensors"];

/** The device that computes as the library in the browser does. */
export const FLEX = ["--device", "flex"];

/** Returns the contents of the four files of a model folder, in the order of `Model.load`. */
export const parts = (folder) => PARTS.map((name) => fs.readFileSync(path.join(folder, name)));

/** Runs `mm` and returns what it prints. */
export function run(mm, ...args) {
  return execFileSync(mm, args, { encoding: "utf8", stdio: ["ignore", "pipe", "inherit"] });
}

/** Returns a folder that is removed when the program ends. */
export function scratch() {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), "mm-web-"));
  process.on("exit", () => fs.rmSync(folder, { recursive: true, force: true }));
  return folder;
}

/** Lets `mm draw` draw an image; returns its file. */
export function drawn(mm, model, caption, seed, ...more) {
  const out = path.join(scratch(), "drawn.png");
  run(mm, "draw", model, caption, "--seed", String(seed), ...FLEX, "--out", out, ...more);
  return fs.readFileSync(out);
}
