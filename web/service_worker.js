// Keeps this build's files, so that the page opens without a network. version.js: VERSION, FILES, LARGE.

importScripts("version.js");
const { VERSION, FILES, LARGE } = self;
const scope = self.registration.scope;
const ours = (name) => name.startsWith(`${scope} `);
const CACHE = `${scope} ${VERSION}`;
/** The browser's own cache may hold a file of an earlier build: the host is asked whether it is still that one. */
const ofThisBuild = (file) => new Request(file, { cache: "no-cache" });

/** The first build lets the page fetch the large files, which it shows progress of; a later one is complete at once. */
async function install() {
  const earlier = (await caches.keys()).some((name) => ours(name) && name !== CACHE);
  const names = earlier ? [...FILES, ...LARGE] : FILES;
  const cache = await caches.open(CACHE);
  await cache.addAll(names.map(ofThisBuild));
}

async function activate() {
  for (const name of await caches.keys()) {
    if (ours(name) && name !== CACHE) await caches.delete(name);
  }
  await self.clients.claim();
}

async function answer(event, name) {
  const cache = await caches.open(CACHE);
  const kept = await cache.match(name);
  if (kept) return kept;
  const fetched = await fetch(ofThisBuild(event.request));
  if (fetched.ok && LARGE.includes(name)) event.waitUntil(cache.put(name, fetched.clone()));
  return fetched;
}

/** Fetches those of the files that are not kept yet, and tells the page; the browser has most of them still. */
async function keepMissing(page) {
  const cache = await caches.open(CACHE);
  const kept = await Promise.all([...FILES, ...LARGE].map(async (name) => ((await cache.match(name)) ? [] : [name])));
  await cache.addAll(kept.flat().map(ofThisBuild));
  page?.postMessage("kept");
}

self.addEventListener("install", (event) => event.waitUntil(install()));
self.addEventListener("activate", (event) => event.waitUntil(activate()));
self.addEventListener("message", (event) => event.waitUntil(keepMissing(event.ports[0])));
self.addEventListener("fetch", (event) => {
  const [address] = event.request.url.split(/[?#]/);
  const rest = address.startsWith(scope) ? address.slice(scope.length) : null;
  const name = rest === "" || rest === "index.html" ? "./" : rest;
  if (event.request.method === "GET" && [...FILES, ...LARGE].includes(name)) event.respondWith(answer(event, name));
});
