// Keeps every file of the site in this browser, so that it opens without a network. `mm export web`
// writes the list of files and the version in front of these lines; another version replaces all.

/* global VERSION, FILES */
const PREFIX = `mm ${self.registration.scope} `;
const CACHE = PREFIX + VERSION;

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
    const kept = await caches.open(CACHE).then((cache) => cache.match(event.request));
    return kept ?? fetch(event.request);
  };
  if (event.request.method === "GET") event.respondWith(answer());
});
