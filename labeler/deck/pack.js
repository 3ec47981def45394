/**
 * Cards taken along: kept in this browser with their pictures, for where there is no network.
 *
 * In IndexedDB and not in the cache of a service worker: so it works on plain-HTTP addresses too, as long as the page is open.
 * A pack belongs to one question of one workspace and to one person, and to one tab at a time. Answered cards stay until all are answered and
 * acknowledged, so that each can be taken back. How long the server holds the cards is its own business: no clock is read here.
 *
 * @typedef {import("./deck.js").Card & {bytes?: number|null}} Info
 * @typedef {{id: string, pack: string, place: number, info: Info, done: boolean, kept: boolean, bytes: number}} Packed
 * @typedef {{key: string, home: string, who: number|null, session: any, tab: string, used: number}} Record
 * @typedef {{cards: number, of: number, bytes: number, ofBytes: number}} Loaded
 */

// pictures fetched at a time
const LANES = 4;
// a picture is asked for so often
const TRIES = 3;
// so often nothing may come, though no round is on its way, before it is said that no more are there
const EMPTY = 3;
// the same while one is on its way: a minute and more
const PATIENCE = 100;
const PAUSE_MS = 500;
// what a browser stores takes more room than it has bytes
const SPARE = 1.3;

const sleep = (ms) => new Promise((done) => setTimeout(done, ms));
const megabytes = (bytes) => `${(bytes / 1e6).toFixed(bytes < 1e7 ? 1 : 0)} MB`;

/** The deck's words: say(key, values). */
let say = (key) => key;
export const speak = (words) => { say = words; };

/** Return what one transaction gives. @param {IDBDatabase} db */
function run(db, stores, mode, work) {
  return new Promise((done, fail) => {
    const change = db.transaction(stores, mode);
    const ask = work(...stores.map((name) => change.objectStore(name)));
    change.oncomplete = () => done(ask?.result);
    change.onerror = change.onabort = () => fail(change.error?.name === "QuotaExceededError" ? new Error(say("pack.full")) : change.error ?? new Error(say("pack.away")));
  });
}

function openDatabase() {
  return new Promise((done, fail) => {
    setTimeout(fail, 3000, new Error(say("pack.stores")));
    const ask = indexedDB.open("labeler-packs", 1);
    ask.onupgradeneeded = () => {
      ask.result.createObjectStore("packs", { keyPath: "key" });
      ask.result.createObjectStore("cards", { keyPath: "id" }).createIndex("pack", "pack");
      ask.result.createObjectStore("tiles", { keyPath: "id" });
    };
    ask.onsuccess = () => done(ask.result);
    ask.onerror = () => fail(ask.error);
  });
}

/** Raise, with a sentence that says it, when the browser has less room than so many bytes. */
async function checkRoom(bytes) {
  // not waited for: a person may be asked; a pack works all the same
  navigator.storage?.persist?.().catch(() => {});
  const { quota, usage } = (await navigator.storage?.estimate?.().catch(() => null)) ?? {};
  if (quota === undefined) return;
  const free = Math.max(0, quota - usage);
  if (bytes * SPARE > free) throw new Error(say("pack.room", { free: megabytes(free), need: megabytes(bytes * SPARE) }));
}

export class Pack {
  /** @param {IDBDatabase} db @param {Record} record @param {Packed[]} cards */
  constructor(db, record, cards) {
    this.cards = new Map(cards.map((c) => [c.info.card, c]));
    Object.assign(this, { db, record, loading: null });
  }

  /**
   * Return the pack of a question, or without a network the one used last; null when there is none, or another tab has it.
   *
   * @param {{home: string|null, who: number|null, session: number|string|null}} wanted  null: not known, any
   * @param {{id: string, others: Map<string, number[]>}} tabs
   */
  static async open(wanted, tabs) {
    const db = await openDatabase();
    const all = await run(db, ["packs"], "readonly", (packs) => packs.getAll());
    const whose = (r) => wanted.who === null || r.who == null || r.who === wanted.who;
    const fits = (r) => whose(r) && (wanted.home === null || r.home === wanted.home) && (wanted.session == null || String(r.session.id) === String(wanted.session));
    const record = all.filter(fits).sort((a, b) => b.used - a.used)[0];
    if (!record || (record.tab !== tabs.id && tabs.others.has(record.tab))) return null;
    Object.assign(record, { tab: tabs.id, used: Math.max(...all.map((r) => r.used)) + 1 });
    const cards = await run(db, ["packs", "cards"], "readwrite", (packs, cards) => {
      packs.put(record);
      return cards.index("pack").getAll(record.key);
    });
    return new Pack(db, record, cards.sort((a, b) => a.place - b.place));
  }

  /**
   * Return a new pack, or the one of this question that a tab has left. Raises when another tab has it.
   *
   * @param {any} session @param {{home: string, who: number|null}} place
   */
  static async begin(session, { home, who }, tabs) {
    const known = await Pack.open({ home, who, session: session.id }, tabs);
    if (known) return known;
    const db = await openDatabase();
    const key = `${home} ${session.id} ${who ?? ""}`;
    const all = await run(db, ["packs"], "readonly", (packs) => packs.getAll());
    if (all.some((r) => r.key === key)) throw new Error(say("pack.tab"));
    const record = { key, home, who, session, tab: tabs.id, used: 1 + Math.max(0, ...all.map((r) => r.used)) };
    await run(db, ["packs"], "readwrite", (packs) => packs.put(record));
    return new Pack(db, record, []);
  }

  /** Cards that can be shown without a network and have no answer. */
  get left() { return [...this.cards.values()].filter((c) => !c.done && c.kept).length; }

  get size() { return this.cards.size; }

  /** Cards without an answer. @returns {number[]} */
  get open() { return [...this.cards.values()].filter((c) => !c.done).map((c) => c.info.card); }

  has(card) { return this.cards.has(card); }

  /** Return the next cards. @param {(info: Info) => boolean} free */
  next(n, free) {
    return [...this.cards.values()].filter((c) => !c.done && c.kept && free(c.info)).slice(0, n).map((c) => c.info);
  }

  /** Return the address of a picture that is here, to be revoked after use; null: it is not. @param {Info} info */
  async picture({ card }) {
    const known = this.cards.get(card);
    if (!known?.kept) return null;
    const tile = await run(this.db, ["tiles"], "readonly", (tiles) => tiles.get(known.id)).catch(() => null);
    return tile ? URL.createObjectURL(new Blob([tile.data], { type: tile.type })) : null;
  }

  /** A card was answered, or its answer taken back. */
  mark(card, done) {
    const known = this.cards.get(card);
    if (!known || known.done === done) return;
    known.done = done;
    this.put([known]).catch(() => {});
  }

  put(cards) { return run(this.db, ["cards"], "readwrite", (store) => { cards.forEach((c) => store.put(c)); }); }

  /** Keep how the session stands: without a network nobody else says it. */
  note(session) {
    this.record.session = session;
    run(this.db, ["packs"], "readwrite", (packs) => packs.put(this.record)).catch(() => {});
  }

  /** Return whether this is still this tab's: another one takes it over while this one sleeps. */
  async isMine() {
    const record = await run(this.db, ["packs"], "readonly", (packs) => packs.get(this.record.key)).catch(() => null);
    return record?.tab === this.record.tab;
  }

  /** @param {Info[]} infos */
  async add(infos) {
    const fresh = infos.filter((info) => !this.cards.has(info.card)).map((info, i) => ({
      id: `${this.record.key} ${info.card}`, pack: this.record.key, place: this.cards.size + i, info,
      done: false, kept: false, bytes: info.bytes ?? 0 }));
    await this.put(fresh);
    fresh.forEach((c) => this.cards.set(c.info.card, c));
  }

  /** Forget cards, the pack with the last of them. @param {number[]} cards */
  async drop(cards) {
    const known = cards.map((card) => this.cards.get(card)).filter(Boolean);
    known.forEach((c) => this.cards.delete(c.info.card));
    await run(this.db, ["packs", "cards", "tiles"], "readwrite", (packs, store, tiles) => {
      known.forEach((c) => { store.delete(c.id); tiles.delete(c.id); });
      if (!this.cards.size) packs.delete(this.record.key);
    });
  }

  /** Forget everything. */
  end() { return this.drop([...this.cards.keys()]); }

  /**
   * Lease cards until there are n, then load their pictures; return a sentence for what went otherwise, "" for nothing.
   * Pictures are loaded while a round is waited for: whoever has to go has what is there. Raises what `ask` raises
   * while there is no card yet, and an Error with a sentence when there is no room.
   *
   * @param {{n: number, have: Info[], bytes: number}} wanted  have: the cards on the table, which come along first
   * @param {(path: string, body: any) => Promise<any>} ask  posts to the interface
   * @param {(l: Loaded) => void} report @param {AbortSignal} stop
   */
  async take({ n, have, bytes }, ask, report, stop) {
    await checkRoom(n * bytes);
    let told = have.map((info) => info.card);
    this.table = new Set(told);
    await this.add(have);
    for (let empty = 0; this.open.length < n && empty < 1 && !stop.aborted;) {
      const reply = await ask("pack", { n: n - this.open.length, have: told }).catch((e) => { if (this.size > have.length) return null; throw e; });
      if (reply) {
        await this.drop(reply.gone.filter((card) => told.includes(card)));
        told = [];
        await this.add(reply.cards);
        report(this.loaded());
      }
      if (reply?.cards.length) { empty = 0; continue; }
      empty += 1 / (reply?.coming ? PATIENCE : EMPTY);
      const said = await this.load(ask, report, stop);
      if (said) return said;
      await sleep(PAUSE_MS);
    }
    const short = n - this.open.length;
    const said = await this.load(ask, report, stop);
    return said || (short > 0 && !stop.aborted ? say("pack.fewer", { n: this.left }) : "");
  }

  /** @returns {Loaded} */
  loaded() {
    const all = [...this.cards.values()];
    const here = all.filter((c) => c.kept);
    const sum = (cards) => cards.reduce((bytes, c) => bytes + c.bytes, 0);
    // where the size of some is not known yet: as large as the others
    const known = all.filter((c) => c.bytes);
    return { cards: here.length, of: all.length, bytes: sum(here), ofBytes: known.length ? Math.round((sum(known) / known.length) * all.length) : 0 };
  }

  /** Load the pictures that are missing; cards that get none are given back. Returns a sentence, "" when all are there. */
  load(ask, report = () => {}, stop = null) {
    this.loading ??= this.loadAll(ask, report, stop).finally(() => { this.loading = null; });
    return this.loading;
  }

  async loadAll(ask, report, stop) {
    const missing = [...this.cards.values()].filter((c) => !c.kept && !c.done);
    const lost = [];
    let full = false;
    const lane = async () => {
      for (let card = missing.shift(); card && !full && !stop?.aborted; card = missing.shift()) {
        const data = await this.fetchTile(card, lost);
        if (data) await this.store(card, data).catch(() => { full = true; });
        report(this.loaded());
      }
    };
    await Promise.all(Array.from({ length: LANES }, lane));
    const without = [...this.cards.values()].filter((c) => !c.kept && !c.done && (full || stop?.aborted || lost.includes(c))).map((c) => c.info.card);
    if (without.length) {
      // what lies on the table stays there
      await ask("pack/back", { cards: without.filter((card) => !this.table?.has(card)) }).catch(() => {});
      await this.drop(without);
    }
    return full ? `${say("pack.full")} ${say("pack.full.some", { n: this.left })}` : "";
  }

  /** Return the bytes of a card's picture and their type; null when they did not come. Gone for good: it is added to `lost`. */
  async fetchTile(card, lost) {
    for (let i = 0; i < TRIES; i += 1) {
      try {
        const reply = await fetch(card.info.url, { credentials: "same-origin" });
        const type = reply.headers.get("Content-Type") ?? "";
        // a page that asks to log in is no picture, and what it does not have is not lost
        if (reply.ok && type.startsWith("image/")) return { data: await reply.arrayBuffer(), type };
        if (reply.status === 404 && (await reply.json().catch(() => null))?.error) { lost.push(card); return null; }
      } catch { /* the network: again */ }
      await sleep(PAUSE_MS * (i + 1));
    }
    return null;
  }

  async store(card, { data, type }) {
    Object.assign(card, { kept: true, bytes: data.byteLength });
    try {
      await run(this.db, ["cards", "tiles"], "readwrite", (cards, tiles) => { cards.put(card); tiles.put({ id: card.id, data, type }); });
    } catch (e) {
      card.kept = false;
      throw e;
    }
  }
}
