/**
 * The service worker of the light page: keeps the page and its scripts, so that it opens without a network.
 *
 * Nothing else: no card, no picture, no answer of the interface, nobody's page. Its own text names every file by its
 * content, so that a new version is another worker with a room of its own, and an old script is never mixed with a new page.
 */

// the server fills these in: a word for this version, and its files by their content
const [MARK, FILES] = ["", []];
const ROOMS = `labeler ${registration.scope} `;
const PAGE = new URL("../swipe?shell", location).href;
const KEPT = new Set(FILES.map((name) => new URL(name, location).href));
// a network that says nothing for so long is none
const PATIENCE_MS = 4000;

const room = () => caches.open(ROOMS + MARK);

/** Return what the server has at an address. Raises when it is of another version: then this one is of no use. */
async function fresh(url, says) {
  const reply = await fetch(url, { credentials: "same-origin", cache: url === PAGE ? "no-cache" : "default" });
  if (!reply.ok || reply.redirected || !(await says(reply.clone()))) throw new Error(`another version of ${url}`);
  return reply;
}

async function keep() {
  const [deck] = FILES;
  const page = await fresh(PAGE, async (reply) => (await reply.text()).includes(`deck/${deck}"`));
  const files = await Promise.all([...KEPT].map((url) =>
    fresh(url, (reply) => (reply.headers.get("ETag") ?? "").includes(new URL(url).searchParams.get("v")))));
  const mine = await room();
  await mine.put(PAGE, page);
  await Promise.all(files.map((reply) => mine.put(reply.url, reply)));
  await skipWaiting();
}

async function begin() {
  const old = (await caches.keys()).filter((name) => name.startsWith(ROOMS) && name !== ROOMS + MARK);
  await Promise.all(old.map((name) => caches.delete(name)));
  await registration.navigationPreload?.enable();
  await clients.claim();
}

/** Return the page as the server has it now; what is kept, when the server is not there. */
async function open(asked) {
  const late = new Promise((done) => setTimeout(done, PATIENCE_MS));
  const reply = await Promise.race([asked.catch(() => null), late]);
  // a proxy whose server is away says 502 or 504
  if (reply && reply.status < 502) return reply;
  return (await (await room()).match(PAGE)) ?? reply ?? asked;
}

addEventListener("install", (e) => {
  // tiles and the interface go past this worker, where the browser can be told so
  const past = ["*/tiles/*", "*/api/*"].map((pathname) => ({ condition: { urlPattern: { pathname } }, source: "network" }));
  e.addRoutes?.(past).catch(() => {});
  e.waitUntil(keep());
});
addEventListener("activate", (e) => e.waitUntil(begin()));
addEventListener("fetch", (e) => {
  const { mode, method, url } = e.request;
  if (mode === "navigate") {
    const asked = Promise.resolve(e.preloadResponse).then((reply) => reply ?? fetch(e.request));
    e.waitUntil(asked.catch(() => {}));
    e.respondWith(open(asked));
  } else if (method === "GET" && KEPT.has(url)) {
    e.respondWith(room().then((mine) => mine.match(url)).then((reply) => reply ?? fetch(e.request)));
  }
});
