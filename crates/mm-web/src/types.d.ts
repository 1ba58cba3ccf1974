/** A request for one image; `size` and `strength` are those of an edit too. */
export interface DrawRequest {
  /** Text that describes the image. */
  prompt?: string;
  /** `auto`, or WIDTHxHEIGHT in pixels, both multiples of the model's patch. */
  size?: string;
  /** Seed of the noise, a whole number; 0 without it. */
  seed?: number;
  /** Number of denoising steps; the model's own without it. */
  steps?: number;
  /** Scale of classifier-free guidance; 1 turns it off. */
  guidance?: number;
  /** Name of a sampler: ddpm, ddim, ddim:ETA, dpm++2m, dpm++2m-uncapped, euler or heun. */
  sampler?: string;
  /** Text that the image shall not look like. */
  negative_prompt?: string;
  /** The share of the steps that an edit makes, starting from the image; 0 to 1. */
  strength?: number;
}

/** A text, or an image among those that are given with the request, by its number. */
export type Part = { type: "text"; text: string } | { type: "image"; image: number };

/** A request for the answer of a conversation. */
export interface ChatRequest {
  messages: { role: "system" | "user" | "assistant"; content: Part[] }[];
  /** 0, the default, takes the likeliest token; at most 2. */
  temperature?: number;
  max_tokens?: number;
  seed?: number;
  steps?: number;
  guidance?: number;
}

/** A request for the caption of an image. */
export interface ReadRequest {
  temperature?: number;
  max_tokens?: number;
  seed?: number;
}

/** What is told while a model works. */
export type Made =
  | { type: "step"; done: number; of: number; estimate?: Uint8Array }
  | { type: "image"; width: number; height: number; png: Uint8Array }
  | { type: "text"; text: string };

/** What is known of a model. */
export interface ModelInfo {
  name: string;
  parameters: number;
  width: number;
  height: number;
  patch: number;
  steps: number;
  /** Whether it reads and writes text, and not only draws. */
  has_text: boolean;
}

/** An error of a request; `param` names the field that is wrong, if it is one. */
export interface ModelError extends Error {
  param?: string;
}
