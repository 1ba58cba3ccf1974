// Keeps every file of the site in this browser, so that it opens without a network. `mm export web`
// writes the lists of files and the version in front of these lines; another version replaces all.
// Optional files are those that not every browser loads, and are kept when they are.

/* global VERSION, FILES, OPTIONAL */
const PREFIX = `mm ${self.registration.scope} `;
const CACHE = PREFIX + VERSION;
const addressOf = (name) => new URL(name, self.registration.scope).href;
const optional = OPTIONAL.map(addressOf);

self.addEventListener("install", (event) => {
  const keep = async () => {
    await (await caches.open(CACHE)).addAll(FILES);
    await self.skipWaiting();
  };
  event.waitUntil(keep());
});

self.addEventListener("activate", (event) => {
  const replace = async () => {
    const names = await caches.keys();
    const old = names.filter((name) => name.startsWith(PREFIX) && name !== CACHE);
    await Promise.all(old.map((name) => caches.delete(name)));
    await self.clients.claim();
  };
  event.waitUntil(replace());
});

self.addEventListener("fetch", (event) => {
  const answer = async () => {
    const cache = await caches.open(CACHE);
    const kept = await cache.match(event.request, { ignoreSearch: true });
    if (kept) return kept;
    const found = await fetch(event.request);
    if (found.ok && optional.includes(event.request.url)) await cache.put(event.request, found.clone());
    return found;
  };
  if (event.request.method === "GET") event.respondWith(answer());
});
