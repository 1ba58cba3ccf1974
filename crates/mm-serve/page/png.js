// Texts inside PNG files: read them, and add them to a file that has none.
//
// A PNG file is a signature and chunks of length, kind, data and checksum; the texts stand in the
// chunks `tEXt` (Latin-1), `zTXt` (the same, packed) and `iTXt` (UTF-8).

const SIGNATURE = [137, 80, 78, 71, 13, 10, 26, 10];
const MAX_TEXT_BYTES = 1 << 20;

/** Says whether the bytes begin as those of a PNG file. */
export function isPng(bytes) {
  return SIGNATURE.every((byte, at) => bytes[at] === byte);
}

/** Returns the texts of a PNG file by their keywords; broken chunks are left out. */
export async function pngTexts(bytes) {
  const texts = {};
  if (!isPng(bytes)) return texts;
  for (const { kind, data } of chunks(bytes)) {
    try {
      const text = await textOf(kind, data);
      if (text && !(text.keyword in texts)) texts[text.keyword] = text.value;
    } catch {
      // A text that cannot be unpacked is no reason to refuse the image.
    }
  }
  return texts;
}

/** Returns a PNG file with texts added before its pixels; those that are there already stay. */
export async function withTexts(bytes, texts) {
  if (!isPng(bytes)) return bytes;
  const present = await pngTexts(bytes);
  const added = Object.entries(texts)
    .filter(([keyword, value]) => !(keyword in present) && value !== "" && value != null)
    .map(([keyword, value]) => internationalText(keyword, String(value)));
  const header = 8 + 25; // The signature, and `IHDR`, which is always first and has 13 bytes.
  return join([bytes.subarray(0, header), ...added, bytes.subarray(header)]);
}

function* chunks(bytes) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  let at = 8;
  while (at + 12 <= bytes.length) {
    const length = view.getUint32(at);
    const end = at + 8 + length;
    if (end + 4 > bytes.length) return;
    const kind = String.fromCharCode(...bytes.subarray(at + 4, at + 8));
    yield { kind, data: bytes.subarray(at + 8, end) };
    at = end + 4;
  }
}

async function textOf(kind, data) {
  if (!["tEXt", "zTXt", "iTXt"].includes(kind)) return null;
  const zero = data.indexOf(0);
  if (zero < 1) return null;
  const keyword = latin1(data.subarray(0, zero));
  const rest = data.subarray(zero + 1);
  if (kind === "tEXt") return { keyword, value: latin1(rest) };
  if (kind === "zTXt") return { keyword, value: latin1(await unpack(rest.subarray(1))) };
  const packed = rest[0] === 1;
  const language = rest.indexOf(0, 2);
  const translated = rest.indexOf(0, language + 1);
  if (language < 0 || translated < 0) return null;
  const text = rest.subarray(translated + 1);
  return { keyword, value: new TextDecoder().decode(packed ? await unpack(text) : text) };
}

const latin1 = (bytes) => Array.from(bytes, (byte) => String.fromCharCode(byte)).join("");

async function unpack(bytes) {
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  const reader = stream.getReader();
  const parts = [];
  let length = 0;
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return join(parts);
    parts.push(value);
    length += value.length;
    if (length > MAX_TEXT_BYTES) {
      await reader.cancel();
      throw new RangeError("a packed text is too long");
    }
  }
}

/** Makes a chunk `iTXt`, not packed, of no language. */
function internationalText(keyword, value) {
  const name = Uint8Array.from(keyword, (letter) => letter.charCodeAt(0));
  const text = new TextEncoder().encode(value.replaceAll("\0", ""));
  const body = join([new TextEncoder().encode("iTXt"), name, new Uint8Array(5), text]);
  const head = new Uint8Array(4);
  new DataView(head.buffer).setUint32(0, body.length - 4);
  const tail = new Uint8Array(4);
  new DataView(tail.buffer).setUint32(0, checksum(body));
  return join([head, body, tail]);
}

function join(parts) {
  const length = parts.reduce((sum, part) => sum + part.length, 0);
  const whole = new Uint8Array(length);
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}

/** Computes the CRC-32 of PNG, bit by bit: chunks of text are short. */
function checksum(bytes) {
  let sum = 0xffffffff;
  for (const byte of bytes) {
    sum ^= byte;
    for (let bit = 0; bit < 8; bit += 1) sum = sum & 1 ? (sum >>> 1) ^ 0xedb88320 : sum >>> 1;
  }
  return ~sum >>> 0;
}
