/**
 * The swipe deck: one question, one image at a time, answers that never get lost.
 *
 * Mounted twice from this one file: alone at /swipe (in #labeler-deck), and as a Streamlit component (by streamlit.js).
 * It talks to /api itself, so a swipe costs no script run. Text from files and people is set as text.
 *
 * @typedef {{card: number|null, item: number, url: string, width: number, height: number, round: number,
 *   reason?: string}} Card  as /api/cards sends it
 * @typedef {{id: string, session: string, card: number|null, item: number, label: string|null, ms: number|null,
 *   at: string, order: number, home: string, who: number|null, shown: Card}} Answer  an event in the outbox; `home`: the workspace
 *   it belongs to; `who`: the person who gave it, null where nobody knew
 * @typedef {"right"|"left"|"up"|"down"} Way
 * @typedef {{value: string, word: string, tone: string, icon: string, way: Way, key: string}} Choice
 * @typedef {{info: Card, el: HTMLElement, img: HTMLImageElement, stamp: HTMLElement, decoded: boolean,
 *   painted: boolean, arming: boolean, failures: number, shownAt: number, w: number, h: number}} Held
 * @typedef {{page: string, session: any, card: Card|null}} Start  what came with the page itself
 * @typedef {{session?: number|string|null, token?: string|null, mode?: "page"|"streamlit", start?: Start|null,
 *   modules?: {pack: string, take: string}, words?: Record<string, string>, onRound?: (round: number) => void}} Options
 *   modules: where packs are, none without. words: the texts of the reader's language, by key
 */

// cards held: no more, so that what was learned shows soon
const HOLD = 24;
// ask for more below this: twenty are ahead
const REFILL = 20;
// cards in the document: the top one and, under it, the next one, painted already
const IN_PAGE = 2;
// answers in one request
const GROUP = 50;
// answers given within this time travel together
const GATHER_MS = 150;
// other tabs answer within this time, or sleep
const CALL_MS = 250;
// a swipe back this soon after a swipe is a finger bouncing
const BOUNCE_MS = 120;
// the same button pressed again this soon is a slip
const SLIP_MS = 150;
// answers after which a volunteer is thanked
const THANKS = 40;
// figures are asked for at most this often
const FIGURES_MS = 4000;
// what the owner says or changes is asked for at least so often while the page is looked at
const NEWS_MS = 25_000;
// cards held are claimed again after this time
const LEASE_MS = 120_000;
const MAX_ZOOM = 8;
const ICONS = {
  check: "M5 12.6l4.6 4.6L19.5 7", cross: "M6.5 6.5l11 11M17.5 6.5l-11 11",
  ask: "M8.8 9.2a3.2 3.2 0 1 1 4.9 2.7c-1.1.7-1.7 1.3-1.7 2.6M12 18v.01",
  later: "M12 7.5v5l3.2 1.9M12 20.5a8.5 8.5 0 1 0 0-17 8.5 8.5 0 0 0 0 17",
  undo: "M8.5 6L4 10.5 8.5 15M4.5 10.5H15a4.5 4.5 0 0 1 0 9h-3",
  right: "M4.5 12h15M13 5.5l6.5 6.5-6.5 6.5", left: "M19.5 12h-15M11 5.5L4.5 12l6.5 6.5",
  up: "M12 19.5v-15M5.5 11L12 4.5l6.5 6.5", chart: "M4 19.5h16M5 15l4.5-5 3.5 3L19.5 6",
  offline: "M3 3l18 18M9.5 6.3A6 6 0 0 1 17.7 11 4 4 0 0 1 20 17.5M16.5 19H7a4.5 4.5 0 0 1-.8-8.9",
  done: "M12 21a9 9 0 1 0 0-18 9 9 0 0 0 0 18M8 12.3l2.8 2.8L16 9.5",
  zoom: "M10.5 17a6.5 6.5 0 1 0 0-13 6.5 6.5 0 0 0 0 13M15.3 15.3L20 20M10.5 8v5M8 10.5h5",
  lock: "M6.5 11h11v9h-11zM8.5 11V8a3.5 3.5 0 0 1 7 0v3", bag: "M12 4v10M7.5 10l4.5 4.5 4.5-4.5M4.5 16v4h15v-4",
};
const FRAME = `
<header class="top">
  <div class="head"><h1 class="question" dir="auto"></h1><span class="drawn badge" data-say="drawn" hidden></span></div>
  <div class="meta">
    <button class="stats">
      <span class="line1"><span class="figures"></span><span class="bar"><i class="mini fill"></i></span></span>
      <span class="line2"><span class="waiting badge" hidden></span><span class="share"></span></span>
    </button>
    <button class="bag round" data-label="take" data-tip="take" hidden></button>
    <button class="ask round" data-label="help.open" data-tip="help.title"></button>
  </div>
  <p class="note" role="status" hidden></p><p class="reached note" role="status" hidden></p>
</header>
<div class="stage" role="group">
  <div class="state" role="status"></div><p class="why" hidden></p>
</div>
<div class="edges"></div>
<div class="actions"><div class="answers" role="group" data-label="answers"></div><div class="tools"></div></div>
<aside class="aside" data-label="progress"></aside>
<div class="toast" role="alert" hidden></div>
<dialog class="help" data-label="help"><form method="dialog"><h2 data-say="help"></h2></form><div class="helpIn"></div></dialog>
<dialog class="take" data-label="take"><form method="dialog"><h2 data-say="take"></h2></form><div class="takeIn"></div></dialog>
<dialog class="sheet" data-label="progress"><form method="dialog"><h2 data-say="progress"></h2></form></dialog>
<div class="live sr" aria-live="polite"></div>`;

// small things ----------------------------------------------------------------------------------

/** Return a new element: `props` are attributes or, when functions, listeners; children are text or nodes. */
function h(tag, props = {}, ...children) {
  const svg = ["svg", "path", "circle"].includes(tag);
  const el = svg ? document.createElementNS("http://www.w3.org/2000/svg", tag) : document.createElement(tag);
  for (const [name, value] of Object.entries(props)) {
    if (typeof value === "function") el.addEventListener(name, value);
    else if (value != null && value !== false) el.setAttribute(name, value);
  }
  el.append(...children.filter((c) => c != null && c !== false));
  return el;
}

/** Return an icon by its name, or what is no name (a digit) as a badge. */
function icon(name) {
  if (!ICONS[name]) return h("b", { class: "digit", "aria-hidden": "true" }, name);
  return h("svg", { class: "icon", viewBox: "0 0 24 24", "aria-hidden": "true" }, h("path", { d: ICONS[name] }));
}

const word = (text) => h("span", { class: "word", dir: "auto" }, text);
const fill = (share) => { const i = h("i", { class: "fill" }); i.style.transform = `scaleX(${share})`; return i; };
// where the server's addresses begin: / or, behind a proxy, such as /labels/
const ROOT = new URL("..", import.meta.url).pathname;
const now = () => performance.now();
const whole = (x) => Math.round(x * 100);
const clamp = (x, low, high) => Math.min(high, Math.max(low, x));
const sleep = (ms) => new Promise((done) => setTimeout(done, ms));
const { format: text } = new Intl.NumberFormat("en");

/** The texts of the reader's language by key: they come with the page. */
let words = {};

/**
 * Return a text with its names filled in, numbers as people read them. Of two forms, "1 card|2 cards", `n` chooses.
 *
 * @param {string} key @param {Record<string, any>} [values]
 */
function say(key, values = {}) {
  const forms = (words[key] ?? key).split("|");
  const told = (name) => (typeof values[name] === "number" ? text(values[name]) : values[name] ?? "");
  return forms[values.n === 1 ? 0 : forms.length - 1].replace(/{(\w+)}/g, (_, name) => told(name));
}

/** Return an answer as people read it: the two that a question has by itself are translated, all others are the owner's words. */
const shown = (label) => (["yes", "no"].includes(label) ? say(`answer.${label}`) : label);

/** Small choices remembered on this device, or for this visit where storage is forbidden. */
const memory = {
  get(name) { try { return localStorage.getItem(`labeler.${name}`); } catch { return this[name]; } },
  set(name, value) { try { localStorage.setItem(`labeler.${name}`, value); } catch { this[name] = value; } },
};

/** Return a UUID version 4; `crypto.randomUUID` is missing on plain-HTTP addresses. */
function uuid() {
  const b = crypto.getRandomValues(new Uint8Array(16));
  b[6] = (b[6] & 15) | 64;
  b[8] = (b[8] & 63) | 128;
  const hex = Array.from(b, (x) => x.toString(16).padStart(2, "0")).join("");
  return hex.replace(/^(.{8})(.{4})(.{4})(.{4})/, "$1-$2-$3-$4-");
}

/** What went wrong with a request; `status` 0: nothing answered, or somebody else, such as a page that asks to log in. */
class Failed extends Error {
  constructor(status = 0, body = null) {
    super(body?.error ?? say("away"));
    this.todo = body?.do ?? "";
    this.status = status;
    this.denied = status === 401 || status === 403;
    this.passing = status === 0 || status >= 500 || status === 408 || status === 429;
  }
}

/**
 * Return the JSON answer of one request; POST when there is a body, which outlives the page. Raises Failed.
 *
 * What a network on the way says for itself is no answer, whatever its status: the server's has `field`, or `error` and `do`.
 */
async function call(url, field, body = null) {
  const stop = new AbortController();
  const timer = setTimeout(() => stop.abort(), 12_000);
  try {
    const headers = body ? { "Content-Type": "application/json" } : {};
    const reply = await fetch(url, { method: body ? "POST" : "GET", body: body && JSON.stringify(body), headers,
      keepalive: !!body, signal: stop.signal, credentials: "same-origin", cache: "no-store" });
    const data = await reply.json().catch(() => null);
    if (reply.ok && data?.[field] !== undefined) return data;
    const ours = !reply.ok && data?.error && data.do;
    throw new Failed(ours ? reply.status : 0, ours ? data : null);
  } catch (e) {
    throw e instanceof Failed ? e : new Failed();
  } finally {
    clearTimeout(timer);
  }
}

// the outbox: answers that the server has not acknowledged ---------------------------------------

/** Open the database of waiting answers that all tabs of this origin share. Raises when there is none. */
function openDatabase() {
  return new Promise((done, fail) => {
    setTimeout(fail, 3000);
    const ask = indexedDB.open("labeler-deck", 1);
    ask.onupgradeneeded = () => ask.result.createObjectStore("outbox", { keyPath: "id" });
    ask.onsuccess = () => done(ask.result);
    ask.onerror = fail;
  });
}

/**
 * Return add(answer), remove(ids) and take(want): all there are, in order; those that `want` changed and said yes to are
 * put back so, in one step that no other tab can come between. `kept` says whether answers outlive the page.
 */
async function openOutbox() {
  const db = await Promise.resolve().then(openDatabase).catch(() => null);
  if (!db) return { kept: false, take: async () => [], add: async () => {}, remove: async () => {} };
  const run = (mode, work) => new Promise((done, fail) => {
    const change = db.transaction("outbox", mode);
    const ask = work(change.objectStore("outbox"));
    change.oncomplete = () => done(ask?.result);
    change.onerror = change.onabort = () => fail(change.error);
  });
  return {
    kept: true,
    take: (want) => new Promise((done, fail) => {
      const change = db.transaction("outbox", "readwrite").objectStore("outbox");
      const ask = change.getAll();
      ask.onerror = fail;
      ask.onsuccess = () => {
        ask.result.filter(want).forEach((a) => change.put(a));
        done(ask.result.sort((a, b) => a.order - b.order));
      };
    }),
    add: (answer) => run("readwrite", (t) => t.add(answer)),
    remove: (ids) => run("readwrite", (t) => { ids.forEach((id) => t.delete(id)); }),
  };
}

/**
 * The other decks of this browser. They share a cookie and an outbox; each tells the others which items it has, so that no
 * card is in two tabs and no answer is sent by two. A channel and not a lock: plain-HTTP addresses have no locks.
 */
class Tabs {
  /** @param {() => {key: string, items: number[]}} mine  of which question, which items
   *  @param {(items: number[]) => void} taken  another tab has these */
  constructor(mine, taken) {
    /** @type {Map<string, number[]>} those that answered the last call, with their items */
    this.others = new Map();
    Object.assign(this, { id: uuid(), mine, taken });
  }

  /** Tabs that said they are open, and not yet that they are gone. @returns {string[]} */
  get signed() { return (memory.get("tabs") ?? "").split(" ").filter(Boolean); }

  /** Whether there may be another tab. */
  get alone() { return this.signed.every((id) => id === this.id); }

  sign(ids) { memory.set("tabs", [...new Set(ids)].join(" ")); }

  /** Forget tabs that are gone without a word: they have not answered. */
  prune() { this.sign(this.signed.filter((id) => id === this.id || this.others.has(id))); }

  /** Call the others. Whoever does not answer soon is gone or asleep, and asks when it wakes. */
  call() {
    this.sign([...this.signed, this.id]);
    if (!this.line && globalThis.BroadcastChannel) {
      this.line = new BroadcastChannel("labeler-deck");
      this.line.onmessage = (e) => this.hear(e.data);
    }
    this.others.clear();
    this.tell({ call: true });
  }

  tell(more) { this.line?.postMessage({ from: this.id, ...this.mine(), ...more }); }

  hear({ from, key, items, call, to, gone }) {
    this.others.set(from, key === this.mine().key ? items : []);
    if (gone) this.others.delete(from);
    else if (call) this.tell({ to: from });
    // whoever called gives way; of two that tell at once, one does
    else if (to ? to === this.id : from < this.id) this.taken(this.others.get(from));
  }

  leave() {
    this.sign(this.signed.filter((id) => id !== this.id));
    this.tell({ gone: true });
    this.line?.close();
    this.line = null;
  }
}

/**
 * Sends what waits, oldest first, in small groups, again and again until it is acknowledged. The outbox is shared by
 * all that was ever served at this address, and by all who ever joined in this browser: only answers of `home`, the
 * workspace served now, and of `who`, the person whose cookie this is, are taken from it.
 */
class Sender {
  /** @param {Tabs} tabs @param {{url: (session: string) => string, changed: () => void, settled: (rejected: string[], feedback: any[]) => void,
   *   failed: (e: Failed) => void}} on */
  constructor(tabs, on) {
    /** @type {Map<string, Answer>} */
    this.waiting = new Map();
    // acknowledged: may still be in the outbox for a moment
    this.past = new Set();
    Object.assign(this, { tabs, on, tries: 0, limit: GROUP, order: 0, groups: 0, timer: 0, sending: null, kept: true, home: null, who: null, held: 0,
      opening: openOutbox() });
  }

  /**
   * Return what an earlier visit, or a tab that is gone, left for this workspace; from now on it is this tab's. What
   * another tab took over while this one slept is no longer. Nothing happens before the workspace is known.
   */
  async open(home = this.home, who = this.who) {
    if (home === null) return [];
    Object.assign(this, { home, who });
    this.outbox ??= await this.opening;
    this.kept &&= this.outbox.kept;
    // what can't be read stays as it is
    const mine = await this.claim().catch(() => [...this.waiting.values()]);
    const fresh = mine.filter((a) => !this.waiting.has(a.id));
    for (const a of this.waiting.values()) if (a.kept && !mine.some((b) => b.id === a.id)) this.waiting.delete(a.id);
    fresh.forEach((a) => { a.kept = true; this.waiting.set(a.id, a); });
    // a clock may have been put back since
    this.order = Math.max(this.order, ...mine.map((a) => a.order));
    this.now();
    this.on.changed();
    return fresh;
  }

  /** Return this tab's answers in the outbox, after those were made its own whose tab does not answer. */
  async claim() {
    const { id, others } = this.tabs;
    const theirs = (a) => a.who != null && this.who !== null && a.who !== this.who;
    const foreign = (a) => (a.home ?? "") === this.home && a.tab !== id && !theirs(a);
    let all = await this.outbox.take(() => false);
    if (all.some(foreign)) {
      await sleep(CALL_MS);
      all = await this.outbox.take((a) => foreign(a) && !others.has(a.tab) && (a.tab = id));
    }
    this.held = all.filter((a) => (a.home ?? "") === this.home && theirs(a)).length;
    return all.filter((a) => a.tab === id && !this.past.has(a.id) && !theirs(a));
  }

  /** @param {Partial<Answer>} fields @returns {Answer} */
  add(fields) {
    this.order = Math.max(this.order + 1, Date.now() * 1000);
    const answer = { id: uuid(), at: new Date().toISOString(), order: this.order, home: this.home, who: this.who, tab: this.tabs.id, ...fields };
    this.waiting.set(answer.id, answer);
    this.outbox.add(answer).then(() => { answer.kept = this.kept; }, () => { this.kept = false; this.on.changed(); });
    if (!this.tries) this.soon(GATHER_MS);
    return answer;
  }

  soon(ms) {
    if (this.quiet) return;
    this.timer ||= setTimeout(() => this.now(), ms);
  }

  /** Send one group; only one is ever on its way. Returns whether it was settled. */
  now() {
    clearTimeout(this.timer);
    this.timer = 0;
    this.sending ??= this.send().finally(() => { this.sending = null; });
    return this.sending;
  }

  /** The oldest answers that belong to one session and person. */
  group() {
    const all = [...this.waiting.values()];
    return all.filter((a) => a.session === all[0].session && (a.who ?? null) === (all[0].who ?? null)).slice(0, this.limit);
  }

  async send() {
    const group = this.group();
    if (!group.length) return true;
    this.flying = this.waiting.size;
    this.groups += 1;
    try {
      const done = await this.post(group);
      this.tries = 0;
      this.limit = GROUP;
      this.settle(group, done);
    } catch (e) {
      return this.stumble(group, e);
    }
    if (this.waiting.size) this.soon(GATHER_MS);
    return true;
  }

  async post(group) {
    const events = group.map(({ id, card, item, label, ms, at }) => ({ id, card, item, label, ms, at }));
    const done = await call(this.on.url(group[0].session), "accepted", { events, workspace: this.home, person: group[0].who ?? null });
    // "accepted": true is what somebody's terms of use say
    if (typeof done.accepted !== "number") throw new Failed();
    return done;
  }

  settle(group, { rejected = [], feedback = [] }) {
    const ids = group.map((a) => a.id);
    ids.forEach((id) => { this.waiting.delete(id); this.past.add(id); });
    this.outbox.remove(ids).catch(() => {});
    this.on.settled(rejected.map((r) => r.why), feedback);
  }

  /** A group refused as a whole is halved until the bad answer stands alone; all else waits and is tried again. */
  stumble(group, e) {
    if (e.passing || e.denied || e.status === 404 || e.status === 409) {
      this.tries += 1;
      const wait = e.passing ? Math.min(15_000, 500 * 2 ** (this.tries - 1)) : 20_000;
      this.soon(wait * (0.75 + Math.random() / 2));
      this.on.failed(e);
      return false;
    }
    if (group.length === 1) this.settle(group, { rejected: [{ why: e.message }] });
    this.limit = Math.ceil(group.length / 2);
    this.soon(GATHER_MS);
    return false;
  }

  /** Return whether everything has been acknowledged; gives up at the first failure. */
  async drain() {
    if (this.sending) await this.sending;
    while (this.waiting.size) if (!(await this.now())) return false;
    return true;
  }

  /** The page may be gone in a moment: hand a group to the browser; it stays here until acknowledged. */
  flush() {
    if (!this.sending) this.now();
    else if (this.waiting.size > this.flying) {
      // with what is on its way already: an answer must not come after its undo
      const group = this.group();
      this.flying = this.waiting.size;
      this.post(group).then((r) => this.settle(group, r), () => {});
    }
  }
}

// gestures --------------------------------------------------------------------------------------

/** Return which way a card leans at (dx, dy), or null: down is no answer. */
function lean(dx, dy) {
  if (Math.abs(dy) > Math.abs(dx) * 1.15) return dy < 0 ? "up" : null;
  return dx > 0 ? "right" : dx < 0 ? "left" : null;
}

const farOf = (way, dx, dy) => (way === "up" ? -dy : Math.abs(dx));

/** Return the answer of a released card, by distance (px) or speed (px/ms), or null: it springs back. */
function verdict(dx, dy, vx, vy, reach) {
  const way = lean(dx, dy);
  const [far, speed] = [farOf(way, dx, dy), way === "up" ? -vy : vx * Math.sign(dx)];
  // pulled back on purpose
  if (!way || speed < -0.3) return null;
  return far >= reach || (far > 28 && speed > 0.4) ? way : null;
}

/**
 * Turns pointers into drags, pans, pinches and double taps. One finger drags, or pans while zoomed. A second one ends
 * the drag without an answer; what is left of a pinch pans or does nothing.
 */
class Gestures {
  /** @param {HTMLElement} stage @param {Mover} card  what is moved */
  constructor(stage, card) {
    Object.assign(this, { stage, card, mode: "none", fingers: new Map(), path: [], tap: null });
    for (const name of ["pointerdown", "pointermove", "pointerup", "pointercancel"]) stage.addEventListener(name, (e) => this[name](e));
    stage.addEventListener("lostpointercapture", (e) => this.pointercancel(e));
    const still = (e) => { if (e.cancelable && !e.target.closest("button, a")) e.preventDefault(); };
    for (const name of ["touchmove", "gesturestart", "contextmenu", "dragstart"]) stage.addEventListener(name, still, { passive: false });
    const edge = (e) => { if (Math.abs(e.touches[0].clientX - innerWidth / 2) > innerWidth / 2 - 24) still(e); };
    // Safari goes back from the edges
    stage.addEventListener("touchstart", edge, { passive: false });
  }

  pointerdown(e) {
    if ((e.pointerType === "mouse" && e.button) || e.target.closest("button, a")) return;
    this.fingers.set(e.pointerId, { x: e.clientX, y: e.clientY });
    try { this.stage.setPointerCapture(e.pointerId); } catch { /* the finger is gone already */ }
    const ready = this.card.ready;
    if (this.fingers.size === 1) {
      this.mode = !ready ? "dead" : this.card.zoomed ? "pan" : "drag";
      this.path = [{ x: e.clientX, y: e.clientY, at: e.timeStamp }];
      this.from = this.path[0];
      this.moved = 0;
    } else if (this.fingers.size === 2) {
      if (this.mode === "drag") this.card.spring();
      this.mode = ready ? "pinch" : "dead";
      this.tap = null;
      this.last = this.spread();
    }
  }

  /** The middle of the first two fingers and how far they are apart. */
  spread() {
    const [a, b] = [...this.fingers.values()];
    return { x: (a.x + b.x) / 2, y: (a.y + b.y) / 2, far: Math.max(1, Math.hypot(a.x - b.x, a.y - b.y)) };
  }

  pointermove(e) {
    const finger = this.fingers.get(e.pointerId);
    if (!finger) return;
    const [mx, my] = [e.clientX - finger.x, e.clientY - finger.y];
    Object.assign(finger, { x: e.clientX, y: e.clientY });
    if (this.mode === "pinch") {
      const { last } = this;
      const next = (this.last = this.spread());
      this.card.zoomAt(next.x, next.y, next.far / last.far, next.x - last.x, next.y - last.y);
    } else if (this.mode === "drag" || this.mode === "pan") {
      this.path.push({ x: e.clientX, y: e.clientY, at: e.timeStamp });
      const [dx, dy] = [e.clientX - this.from.x, e.clientY - this.from.y];
      this.moved = Math.max(this.moved, Math.hypot(dx, dy));
      if (this.mode === "drag") this.card.drag(dx, dy);
      else this.card.pan(mx, my);
    }
  }

  pointerup(e) {
    this.pointermove(e);
    if (!this.fingers.delete(e.pointerId)) return;
    const was = this.mode;
    if (was === "pinch") this.card.settle();
    this.mode = !this.fingers.size ? "none" : was === "pinch" && this.card.zoomed ? "pan" : "dead";
    if (this.mode === "none" && (was === "drag" || was === "pan")) this.finish(e, was === "drag");
  }

  finish(e, dragged) {
    const tapped = this.moved < 10 && e.timeStamp - this.from.at < 300;
    const twice = tapped && this.tap && e.timeStamp - this.tap.at < 320 && Math.hypot(e.clientX - this.tap.x, e.clientY - this.tap.y) < 40;
    this.tap = tapped && !twice ? { x: e.clientX, y: e.clientY, at: e.timeStamp } : null;
    if (dragged && tapped) this.card.spring();
    if (twice) this.card.toggleZoom(e.clientX, e.clientY);
    if (dragged && !tapped) this.card.drop(e.clientX - this.from.x, e.clientY - this.from.y, ...this.speed(e), e.timeStamp);
  }

  /** Speed in px/ms over the last tenth of a second: long enough that a bounce at the end does not count. */
  speed(e) {
    const first = this.path.find((p) => e.timeStamp - p.at <= 100);
    const ms = first ? e.timeStamp - first.at : 0;
    return ms < 4 ? [0, 0] : [(e.clientX - first.x) / ms, (e.clientY - first.y) / ms];
  }

  pointercancel(e) {
    if (!this.fingers.delete(e.pointerId)) return;
    if (this.mode === "drag") this.card.spring();
    if (this.mode === "pinch") this.card.settle();
    this.mode = this.fingers.size ? "dead" : "none";
  }

  /** The card under the finger is gone: whatever the finger still does means nothing. */
  kill() { if (this.mode !== "none") this.mode = "dead"; }

  /** The page lost sight of its fingers. */
  reset() {
    if (this.mode === "drag") this.card.spring();
    this.fingers.clear();
    this.mode = "none";
  }
}

// the screen: everything that is drawn, nothing that is decided ------------------------------------

/** @param {string[]} labels @returns {Choice[]} every answer there is: the labels, unsure, later */
function choicesFor(labels) {
  const two = labels.length === 2;
  const yesNo = two && (/^yes$/i.test(labels[0]) || /^(no|not|none)\b/i.test(labels[1]));
  const choices = labels.map((name, i) => ({
    value: name, word: shown(name), tone: String(i), way: ["right", "left"][i] ?? "down", key: two ? "→←"[i] : String(i + 1),
    icon: !two ? String(i + 1) : yesNo ? ["check", "cross"][i] : ["right", "left"][i],
  }));
  return [...choices, { value: "unsure", word: say("unsure"), tone: "unsure", icon: "ask", way: "up", key: "↑" },
    { value: "skip", word: say("later"), tone: "unsure", icon: "later", way: "down", key: "L" }];
}

/** Return what to say of answers to images that are known. @param {{right: boolean, label: string}[]} feedback */
function knownWords(feedback) {
  const right = feedback.filter((f) => f.right).length;
  if (feedback.length > 1) return say("known.some", { right, n: feedback.length });
  return say(right ? "known.right" : "known.other", { label: shown(feedback[0].label) });
}

/** Return a line chart as SVG, null for fewer than two numbers. @param {number[]} found */
function chart(found) {
  const last = found.length - 1;
  if (last < 1) return null;
  const at = (n, i) => `${(4 + (i * 252) / last).toFixed(1)} ${(76 - (n * 66) / Math.max(...found, 1)).toFixed(1)}`;
  const line = `M${found.map(at).join("L")}`;
  const [cx, cy] = at(found[last], last).split(" ");
  return h("svg", { class: "chart", viewBox: "0 0 260 80", role: "img", "aria-label": say("found.rounds.said", { list: found.join(", ") }) },
    h("path", { class: "area", d: `${line}V80H4Z` }), h("path", { class: "line", d: line }), h("circle", { class: "dot", cx, cy, r: 4 }));
}

/** Return how much is found; no middle of it as long as finds come often, for then it says too much. @param {any} e */
const foundWords = (e, range = `${whole(e.low)}–${whole(e.high)} %`) => e.next_finds < 10 ? say("found.about", { share: whole(e.share), range }) : say("found.more", { range });

/** Return what is known of the target, in words; nothing without one. @param {any} a  as /api/session sends it */
function advised(a) {
  if (!a) return "";
  const target = `${+(a.target * 100).toFixed(1)} %`;
  const finds = Math.round(a.next_finds);
  if (a.reached) return say("target.reached", { target, more: a.next_finds < 0.5 ? say("target.none") : say("target.brings", { n: finds }) });
  const more = a.cards_to_sure;
  return say("target.not", { target, more: more === null ? say("target.cards.unknown") : say("target.cards", { n: Math.ceil(more / 10) * 10 }) });
}

class Screen {
  /** @param {ParentNode & Node} root @param {string} mode @param {any} on  press, undo, zoom, tryNow, opening */
  constructor(root, mode, on) {
    this.on = on;
    this.room = { w: 0, height: 0 };
    this.deck = h("div", { class: "deck", "data-mode": mode });
    // a constant
    this.deck.innerHTML = FRAME;
    for (const el of this.deck.querySelectorAll("[class]")) this[el.classList[0]] = el;
    for (const el of this.deck.querySelectorAll("[data-say]")) el.textContent = say(el.dataset.say);
    for (const el of this.deck.querySelectorAll("[data-label]")) el.setAttribute("aria-label", say(el.dataset.label));
    for (const el of this.deck.querySelectorAll("[data-tip]")) el.title = say(el.dataset.tip);
    this.stage.setAttribute("aria-roledescription", say("stage"));
    this.stats.prepend(icon("chart"));
    this.ask.append(icon("?"));
    this.bag.append(icon("bag"));
    this.panel = h("div", { class: "panel" });
    for (const box of [this.help, this.sheet, this.take]) {
      box.firstElementChild.append(h("button", { class: "round", "aria-label": say("close") }, icon("cross")));
      box.addEventListener("click", (e) => { if (e.target === box) box.close(); });
    }
    this.stats.addEventListener("click", () => { this.sheet.append(this.panel); this.drawPanel?.(); this.open(this.sheet); });
    this.sheet.addEventListener("close", () => { if (this.deck.dataset.layout === "wide") this.aside.append(this.panel); else this.panel.remove(); });
    this.ask.addEventListener("click", () => this.open(this.help));
    this.choose();
    root.append(this.deck);
  }

  get isOpen() { return this.help.open || this.sheet.open || this.take.open; }

  open(box) {
    this.on.opening();
    if (!box.open) box.showModal();
  }

  /** Draw the question, its buttons and its help. */
  showQuestion(session, choices) {
    this.choices = choices;
    this.question.textContent = session.question;
    this.question.classList.toggle("long", session.question.length > 50);
    this.drawn.hidden = !session.drawn;
    this.stage.setAttribute("aria-label", session.question);
    const two = session.labels.length === 2;
    const labels = choices.slice(0, -2).map((c) => this.button(c, two ? "big" : "chip"));
    this.deck.dataset.labels = two ? "two" : "many";
    this.answers.replaceChildren(...(two ? labels.reverse() : labels));
    this.undo = this.button({ value: "undo", word: say("undo"), icon: "undo", key: "Z" }, "small", this.on.undo);
    this.tools.replaceChildren(this.undo, ...choices.slice(-2).map((c) => this.button(c, "small")),
      h("button", { class: "btn small", "data-value": "zoom", "aria-label": say("zoom"), title: say("zoom"), click: this.on.zoom }, icon("zoom")));
    this.showHelp(session, choices);
  }

  button(choice, kind, press = () => this.on.press(choice)) {
    return h("button", { class: `btn ${kind}`, "data-value": choice.value, "data-tone": choice.tone, click: press },
      icon(choice.icon), word(choice.word), h("kbd", { "aria-hidden": "true" }, choice.key));
  }

  showHelp({ labels, owner }, [first, second]) {
    const rows = [["→", first.word], ["←", second.word], ["↑", say("help.unsure")], ["L", say("help.later")], [`1 – ${labels.length}`, say("answers.numbers")],
      ["Z ⌫", say("help.undo")], [say("help.space"), say("help.zoom")], ["⇧ →", say("help.pan")], ["?", say("help.this")]];
    const toggle = (label, name, value) => {
      const change = () => { memory.set(name, box.checked ? value : ""); this.choose(); };
      const box = h("input", { type: "checkbox", checked: memory.get(name) === value, change });
      return h("label", { class: "switch" }, label, box);
    };
    this.helpIn.replaceChildren(
      h("p", {}, say("help.how")),
      h("table", {}, h("tbody", {}, ...rows.map(([keys, what]) => h("tr", {},
        h("th", { scope: "row" }, ...keys.split(" ").map((k) => (k === "–" ? " – " : h("kbd", {}, k)))), h("td", { dir: "auto" }, what))))),
      toggle(say("help.hand"), "hand", "left"),
      toggle(say("help.keys"), "keys", "off"),
      owner ? toggle(say("help.why"), "why", "1") : "");
  }

  /** Put the choices of the help sheet into effect. */
  choose() {
    this.deck.dataset.hand = memory.get("hand") || "right";
    this.showWhy(this.reason);
  }

  /**
   * Draw how far it is. Where many answer, the header shows one's own number: it never falls.
   *
   * @param {any} session @param {{found: number, answered: number, own: number|null, done: number, batch: number}} f
   */
  showProgress(session, f) {
    const figures = f.own !== null ? say("figures.own", { n: f.own }) : `${say("figures.found", { n: f.found })} · ${say("figures.answered", { n: f.answered })}`;
    this.figures.textContent = figures;
    this.mini.style.transform = `scaleX(${f.done / f.batch})`;
    const { goal, estimate: e, certificate: c } = session;
    const share = f.along ? say("take.left", { left: f.along[0], n: f.along[1] }) : c?.state === "running" ? say("certificate", c) : goal !== "find" ? "" : e ? foundWords(e) : say("found.early");
    this.share.textContent = share;
    this.stats.setAttribute("aria-label", say("progress.said", { figures: figures.replace(" · ", ", "), done: f.done, batch: f.batch, share }));
    this.showReached(session);
    this.undo.disabled = !f.undo;
    this.drawPanel = () => this.showPanel(session, f);
    if (this.panel.isConnected) this.drawPanel();
  }

  /** Say once that the target is reached, above the card and not in the way. @param {any} session */
  showReached({ id, workspace, advice: a }) {
    const once = `reached.${workspace}.${id}.${a?.target}`;
    this.reached.hidden = !a?.reached || !!memory.get(once);
    const told = advised(a);
    if (this.reached.hidden || this.reached.firstChild?.data === told) return;
    const ok = () => { memory.set(once, "said"); this.reached.hidden = true; };
    this.reached.replaceChildren(told, h("button", { class: "btn", click: ok }, say("ok")));
  }

  showPanel(session, f) {
    const all = session.rounds ?? [];
    // without rounds that showed nothing
    const rounds = all.filter((r, i) => r.shown !== all[i + 1]?.shown).slice(-60);
    const finds = rounds.slice(1).map((r, i) => Math.max(0, r.found - rounds[i].found));
    const { estimate: e, advice: a } = session;
    const label = shown(session.labels[0]);
    const figure = (n, what) => h("div", { class: "figure" }, h("b", {}, text(n)), h("span", { dir: "auto" }, what));
    this.panel.replaceChildren(
      f.own ? h("p", { class: "own" }, say("mine", { n: f.own, found: f.ownFound, label })) : "",
      f.own === null ? "" : h("p", {}, say("all")),
      h("div", { class: "numbers" }, figure(f.found, say("figure.found", { label })), figure(f.answered, say("figure.answered")), figure(session.per_minute ?? 0, say("figure.minute"))),
      h("div", { class: "this-round" }, h("span", {}, say("round")), h("span", {}, say("round.of", f)), h("span", { class: "bar" }, fill(f.done / f.batch))),
      e ? h("p", {}, foundWords(e)) : "",
      a ? h("p", {}, advised(a)) : "",
      f.own === null && session.mine?.answers ? h("p", {}, say("mine", { n: session.mine.answers, found: session.mine.found, label })) : "",
      session.owner ? "" : h("p", {}, h("a", { href: new URL("../me", import.meta.url).href }, say("me"))),
      h("div", {}, say("found.rounds"), chart(finds) ?? h("p", {}, say("found.rounds.early"))));
  }

  showWaiting(n, down, notes) {
    const note = notes.filter(Boolean).join(" ");
    this.note.hidden = !note;
    if (this.note.textContent !== note) this.note.textContent = note;
    if (down !== !!this.down) this.tell(down ? say("offline") : say("connected"));
    this.down = down;
    this.waiting.hidden = !n && !down;
    const said = n ? say("waiting", { n }) : say("offline.short");
    this.waiting.classList.toggle("down", down);
    if (this.waiting.textContent !== said) this.waiting.replaceChildren(icon("offline"), said);
  }

  /** Say why there is no card; null: there is one. */
  showState(facts) {
    const key = JSON.stringify(facts);
    if (key === this.shown) return;
    this.shown = key;
    this.deck.dataset.state = facts ? facts.icon ?? "loading" : "card";
    this.answers.setAttribute("aria-disabled", facts !== null);
    this.state.replaceChildren(...(facts ? [
      facts.icon ? h("div", { class: "medal" }, icon(facts.icon)) : h("div", { class: "skeleton" }),
      facts.title ? h("h2", {}, facts.title) : "", h("p", {}, facts.text),
      facts.title && facts.thanks ? h("p", { class: "thanks" }, facts.thanks) : "",
      facts.share != null ? h("span", { class: "bar" }, fill(facts.share)) : "",
      facts.again ? h("button", { class: "btn", click: this.on.tryNow }, say("try")) : "",
    ] : []));
  }

  say(told) {
    this.toast.textContent = told;
    this.toast.hidden = false;
    clearTimeout(this.timer);
    this.timer = setTimeout(() => { this.toast.hidden = true; }, 5000);
  }

  /** Say something to those who listen to the page. */
  tell(told) { this.live.textContent = told; }

  showWhy(reason) {
    this.reason = reason;
    this.why.hidden = !reason || memory.get("why") !== "1";
    this.why.textContent = words[`why.${reason}`] ?? reason ?? "";
  }

  /** Show the three gestures once, over the card: the first touch ends this, and is no answer. */
  showHint() {
    if (this.hint || memory.get("hint")) return;
    const [first, second] = this.choices;
    const gesture = (way, c) => h("div", { class: `gesture ${way}`, "data-tone": c.tone }, icon(way), word(c.word));
    const touch = { pointerdown: (e) => e.stopPropagation(), pointerup: (e) => { if (!e.target.closest("button")) this.endHint(); } };
    this.hint = h("div", { class: "hint", role: "note", ...touch }, h("p", {}, say("hint")), gesture("left", second), gesture("right", first),
      gesture("up", this.choices.at(-2)), h("button", { class: "btn", click: () => this.endHint() }, say("hint.ok")));
    this.stage.append(this.hint);
  }

  endHint() {
    if (!this.hint?.isConnected) return;
    memory.set("hint", "seen");
    this.hint.remove();
  }

  /** Lay out by the deck's own size: it may share the window with something else. */
  layout() {
    // large text makes a small screen
    const em = parseFloat(getComputedStyle(this.deck).fontSize) / 15;
    const [w, height] = [this.deck.clientWidth / em, this.deck.clientHeight / em];
    const layout = height < 520 && w > Math.max(height, 560) ? "side" : w >= 960 ? "wide" : "tall";
    if (this.deck.dataset.layout !== layout) {
      this.deck.dataset.layout = layout;
      if (layout === "wide") { this.sheet.close(); this.aside.append(this.panel); this.drawPanel?.(); }
    }
    const [above, below] = [this.top.offsetHeight / em, this.actions.offsetHeight / em];
    this.deck.classList.toggle("tight", (layout === "side" ? Math.max(above, below) : above + below + 150) + 20 > height);
    // asked here only: a layout costs time
    this.room = { w: this.stage.clientWidth, height: this.stage.clientHeight };
    // until the style is there
    this.deck.style.visibility = getComputedStyle(this.deck).display === "grid" ? "" : "hidden";
  }
}

// the top card: what moves under the finger ----------------------------------------------------------

/** Moves the top card of a queue of cards: leaning, flying, zooming. */
class Mover {
  /** @param {Screen} screen @param {Held[]} queue */
  constructor(screen, queue) {
    Object.assign(this, { screen, queue, zoom: { s: 1, x: 0, y: 0 }, calm: matchMedia("(prefers-reduced-motion: reduce)") });
  }

  get ready() { return this.screen.deck.dataset.state === "card"; }

  get reach() { return clamp(this.screen.room.w * 0.25, 72, 150); }

  drag(dx, dy) {
    this.at = [dx, dy];
    this.frame ??= requestAnimationFrame(() => { this.frame = null; if (this.at) this.paint(...this.at); });
  }

  paint(dx, dy) {
    const [top, next] = this.queue;
    if (!top) return;
    const way = lean(dx, dy);
    const strength = way ? clamp((farOf(way, dx, dy) - 8) / this.reach, 0, 1) : 0;
    top.el.classList.add("held");
    top.el.style.transform = `translate(${dx}px, ${dy}px) rotate(${this.calm.matches ? 0 : clamp(dx * 0.05, -14, 14)}deg)`;
    this.mark(top, this.screen.choices.find((c) => c.way === way), strength);
    if (next) next.el.style.opacity = Math.max(0.01, strength);
    if (strength === 1 && this.ticked !== way) buzz(8);
    this.ticked = strength === 1 ? way : null;
  }

  /** Show which answer the card leans to: word, icon and colour. */
  mark(held, choice, strength) {
    const { stamp } = held;
    const { edges } = this.screen;
    const { value, tone, way } = choice ?? {};
    if (choice && stamp.dataset.value !== value) {
      Object.assign(stamp.dataset, { value, tone, way });
      stamp.replaceChildren(icon(choice.icon), word(choice.word));
    }
    if (choice && edges.dataset.value !== value) Object.assign(edges.dataset, { value, tone, way });
    stamp.style.opacity = edges.style.opacity = choice ? strength : 0;
  }

  /** Let the top card go back to its place. */
  spring() {
    this.at = null;
    this.zoom = { s: 1, x: 0, y: 0 };
    this.screen.stage.classList.remove("zoomed");
    const [top, next] = this.queue;
    if (top) { top.el.classList.remove("held"); top.el.style.transform = ""; this.mark(top, null, 0); }
    if (next) next.el.style.opacity = "";
  }

  /** Send a card off the screen; it can't be touched any more. */
  fly(held, choice, [dx, dy, speed]) {
    const { el } = held;
    const { w, height } = this.screen.room;
    const [x, y] = { right: [w * 1.2, dy * 1.6], left: [-w * 1.2, dy * 1.6], up: [dx * 1.4, -height * 1.25], down: [0, height * 0.6] }[choice.way];
    const from = el.style.transform || "none";
    const down = choice.way === "down";
    this.mark(held, choice, 1);
    this.screen.edges.style.opacity = 0;
    el.classList.add("gone");
    delete el.dataset.ready;
    delete el.dataset.place;
    const to = this.calm.matches ? from : `translate(${x}px, ${y}px) ${down ? "scale(.55)" : `rotate(${clamp(dx * 0.05 || x * 0.03, -18, 18)}deg)`}`;
    const duration = this.calm.matches ? 90 : clamp(420 - speed * 120, 220, 380);
    el.animate([{ transform: from, opacity: 1 }, { transform: to, opacity: down || this.calm.matches ? 0 : 1 }], { duration, easing: "cubic-bezier(.2,.55,.45,1)", fill: "forwards" });
    setTimeout(() => el.remove(), duration);
  }

  /** The top card comes from below the last one or, taken back, from where it went. */
  appear(way) {
    const from = { right: "translateX(110%) rotate(14deg)", left: "translateX(-110%) rotate(-14deg)", up: "translateY(-110%)", down: "translateY(60%) scale(.55)" };
    if (this.calm.matches) return;
    this.queue[0]?.el.animate([{ transform: from[way] ?? "scale(.96)" }, { transform: "none" }], { duration: 220, easing: "cubic-bezier(.2,1,.35,1)" });
  }

  get zoomed() { return this.zoom.s > 1; }

  /** Zoom by a factor around a point of the window, moving by (mx, my) as well. */
  zoomAt(cx, cy, factor, mx = 0, my = 0, smooth = false) {
    const [top] = this.queue;
    if (!top?.painted) return;
    const box = this.screen.stage.getBoundingClientRect();
    const s = clamp(this.zoom.s * factor, 0.9, MAX_ZOOM);
    const k = s / this.zoom.s;
    const [ox, oy] = [cx - box.left - top.el.offsetLeft - top.w / 2, cy - box.top - top.el.offsetTop - top.h / 2];
    this.moveTo(s, ox - (ox - mx - this.zoom.x) * k, oy - (oy - my - this.zoom.y) * k, smooth);
    if (s > 1.3) this.sharpen(top);
  }

  /** The end of a pinch: nearly nothing is nothing. */
  settle() { if (this.zoom.s < 1.08) this.spring(); }

  pan(mx, my) { this.moveTo(this.zoom.s, this.zoom.x + mx, this.zoom.y + my); }

  moveTo(s, x, y, smooth = false) {
    const [top] = this.queue;
    const { stage, room } = this.screen;
    const slack = (size, space) => Math.max((size * s - space) / 2, 0) + (s > 1 ? 40 : 0);
    const [sx, sy] = [slack(top.w, room.w), slack(top.h, room.height)];
    this.zoom = { s, x: clamp(x, -sx, sx), y: clamp(y, -sy, sy) };
    stage.classList.toggle("zoomed", s > 1);
    top.el.classList.toggle("held", !smooth);
    top.el.style.transform = `translate(${this.zoom.x}px, ${this.zoom.y}px) scale(${s})`;
  }

  /** Zoom in at a point (the middle when there is none), or out. */
  toggleZoom(x, y) {
    const box = this.screen.stage.getBoundingClientRect();
    if (this.zoomed) this.spring();
    else this.zoomAt(x ?? box.left + box.width / 2, y ?? box.top + box.height / 2, 2.5, 0, 0, true);
  }

  /** Somebody looks closely: put a larger picture in, when there is one. */
  async sharpen(held) {
    if (held.sharp || Math.max(held.info.width, held.info.height) <= 512) return;
    held.sharp = true;
    const img = h("img", { alt: held.img.alt, draggable: "false", src: held.info.url.replace(/\bw=\d+/, "w=1024") });
    await img.decode().then(() => { held.img.replaceWith(img); held.img = img; }, () => {});
  }
}

function buzz(ms) { try { navigator.vibrate?.(ms); } catch { /* no motor */ } }

// the deck: what happens ---------------------------------------------------------------------------

class Deck {
  /** @param {ParentNode & Node} root @param {Options} options */
  constructor(root, options) {
    this.options = { session: null, mode: "page", ...options };
    /** @type {Held[]} */
    this.queue = [];
    /** @type {Answer[]} */
    // answers that can be taken back without asking the server
    this.history = [];
    // cards answered or given up here: never shown again
    this.done = new Set();
    this.local = []; // what the server's figures don't contain yet
    // when and how the last answer was given
    this.last = { at: -1e9, by: null };
    Object.assign(this, { session: null, trouble: null, round: 0, attempts: 0, empty: 0, figuresAt: -1e9, busy: true, pack: null, taking: false, refilling: null, early: null });
    this.screen = new Screen(root, this.options.mode, {
      press: (c) => { if (this.last.by !== c || now() - this.last.at > SLIP_MS) this.answer(c, [0, 0, 0], c); },
      undo: () => this.undo(), zoom: () => this.mover.toggleZoom(), tryNow: () => this.tryNow(), opening: () => this.gestures.reset(),
    });
    this.mover = new Mover(this.screen, this.queue);
    this.tabs = new Tabs(() => this.holding(), (items) => this.giveUp((held) => items.includes(held.info.item)));
    this.sender = new Sender(this.tabs, {
      url: (session) => this.url("labels", {}, session), changed: () => this.showWaiting(),
      settled: (why, known) => this.onSettled(why, known), failed: (e) => this.stumble(e),
    });
    this.mover.drop = (...how) => this.drop(...how);
    this.gestures = new Gestures(this.screen.stage, this.mover);
    this.listen();
    this.showState();
    this.begin(this.options.start);
    this.tabs.call();
    this.start();
  }

  /** Show what came with the page: where the session stands, and the first card. @param {Start|null|undefined} start */
  begin(start) {
    if (!start) return;
    this.figuresAt = now();
    this.setSession(start.session);
    this.screen.layout();
    this.early = start.card;
    // where answers wait, it may have one of them; where another tab is open, it may be there already
    if (!memory.get("waits") && this.tabs.alone) this.showEarly();
    this.showProgress();
  }

  showEarly() {
    const { card, item } = this.early ?? {};
    const taken = [...this.tabs.others.values()].flat();
    if (this.early && !this.done.has(card) && !taken.includes(item)) this.queue.push(this.hold(this.early));
    this.early = null;
    this.show();
  }

  url(path, query = {}, session = this.options.session) {
    const params = new URLSearchParams(query);
    if (session) params.set("session", session);
    if (this.options.token) params.set("token", this.options.token);
    return `${ROOT}api/${path}?${params}`;
  }

  async start() {
    // what was taken along may be there in a moment: until then nothing is missing
    this.seeking = !!this.options.modules && !!memory.get("packs");
    while (!this.session) {
      await this.loadSession();
      if (this.gone) return;
      if (this.session || (await this.openPack())) break;
      this.seeking = false;
      // how many wait can be said all the same
      if (this.trouble?.passing) await this.sender.open(memory.get("home") ?? null, this.lastHere());
      this.showState();
      await this.rest(this.patience());
    }
    memory.set("home", this.session.workspace ?? "");
    await this.sender.open(this.session.workspace ?? "", this.session.mine?.person ?? null);
    this.noteWho();
    this.takeOver([...this.sender.waiting.values()]);
    if (this.early && !this.tabs.alone) {
      await sleep(CALL_MS);
      this.tabs.prune();
    }
    this.opened = true;
    this.busy = false;
    this.screen.deck.dataset.open = "1"; // answers are taken from now on
    this.showEarly();
    this.showWaiting();
    await this.openPack();
    this.prepareBag();
    while (!this.gone) await this.rest(await this.upkeep());
  }

  /** Return who was here last, null where nobody knows: without a network nobody else says it. */
  lastHere() { return Number(memory.get("who")) || null; }

  /** Keep who is here. An owner is nobody before the first card. */
  noteWho() {
    this.sender.who ??= this.session.mine?.person ?? null;
    if (this.sender.who !== null) memory.set("who", this.sender.who);
  }

  /** Wait so long, or until wake() is called. */
  rest(ms) { return Promise.race([sleep(ms), new Promise((wake) => { this.wake = wake; })]); }

  /** Return how long to wait before trying again what failed. */
  patience() { return this.trouble?.passing ? Math.min(10_000, 700 * 1.5 ** (this.attempts += 1)) : 4000; }

  /** What an earlier visit left unsent is not asked again, counts, and can be undone. @param {Answer[]} answers */
  takeOver(answers) {
    for (const a of answers) {
      if (a.session !== String(this.session.id)) continue;
      if (a.label === null) {
        const back = this.history.find((b) => b.item === a.item);
        this.history = this.history.filter((b) => b !== back);
        this.done.delete(a.card);
        this.pack?.mark(a.card, false);
        if (back) this.local.push({ ...this.weigh(back, -1), id: a.id });
      } else {
        this.history.push(a);
        this.done.add(a.card);
        this.pack?.mark(a.card, true);
        this.local.push(this.weigh(a));
      }
    }
    this.history.sort((a, b) => a.order - b.order);
    this.giveUp((held) => this.done.has(held.info.card));
    this.showProgress();
  }

  /** What the other tabs are told: the items that are here, and those answered here. */
  holding() {
    const answered = this.history.filter((a) => a.label !== "skip").slice(-200);
    return { key: `${this.sender.home} ${this.options.session}`, items: [...this.queue.map((q) => q.info.item), ...answered.map((a) => a.item)] };
  }

  /** Let go of cards that are somebody else's by now. @param {(held: Held) => boolean} lost */
  giveUp(lost) {
    const [top] = this.queue;
    const gone = this.queue.filter(lost);
    for (const held of gone) {
      this.queue.splice(this.queue.indexOf(held), 1);
      held.el.remove();
    }
    if (top !== this.queue[0]) {
      this.gestures.kill();
      this.mover.spring();
    }
    if (!gone.length) return;
    this.show();
    this.wake?.();
  }

  /** Do what is due: figures, more cards, leases. Returns for how many ms nothing is. */
  async upkeep() {
    const idle = !this.queue.length;
    const since = now() - this.figuresAt;
    // by the clock on the wall: the other one stands still while a computer sleeps
    const old = !document.hidden && Math.abs(Date.now() - this.askedAt) > LEASE_MS;
    if (!this.pack) await this.openPack();
    this.fill();
    const news = since > NEWS_MS && !document.hidden;
    if (!this.session || this.trouble || (this.stale && since > FIGURES_MS) || (idle && since > 900) || news) await this.loadSession();
    // while cards are taken along, they are what is asked for and loaded
    if (this.session && !this.trouble && !this.taking) {
      if (this.pack && (old || !this.askedAt || !this.pack.left)) await this.tend();
      if (!this.pack?.left && (this.queue.length < REFILL || old)) await (this.refilling = this.refill(Math.max(1, HOLD - this.queue.length)));
    }
    if (this.trouble) return this.patience();
    return this.queue.length < REFILL && !this.pack?.left ? Math.min(8000, 400 * 1.6 ** this.empty) : this.stale ? 1000 : 13_000;
  }

  /** Something failed: say so, go on trying. @param {Failed} e */
  stumble(e) {
    this.trouble = e;
    this.showState();
    this.showWaiting();
  }

  recover() {
    if (!this.trouble) return;
    Object.assign(this, { trouble: null, attempts: 0, empty: 0 });
    this.sender.now();
    for (const held of this.queue) if (held.failures) { held.failures = 0; this.load(held); }
    this.showWaiting();
  }

  tryNow() {
    this.attempts = 0;
    this.sender.now();
    this.wake?.();
  }

  /** Ask the server now, as somebody says that it is gone; returns whether it answers. */
  async look() {
    await this.loadSession();
    this.wake?.();
    return !this.trouble;
  }

  async loadSession() {
    if (!this.trouble) await this.sender.sending;
    const { groups, sending } = this.sender;
    const known = this.local.filter((l) => !this.sender.waiting.has(l.id));
    this.figuresAt = now();
    this.stale = false;
    try {
      let session = await call(this.url("session"), "question");
      this.options.token = null;
      this.stayHome(session.workspace ?? "", session.mine?.person);
      if (!this.session || (!sending && groups === this.sender.groups)) this.local = this.local.filter((l) => !known.includes(l));
      else {
        // answers were on their way: nobody knows whether these figures hold them
        const { counts, found, round_answered, mine } = this.session;
        session = { ...session, counts, found, round_answered, mine };
        this.stale = true;
      }
      this.setSession(session);
      if (this.sender.home !== null) this.noteWho();
      this.pack?.note(session);
      this.recover();
    } catch (e) {
      this.stumble(e);
    }
    this.showProgress();
    this.showState();
  }

  /** Other images are served here than before, or to somebody else: begin anew. What waits stays for its own. Raises Failed. */
  stayHome(workspace, person = null) {
    const { home, who } = this.sender;
    const other = home !== workspace ? "other" : person !== null && who !== null && who !== person ? "somebody" : null;
    if (home === null || !other) return;
    if (this.sender.kept || !this.sender.waiting.size) location.reload();
    throw new Failed(409, { error: say(other), do: say("other.do") });
  }

  setSession(session) {
    const asked = JSON.stringify([session.question, session.labels, session.owner]);
    this.session = session;
    this.options.session ??= session.id;
    if (asked !== this.asked) {
      this.asked = asked;
      this.choices = choicesFor(session.labels);
      this.screen.showQuestion(session, this.choices);
      if (this.options.mode === "page") document.title = session.question;
    }
    this.noteRound(session.round);
    this.showWaiting();
    if (!this.thank(session)) this.greet(session);
  }

  /** Say by which name somebody is in: the one they typed may have been taken. */
  greet({ workspace, owner, mine }) {
    const once = `named.${workspace}`;
    // not over the hint, with its button: with the next figures
    if (owner !== false || !mine?.name || memory.get(once) === mine.name || !memory.get("hint")) return;
    memory.set(once, mine.name);
    this.screen.say(say("named", { name: mine.name }));
  }

  /** Thank for every so many answers, over the card and not in the way. The words are the server's. Returns whether it did. */
  thank({ mine, thanks }) {
    const step = Math.floor((mine?.answers ?? 0) / THANKS);
    const due = !!thanks && step > this.thanked;
    if (due) this.screen.say(thanks);
    this.thanked = Math.max(step, this.thanked ?? 0);
    return due;
  }

  /** A new round has been learned: tell the page around, once. */
  noteRound(round = 0) {
    if (round <= this.round) return;
    if (this.round) this.options.onRound?.(round);
    this.round = round;
    this.stale = true;
  }

  // cards ahead

  async refill(n) {
    const { others } = this.tabs;
    const first = !this.askedAt && !others.size;
    // there is no card 0: with it the list is never empty
    const have = [0, ...this.queue.map((c) => c.info.card), ...[...this.done].slice(-200)].filter((c) => c != null);
    try {
      // the first time, its own come back
      const { cards, gone = [] } = await call(this.url("cards", first ? { n } : { n, have: have.join() }), "cards");
      this.askedAt = Date.now();
      // those of another tab among them
      const taken = first ? [...others.values()].flat() : [];
      this.giveUp((held) => !held.back && gone.includes(held.info.card));
      const fresh = cards.filter((c) => !this.done.has(c.card) && !taken.includes(c.item) && !this.queue.some((q) => q.info.item === c.item));
      this.empty = cards.length ? 0 : this.empty + 1;
      fresh.forEach((c) => { this.queue.push(this.hold(c)); this.noteRound(c.round); });
      if (first) this.tabs.tell();
    } catch (e) {
      this.stumble(e);
    }
    this.show();
  }

  // cards taken along

  async importPack() {
    const { Pack, speak } = await import(this.options.modules.pack);
    speak(say);
    return Pack;
  }

  /**
   * Take up the pack of this question that is in this browser; without a network, and before the question is known, the
   * one used last. Returns whether there is one.
   */
  async openPack() {
    const { modules, session } = this.options;
    if (this.pack || this.sought || !modules || !memory.get("packs")) return !!this.pack;
    try {
      const Pack = await this.importPack();
      this.sought = !!this.session;
      // another tab that has it has answered by then
      await sleep(CALL_MS);
      const [home, who] = this.session ? [this.sender.home, this.sender.who] : [null, this.lastHere()];
      this.pack = await Pack.open({ home, who, session: this.session?.id ?? session }, this.tabs);
    } catch { /* no database: there is none; or no network, and nothing kept: it is looked for again */ }
    if (!this.pack) return false;
    if (!this.session) this.setSession({ ...this.pack.record.session, workspace: this.pack.record.home });
    this.markWaiting();
    this.fill();
    this.showProgress();
    return true;
  }

  /** What waits to be sent was answered, also where the page was closed before the pack knew it. */
  markWaiting() { for (const a of this.sender.waiting.values()) this.pack.mark(a.card, a.label !== null); }

  /** Put cards of the pack on the table. */
  fill() {
    if (!this.pack) return;
    // what is on the screen stays; of the rest, what can be shown comes first
    const stuck = this.trouble && this.queue[0]?.failures && this.queue.some((q) => q.decoded);
    if (stuck) this.queue.sort((a, b) => b.decoded - a.decoded);
    const here = (info) => this.queue.some((q) => q.info.item === info.item);
    const fresh = this.pack.next(HOLD - this.queue.length, (info) => !this.done.has(info.card) && !here(info));
    fresh.forEach((info) => this.queue.push(this.hold(info)));
    if (fresh.length || stuck) this.show();
  }

  /** Ask for cards to take along, or give some back. Raises Failed. @param {"pack"|"pack/back"} path */
  askPack(path, body) { return call(this.url(path), path === "pack" ? "cards" : "back", body); }

  /** Hear which cards of the pack need no answer any more, load what is missing, end it when all is answered. */
  async tend() {
    const { pack } = this;
    try {
      if (pack.open.length) {
        const { gone } = await this.askPack("pack", { n: 0, have: pack.open });
        this.askedAt = Date.now();
        const lost = gone.filter((card) => !this.queue.find((q) => q.back && q.info.card === card));
        await pack.drop(lost);
        this.giveUp((held) => lost.includes(held.info.card));
        if (!pack.loading) pack.load((path, body) => this.askPack(path, body)).then(() => this.wake?.(), () => {});
      }
      const waits = [...this.sender.waiting.values()].some((a) => pack.has(a.card));
      if (!pack.open.length && !waits && !pack.loading) await this.endPack();
    } catch (e) {
      this.stumble(e instanceof Failed ? e : new Failed());
    }
    this.fill();
    this.showProgress();
  }

  async endPack() {
    const { pack } = this;
    this.pack = null;
    await pack.end();
    this.showProgress();
  }

  /** Offer cards to take along, where they can be stored. */
  prepareBag() {
    const { bag, take, takeIn } = this.screen;
    if (!this.options.modules || !this.sender.kept) return;
    const ask = (path, body) => this.askPack(path, body);
    const on = {
      running: null, pack: () => this.pack, about: () => call(this.url("pack"), "most"),
      left: () => (this.session.items ?? 0) - this.figures().answered,
      take: (n, bytes, report, stop) => this.takeAlong({ n, bytes }, ask, report, stop),
      back: () => this.giveBack(ask),
    };
    bag.hidden = false;
    bag.addEventListener("click", async () => {
      this.screen.open(take);
      try {
        const { showTake } = await import(this.options.modules.take);
        await showTake(takeIn, { h, text, say }, on);
      } catch { takeIn.textContent = say("away.take"); }
    });
  }

  /** Take cards along, those on the table first. Returns what there is to say, "" for nothing. */
  async takeAlong(wanted, ask, report, stop) {
    this.taking = true;
    try {
      const Pack = await this.importPack();
      this.tabs.call();
      await sleep(CALL_MS);
      // what is on its way to the table comes along too
      await this.refilling;
      const pack = this.pack = await Pack.begin(this.session, this.sender, this.tabs);
      memory.set("packs", "1");
      const have = this.queue.filter((q) => q.info.card != null && !q.back).map((q) => q.info);
      try {
        return await pack.take({ ...wanted, have }, ask, (loaded) => { report(loaded); this.fill(); }, stop);
      } finally {
        this.markWaiting();
        if (!pack.size) await this.endPack();
        this.fill();
        this.showProgress();
      }
    } finally {
      this.taking = false;
    }
  }

  /** Give the pack back, or without one what the server keeps for this person. Returns what there is to say. */
  async giveBack(ask) {
    const { pack } = this;
    const { back } = await ask("pack/back", { cards: pack?.open ?? null });
    if (pack) {
      this.giveUp((held) => pack.has(held.info.card));
      await this.endPack();
    }
    this.wake?.();
    return say("back.given", { n: back });
  }

  /** Return a card with its image on the way. Raises Failed when it is another workspace's. @param {Card} info @returns {Held} */
  hold(info) {
    const served = /\bv=(\w+)/.exec(info.url);
    if (served && this.sender.home) this.stayHome(served[1]);
    const img = h("img", { alt: "", draggable: "false", decoding: "async", fetchpriority: this.queue.length > 3 ? "low" : "high" });
    const stamp = h("div", { class: "stamp" });
    const el = h("div", { class: "card", "data-card": info.card, "aria-hidden": "true" }, img, stamp);
    const held = { info, el, img, stamp, decoded: false, painted: false, arming: false, failures: 0, shownAt: 0, w: 0, h: 0 };
    this.load(held);
    return held;
  }

  async load(held) {
    const kept = this.pack?.has(held.info.card) ? await this.pack.picture(held.info) : null;
    held.img.src = kept ?? held.info.url;
    await held.img.decode().catch(() => {});
    if (kept) URL.revokeObjectURL(kept);
    if (!held.img.naturalWidth) return this.imageFailed(held);
    held.decoded = true;
    this.show();
  }

  /** An image did not come: try again; give the card up when it is the image and not the network. */
  async imageFailed(held) {
    held.failures += 1;
    await sleep(500 * held.failures);
    // recover() tries again, but what is in the pack needs no network
    if (this.gone || (this.trouble && !this.pack?.has(held.info.card)) || !this.queue.includes(held)) return;
    if (held.failures < 4) { held.img.removeAttribute("src"); this.load(held); return; }
    this.queue.splice(this.queue.indexOf(held), 1);
    held.el.remove();
    this.done.add(held.info.card);
    this.screen.say(say("image.lost"));
    this.show();
    this.wake?.();
  }

  /** Bring the page in line with the queue: the top card, the next one under it. */
  show() {
    this.queue.forEach((held, place) => {
      if (place >= IN_PAGE) { held.el.remove(); return; }
      held.el.dataset.place = place;
      if (!held.el.isConnected) { this.fit(held); this.screen.stage.append(held.el); }
      if (place) this.cover(held);
    });
    this.showTop();
  }

  showTop() {
    const [top] = this.queue;
    if (top) top.el.dataset.place = 0;
    // not before it is known what was answered here
    if (this.opened && top?.decoded && top.el.isConnected && !top.painted && !top.arming) this.arm(top);
    this.showState();
  }

  cover(held) {
    held.painted = false;
    delete held.el.dataset.ready;
    held.el.setAttribute("aria-hidden", "true");
  }

  /** The card can be answered once a frame with its image has gone to the screen. */
  arm(held) {
    held.arming = true;
    held.el.style.opacity = "";
    requestAnimationFrame(() => requestAnimationFrame(() => {
      held.arming = false;
      if (this.queue[0] !== held) return;
      held.painted = true;
      held.shownAt = now();
      held.el.dataset.ready = "1";
      const { done, batch } = this.figures();
      const { width, height } = held.info;
      held.img.alt = say("image", { at: Math.min(done + 1, batch), batch, width: `${width}`, height: `${height}` });
      held.el.removeAttribute("aria-hidden");
      this.screen.showWhy(held.info.reason);
      this.screen.showHint();
    }));
  }

  /** Make the card as large as the stage allows; a very long image still gets a card one can hold. */
  fit(held) {
    const { w, height } = this.screen.room;
    const [iw, ih, rw, rh] = [held.info.width || 1, held.info.height || 1, w - 8, height - 24];
    const k = Math.min(rw / iw, rh / ih);
    held.w = Math.max(iw * k, Math.min(rw, 120));
    held.h = Math.max(ih * k, Math.min(rh, 120));
    Object.assign(held.el.style, { width: `${held.w}px`, height: `${held.h}px`, left: `${(w - held.w) / 2}px`, top: `${(height - held.h) / 2 - 6}px` });
  }

  // answers

  drop(dx, dy, vx, vy, at) {
    const way = verdict(dx, dy, vx, vy, this.mover.reach);
    const bounced = way && way === { right: "left", left: "right" }[this.last.by] && at - this.last.at < BOUNCE_MS;
    const choice = way && !bounced && this.choices.find((c) => c.way === way);
    if (!choice || !this.answer(choice, [dx, dy, Math.hypot(vx, vy)], way)) this.mover.spring();
    else this.last.at = at;
  }

  /** Answer the top card; false when there is none that has been seen. `by`: the way of a swipe, or the choice whose
   *  button was pressed. @param {Choice} choice */
  answer(choice, motion = [0, 0, 0], by = null) {
    const [held] = this.queue;
    if (!held?.painted || this.busy || !this.mover.ready) return false;
    const at = now();
    held.painted = false;
    this.gestures.kill();
    this.mover.fly(held, choice, motion);
    this.queue.shift();
    this.mover.spring();
    this.showTop();
    this.mover.appear();
    this.last = { at, by };
    const { card, item } = held.info;
    const answer = this.sender.add({ session: String(this.session.id), card, item, label: choice.value, ms: Math.round(at - held.shownAt), shown: held.info });
    this.pack?.mark(card, true);
    this.done.add(card);
    this.history.push(answer);
    this.local.push(this.weigh(answer));
    this.stale = true;
    buzz(12);
    requestAnimationFrame(() => setTimeout(() => this.afterAnswer(choice)));
    return true;
  }

  /** What can wait until the next card is on the screen. */
  afterAnswer(choice) {
    this.show();
    this.showWaiting();
    this.screen.endHint();
    this.showProgress();
    this.screen.tell(say("said", { word: choice.word, n: this.figures().own ?? this.figures().answered }));
    this.fill();
    if (this.queue.length < REFILL) this.wake?.();
  }

  /** Return what an answer adds to the figures. @param {Answer} a */
  weigh(a, sign = 1) {
    const counts = a.label !== null && a.label !== "skip";
    return { id: a.id, answered: counts ? sign : 0, found: a.label === this.session?.labels[0] ? sign : 0 };
  }

  onSettled(why, feedback = []) {
    if (feedback.length) this.screen.say(knownWords(feedback));
    if (why.length) this.screen.say(say("refused", { n: why.length, why: why[0] }));
    this.stale = true;
    if (this.empty) { this.empty = 0; this.wake?.(); }
    this.recover();
    this.showWaiting();
  }

  /** Take the last answer back and show its card again: this device's at once, older ones through the server. */
  async undo() {
    if (this.busy) return;
    this.gestures.reset();
    const last = this.history.pop();
    if (last) {
      const { session, card, item, shown, label } = last;
      const { id } = this.sender.add({ session, card, item, label: null, ms: null, shown });
      this.local.push({ ...this.weigh(last, -1), id });
      this.bringBack(shown, label);
      return;
    }
    this.busy = true;
    await this.undoOnServer();
    this.busy = false;
  }

  async undoOnServer() {
    // the same event, should it have to be sent twice
    this.undoId ??= uuid();
    try {
      if (!(await this.sender.drain())) throw new Failed();
      const { card, label } = await call(this.url("undo"), "card", { id: this.undoId });
      this.undoId = null;
      this.bringBack(card, label);
      this.loadSession();
    } catch (e) {
      if (!e.passing) this.undoId = null;
      this.screen.say(e.passing ? say("undo.away") : e.message);
    }
  }

  bringBack(info, label) {
    const choice = this.choices.find((c) => c.value === label);
    const twin = this.queue.findIndex((q) => q.info.item === info.item);
    if (twin >= 0) this.queue.splice(twin, 1)[0].el.remove();
    this.done.delete(info.card);
    this.pack?.mark(info.card, false);
    this.mover.spring();
    this.queue.unshift(this.hold(info));
    // the server may not know yet that it is asked again
    this.queue[0].back = true;
    this.show();
    this.mover.appear(choice?.way);
    this.screen.tell(say("taken.back", { word: choice?.word ?? label }));
    this.stale = true;
    this.showProgress();
  }

  // what the screen says

  /** The server's figures, and the answers it did not know when it sent them. */
  figures() {
    const { counts = {}, labels, found = 0, round_answered: done = 0, batch_size: batch = 20, can_undo: undo, mine, owner } = this.session;
    const extra = (name) => this.local.reduce((sum, l) => sum + l[name], 0);
    const answered = labels.reduce((sum, l) => sum + (counts[l] ?? 0), counts.unsure ?? 0) + extra("answered");
    const [own, ownFound] = owner === false && mine ? [mine.answers + extra("answered"), mine.found + extra("found")] : [null, null];
    return { answered, found: found + extra("found"), own, ownFound, batch, done: clamp(done + extra("answered"), 0, batch), undo: undo !== false || this.history.length > 0, along: this.pack?.size ? [this.pack.left, this.pack.size] : null };
  }

  showProgress() { if (this.session) this.screen.showProgress(this.session, this.figures()); }

  showWaiting() {
    const { kept, waiting, held } = this.sender;
    const waits = waiting.size ? "1" : "";
    if (this.opened && waits !== this.waits) memory.set("waits", this.waits = waits);
    const { owner, state, problem, notice } = this.session ?? {};
    const shut = owner && { paused: say("shut.paused"), closed: say("shut.closed") }[state]; // an owner gets cards all the same
    this.screen.showWaiting(waiting.size, this.trouble?.passing === true, [!kept && say("keep.open"), held && say("held", { n: held }), problem, shut, notice]);
  }

  showState() { this.screen.showState(this.stateNow()); }

  /** Return what to say instead of a card, or null. */
  stateNow() {
    const { trouble, session } = this;
    const n = this.sender.waiting.size;
    const safe = n ? ` ${say("kept", { n })}` : "";
    // a cookie that was good before: sent away, or erased
    if (trouble?.status === 401 && session) return { icon: "lock", title: say("ended"), text: say("ended.do") + safe };
    if (trouble?.denied) return { icon: "lock", title: trouble.message, text: (trouble.todo || say("denied.do")) + safe };
    if (this.queue[0]?.decoded) return null;
    if (trouble?.passing && this.seeking && !this.opened) return { text: say("getting") };
    if (trouble?.passing && this.pack) return { icon: "done", title: say("take.done"), text: say("take.done.do") + safe, again: true };
    if (trouble?.passing) return { icon: "offline", title: say("away"), text: say("away.do") + safe, again: true };
    if (trouble) return { icon: "ask", title: trouble.message, text: trouble.todo };
    if (!session || this.queue.length || !this.askedAt) return { text: say("getting") };
    return { ...this.emptyState(session), thanks: session.thanks };
  }

  emptyState({ images = 0, items = images, embedded = 0, total, worker, stage, left_s: left, counts = {}, state, owner }) {
    if (state === "paused" && !owner) return { icon: "later", title: say("paused"), text: say("paused.do") };
    if (state === "closed" && !owner) return { icon: "done", title: say("closed"), text: say("closed.do") };
    const { answered, found } = this.figures();
    const all = total ?? images;
    if (worker === "embedding" || (stage && stage !== "done")) {
      const ready = left ? ` ${left < 90 ? say("reading.minute") : say("reading.minutes", { n: Math.round(left / 60) })}` : "";
      return { icon: "later", title: say("reading"), text: all ? say("reading.of", { done: embedded, all }) + ready : say("reading.count"), share: all && clamp(embedded / all, 0, 1) };
    }
    if (worker === "learning" || this.sender.waiting.size || this.empty < 2) return { text: say("learning") };
    if (!images) return { icon: "ask", title: say("none"), text: say("none.do") };
    const later = counts.skip ?? 0;
    if (answered >= items) return { icon: "done", title: say("done"), text: say("done.said", { n: answered, found: say("figures.found", { n: found }) }) };
    if (later && answered + later >= items) return { icon: "later", title: say("later.left"), text: say("later.said", { n: later }) };
    return { icon: "done", title: say("empty"), text: say("empty.do") };
  }

  // the page around

  listen() {
    const { stage, deck } = this.screen;
    this.abort = new AbortController();
    const on = (target, name, work) => target.addEventListener(name, work, { signal: this.abort.signal, passive: false });
    on(window, "keydown", (e) => this.onKey(e));
    on(window, "online", () => this.tryNow());
    on(window, "blur", () => this.gestures.reset());
    on(window, "pagehide", () => { this.sender.flush(); this.tabs.leave(); });
    on(window, "pageshow", (e) => { if (e.persisted) this.resume(); });
    on(document, "resume", () => this.resume());
    on(window, "beforeunload", (e) => { if (!this.sender.kept && this.sender.waiting.size) e.preventDefault(); });
    on(document, "visibilitychange", () => this.onVisible());
    on(stage, "wheel", (e) => this.onWheel(e));
    this.sizes = new ResizeObserver(() => this.onResize());
    this.sizes.observe(deck);
    this.sizes.observe(stage);
    this.dark = matchMedia("(prefers-color-scheme: dark)");
    on(this.dark, "change", () => this.setTheme());
    this.setTheme();
  }

  onVisible() {
    this.gestures.reset();
    if (document.hidden) { this.sender.flush(); return; }
    this.resume();
  }

  /** The page is looked at again, after a glance elsewhere or a night: others may have answered its cards. */
  async resume() {
    // time away is no time spent looking
    if (this.queue[0]) this.queue[0].shownAt = now();
    this.askedAt &&= 1;
    this.stale = true;
    this.attempts = 0;
    this.tabs.call();
    this.wake?.();
    const { pack } = this;
    if (pack && !(await pack.isMine())) {
      // another tab has taken it over
      if (this.pack === pack) this.pack = null;
      this.giveUp((held) => pack.has(held.info.card));
    }
    if (this.session) this.takeOver(await this.sender.open());
  }

  onWheel(e) {
    e.preventDefault();
    if (e.deltaY > 0 && !this.mover.zoomed) return;
    this.mover.zoomAt(e.clientX, e.clientY, Math.exp(-clamp(e.deltaY, -60, 60) * (e.ctrlKey ? 0.02 : 0.006)));
    if (e.deltaY > 0) this.mover.settle();
  }

  onResize() {
    // also the first time: the observer calls at once
    this.screen.layout();
    if (this.mover.zoomed) this.mover.spring();
    this.queue.slice(0, IN_PAGE).forEach((held) => this.fit(held));
  }

  /** @param {string|null} [theme] light or dark; without one, the system decides */
  setTheme(theme) { this.screen.deck.dataset.theme = theme ?? (this.dark.matches ? "dark" : "light"); }

  onKey(e) {
    if (e.defaultPrevented || e.ctrlKey || e.metaKey || e.altKey || !this.choices || this.screen.isOpen || memory.get("keys") === "off") return;
    const key = e.key.toLowerCase();
    const work = (e.shiftKey && this.panOf(key)) || this.commandOf(key);
    // space presses what has the focus
    if (!work || (key === " " && e.composedPath()[0].matches?.("button, a"))) return;
    e.preventDefault();
    if (!e.repeat) work();
  }

  /** With shift, the arrows move a zoomed image. */
  panOf(key) {
    const by = { arrowright: [-90, 0], arrowleft: [90, 0], arrowup: [0, 90], arrowdown: [0, -90] }[key];
    return by && this.mover.zoomed && (() => this.mover.pan(...by));
  }

  /** @returns {(() => void)|null} what a key does */
  commandOf(key) {
    const way = { arrowright: "right", arrowleft: "left", arrowup: "up" }[key];
    const named = this.choices.slice(0, -2);
    const choice = way ? this.choices.find((c) => c.way === way) : key === "l" ? this.choices.at(-1) : named[Number(key) - 1];
    if (choice) return () => this.answer(choice);
    if (key === "z" || key === "backspace") return () => this.undo();
    return { " ": () => this.mover.toggleZoom(), escape: () => this.mover.spring(), "?": () => this.screen.open(this.screen.help) }[key] ?? null;
  }

  destroy() {
    this.gone = true;
    this.abort.abort();
    this.sizes.disconnect();
    this.sender.flush();
    this.sender.quiet = true;
    this.tabs.leave();
    this.wake?.();
    this.screen.deck.remove();
  }
}

/** Mount a deck in an element or a shadow root. @param {ParentNode & Node} root @param {Options} options */
export function mountDeck(root, options = {}) {
  words = options.words ?? words;
  const deck = new Deck(root, options);
  return { destroy: () => deck.destroy(), setTheme: (theme) => deck.setTheme(theme), look: () => deck.look() };
}

// the light page ------------------------------------------------------------------------------------

/**
 * Return what came with the page, once: a browser that shows the page again from its memory shows a card that was given long ago.
 *
 * @returns {Start|null}
 */
function started() {
  const start = JSON.parse(document.getElementById("labeler-start")?.textContent ?? "null");
  const past = (memory.get("pages") ?? "").split(" ");
  if (!start || past.includes(start.page)) return null;
  memory.set("pages", [start.page, ...past.slice(0, 40)].join(" "));
  return start;
}

/** Keep the page for times without a network, where browsers allow that: over HTTPS, and on this computer. */
function keepPage() {
  if (!isSecureContext || !navigator.serviceWorker) return;
  const [script, scope] = ["deck/keeper.js", "swipe"].map((name) => new URL(name, location.href));
  navigator.serviceWorker.register(script, { scope: scope.pathname, updateViaCache: "none" }).catch(() => {});
}

const page = document.getElementById("labeler-deck");
if (page) {
  const address = new URL(location.href);
  const [session, token] = ["session", "token"].map((name) => address.searchParams.get(name));
  address.searchParams.delete("token");
  if (token) history.replaceState(null, "", address);
  const [pack, take] = [page.dataset.pack, page.dataset.take].map((name) => new URL(name, location.href).href);
  mountDeck(page, { session, token, start: started(), modules: { pack, take }, words: JSON.parse(page.dataset.words) });
  // after the first cards: they come first
  addEventListener("load", () => setTimeout(keepPage, 1500));
}
