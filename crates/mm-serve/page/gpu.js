// Which graphics device may take over from the processor, if there is one.
//
// The address may say otherwise: ?engine=processor asks for none, ?engine=webgpu takes any without
// a race, and ?engine=race lets any run the race. Only the last two take one in software, which is
// what tests have and what is never faster.

/** The fraction of the processor's time below which the graphics device is faster for sure. */
const CLEAR = 0.9;

/** Returns `{name, isRaced}` of the graphics device that may compute here, or null. */
export async function challenger() {
  const wish = new URL(location.href).searchParams.get("engine");
  if (wish === "processor") return null;
  const adapter = await asked();
  if (!adapter) return null;
  const { vendor = "", architecture = "", description = "" } = adapter.info ?? {};
  const isFallback = adapter.info?.isFallbackAdapter ?? adapter.isFallbackAdapter ?? false;
  const isSoftware = isFallback || /swiftshader|llvmpipe|basic render/i.test(`${architecture} ${description}`);
  if (isSoftware && wish !== "webgpu" && wish !== "race") return null;
  const name = description || `${vendor} ${architecture}`.trim() || "no name is told";
  return { name, isRaced: wish !== "webgpu" };
}

/** Asks for the adapter that the program will ask for too. */
async function asked() {
  try {
    return await navigator.gpu?.requestAdapter({ powerPreference: "high-performance" });
  } catch {
    return null;
  }
}

/** Says whether one time is below another by more than chance. */
export const isFaster = (time, other) => time < CLEAR * other;
