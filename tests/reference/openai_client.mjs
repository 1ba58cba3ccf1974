// Calls a server by the npm package `openai`, unchanged: chat as a stream, responses, images drawn
// and edited. Prints a line for each call that did what it must, and fails at the first that did
// not.
//
//   npm install openai
//   node tests/reference/openai_client.mjs http://127.0.0.1:8080/v1 [KEY]

import assert from "node:assert/strict";
import OpenAI, { toFile } from "openai";

const [baseURL, apiKey = "none"] = process.argv.slice(2);
if (!baseURL) {
  console.error("usage: node openai_client.mjs BASE_URL [KEY]");
  process.exit(2);
}
const client = new OpenAI({ baseURL, apiKey, maxRetries: 0, timeout: 120_000 });

function ok(what) {
  console.log(`ok ${what}`);
}

/** Fails unless a promise is refused with this status and field. */
async function refused(promise, status, param) {
  const error = await promise.then(
    () => assert.fail("the request was not refused"),
    (error) => error,
  );
  assert.ok(error instanceof OpenAI.APIError, String(error));
  assert.equal(error.status, status, error.message);
  assert.equal(error.param, param, error.message);
}

function isPng(base64) {
  const bytes = Buffer.from(base64, "base64");
  assert.equal(bytes.subarray(1, 4).toString("latin1"), "PNG");
  return bytes;
}

const models = [];
for await (const model of client.models.list()) models.push(model.id);
assert.ok(models.length > 0);
const model = models[0];
ok(`models: ${models.join(", ")}`);

const drawing = { model, prompt: "red K on yellow", seed: 7, steps: 4 };
const drawn = await client.images.generate({ ...drawing, n: 2 });
assert.equal(drawn.data.length, 2);
const file = isPng(drawn.data[0].b64_json);
isPng(drawn.data[1].b64_json);
assert.equal(drawn.usage.total_tokens, drawn.usage.input_tokens + drawn.usage.output_tokens);
ok(`images.generate: ${drawn.size}, ${drawn.usage.total_tokens} tokens`);

const again = await client.images.generate(drawing);
assert.equal(again.data[0].b64_json, drawn.data[0].b64_json);
ok("images.generate: the same seed gives the same bytes");

const shown = [];
const drawingStream = await client.images.generate({ ...drawing, stream: true, partial_images: 2 });
for await (const event of drawingStream) shown.push(event);
assert.deepEqual(
  shown.map((event) => event.type),
  [
    "image_generation.partial_image",
    "image_generation.partial_image",
    "image_generation.completed",
  ],
);
assert.deepEqual(shown.slice(0, 2).map((event) => event.partial_image_index), [0, 1]);
assert.equal(shown[2].b64_json, drawn.data[0].b64_json);
ok("images.generate: a stream of partial images ends in the image");

const upload = () => toFile(file, "k.png", { type: "image/png" });
const edited = await client.images.edit({
  model,
  image: await upload(),
  prompt: "make it blue",
  steps: 4,
});
isPng(edited.data[0].b64_json);
ok("images.edit: by instruction");

const both = await client.images.edit({
  model,
  image: [await upload(), await upload()],
  prompt: "make it blue",
  strength: 0.5,
  steps: 4,
});
isPng(both.data[0].b64_json);
ok("images.edit: two images");

const editStream = await client.images.edit({
  model,
  image: await upload(),
  prompt: "red K on blue",
  strength: 0.5,
  steps: 4,
  stream: true,
  partial_images: 1,
});
const edits = [];
for await (const event of editStream) edits.push(event.type);
assert.deepEqual(edits, ["image_edit.partial_image", "image_edit.completed"]);
ok("images.edit: a stream");

const varied = await client.images.createVariation({ image: await upload(), model });
isPng(varied.data[0].b64_json);
ok("images.createVariation");

await refused(client.images.generate({ model, prompt: "" }), 400, "prompt");
await refused(client.images.generate({ model, prompt: "a", size: "31x33" }), 400, "size");
await refused(
  client.images.generate({ model, prompt: "a", response_format: "url" }),
  400,
  "response_format",
);
await refused(client.images.generate({ model: "none", prompt: "a" }), 404, "model");
ok("errors name their field");

const url = `data:image/png;base64,${drawn.data[0].b64_json}`;
const messages = [
  {
    role: "user",
    content: [
      { type: "image_url", image_url: { url } },
      { type: "text", text: "what is this?" },
    ],
  },
];
const chat = { model, messages, temperature: 0, max_tokens: 32 };
const whole = await client.chat.completions.create(chat);
assert.equal(whole.choices[0].message.role, "assistant");
ok(`chat.completions: ${JSON.stringify(whole.choices[0].message.content)}`);

let text = "";
let reason = null;
let usage = null;
const chatStream = await client.chat.completions.create({
  ...chat,
  stream: true,
  stream_options: { include_usage: true },
});
for await (const chunk of chatStream) {
  text += chunk.choices[0]?.delta?.content ?? "";
  reason = chunk.choices[0]?.finish_reason ?? reason;
  usage = chunk.usage ?? usage;
}
assert.equal(text, whole.choices[0].message.content ?? "");
assert.ok(["stop", "length"].includes(reason), String(reason));
assert.equal(usage.total_tokens, whole.usage.total_tokens);
ok("chat.completions: a stream adds up to the whole");

const response = await client.responses.create({
  model,
  input: "draw red K on yellow",
  temperature: 0,
  max_output_tokens: 64,
});
assert.equal(response.object, "response");
assert.ok(["completed", "incomplete"].includes(response.status), response.status);
ok(`responses: ${response.output.map((item) => item.type).join(", ")}`);

const kinds = [];
const responseStream = await client.responses.create({
  model,
  input: "draw red K on yellow",
  tools: [{ type: "image_generation", partial_images: 1 }],
  temperature: 0,
  stream: true,
});
for await (const event of responseStream) kinds.push(event.type);
assert.equal(kinds[0], "response.created");
assert.ok(["response.completed", "response.incomplete"].includes(kinds.at(-1)), kinds.at(-1));
ok(`responses: a stream of ${kinds.length} events`);
