// The search inside a Streamlit page (components v2): trays of what is wanted and what is not, above the grid.
// Searching costs no script run: it asks /api/search. Answers and "ask me" go to the page, as the grid sends them.

/**
 * @typedef {{key: string, item?: number, src?: string, name: string, file?: Blob, words?: string}} Example
 * @typedef {import("./grid.js").Action} Action
 * @typedef {{session: number, question: string, first: any, begin: any[], looks: Record<string, any>, acts: Action[], bulk: Action[], reads: boolean, stamp: string, words: Record<string, string>}} Data
 *   looks: of each answer its chip. reads: whether the encoder reads text.
 *   words: the texts of the reader's language, by key; the grid says them.
 * @typedef {{id: string, session: number, item: number, label: string, at: string, before?: any}} Said
 */

const FIRST = 60; // results at once; scrolling brings more, up to MOST
const MOST = 10_000;
const MOST_FILES = 20;
const AGAIN_MS = 3000; // between two tries to hand in answers
const KINDS = ["like", "unlike"];
const ANSWER = "answer:"; // an act that is an answer
const GROUP = 200; // answers in one request
const LATER = [401, 403, 404, 408, 409, 429]; // not let in, not there, too busy: no word about the answers themselves
const SHELF = "labeler.search."; // where the browser keeps answers that were not handed in yet
const DRAGGED = "text/x-labeler-item";
// where the server's addresses begin: / or, behind a proxy, such as /labels/
const ROOT = new URL("..", import.meta.url).pathname;
const views = new WeakMap();

/** Streamlit calls this at mount and again whenever the data changes. */
export default function show({ parentElement, data, setTriggerValue }, { default: grid, speak, say }) {
  speak(data.words);
  let view = views.get(parentElement);
  if (!view) views.set(parentElement, (view = makeView(parentElement, grid, say)));
  view.send = (act, items) => setTriggerValue("act", { act, items });
  const mine = (view.calls += 1);
  view.open();
  view.take(/** @type {Data} */ (data));
  return () => view.calls === mine && view.close(); // that of an earlier call can come while the page lives on
}

/** @returns {any} an element with a class and text */
function el(tag, name, text, attrs = {}) {
  const node = document.createElement(tag);
  if (name) node.className = name;
  if (text !== undefined) node.textContent = text;
  for (const [key, value] of Object.entries(attrs)) node.setAttribute(key, value);
  return node;
}

function makeView(root, grid, say) {
  const query = el("section", "query", undefined, { "aria-label": say("query") });
  const trays = el("div", "trays");
  const words = el("form", "words");
  const told = el("div", "told", undefined, { role: "status" });
  const near = el("div", "near");
  const end = el("div", "end");
  const legend = el("p", "legend");
  query.append(trays, words, told, legend);
  root.append(query, near, end);

  const [said, clear] = [el("span"), el("button", "clear", say("anew"), { type: "button" })];
  told.append(said, clear);
  clear.addEventListener("click", () => {
    want([], []);
    trays.querySelector(".open")?.focus();
  });

  /** @type {{like: Example[], unlike: Example[]}} */
  const wanted = { like: [], unlike: [] };
  const view = {
    data: null, begin: [], results: null, k: FIRST, is_all: false, running: null, files: 0, begun: undefined, soon: 0,
    is_open: false, calls: 0,
    /** @type {Map<string, Said>} answers not yet handed in, by session and item */
    waiting: new Map(), again: 0, shelf: "",
  };

  // what is wanted ---------------------------------------------------------------------------

  /** Set what is wanted and what is not. */
  function want(like, unlike) {
    const kept = new Set([...like, ...unlike]);
    for (const one of [...wanted.like, ...wanted.unlike]) if (one.file && !kept.has(one)) URL.revokeObjectURL(one.src);
    wanted.like = like;
    wanted.unlike = unlike;
    view.k = FIRST;
    drawTrays();
    clearTimeout(view.soon);
    view.soon = setTimeout(() => search(), 60); // several changes at once are one search
  }

  function add(kind, ...examples) {
    const keys = new Set(examples.map((e) => e.key));
    const others = { like: wanted.like.filter((e) => !keys.has(e.key)), unlike: wanted.unlike.filter((e) => !keys.has(e.key)) };
    others[kind].push(...examples);
    want(others.like, others.unlike);
  }

  const nameOf = (item) => say("item", { item: `${item}` });

  function ofItem(item) {
    const tile = [...(view.results ?? []), view.data.first, ...view.begin].find((t) => t?.item === item);
    return { key: `item-${item}`, item, src: tile?.src ?? `${ROOT}tiles/${item}?w=256&v=${view.data.stamp}`, name: tile?.name ?? nameOf(item) };
  }

  function addFiles(kind, files) {
    const room = MOST_FILES - [...wanted.like, ...wanted.unlike].filter((e) => e.file).length;
    const some = [...files].filter((f) => f.size).slice(0, room);
    if (some.length) add(kind, ...some.map(ofFile));
    if (some.length < files.length) tell(say("files.most", { n: MOST_FILES }), true);
  }

  function ofFile(file) {
    view.files += 1;
    return { key: `file-${view.files}`, file, src: URL.createObjectURL(file), name: file.name };
  }

  function remove(kind, one) {
    const rest = (from) => wanted[from].filter((e) => e !== one);
    want(rest("like"), rest("unlike"));
    trays.querySelector(`[data-kind="${kind}"] .open`)?.focus();
  }

  function drawTrays() {
    trays.replaceChildren(...KINDS.map(makeTray));
  }

  function makeTray(kind) {
    const tray = el("div", `tray ${kind}`, undefined, { role: "group", "aria-label": say(kind) });
    tray.dataset.kind = kind;
    tray.classList.toggle("full", wanted[kind].length > 0);
    const head = el("div", "head");
    const open = el("button", "open", say("add"), { type: "button", "aria-label": say("add.to", { what: say(kind) }) });
    const file = el("input", "", undefined, { type: "file", accept: "image/*", multiple: "", hidden: "", "aria-label": say("files", { what: say(kind) }) });
    file.addEventListener("change", () => {
      if (!file.files.length) return;
      addFiles(kind, file.files);
      trays.querySelector(`[data-kind="${kind}"] .open`)?.focus();
    });
    open.addEventListener("click", () => file.click());
    head.append(el("b", "", `${kind === "like" ? "+" : "−"} ${say(kind)}`), open, file);
    tray.append(head);
    if (wanted[kind].length) {
      const list = el("ul", "examples", undefined, { role: "list" });
      list.append(...wanted[kind].map((one) => makeExample(kind, one)));
      tray.append(list);
    } else {
      tray.append(el("p", "hint", say(`hint.${kind}`)), el("p", "hint drag", say("drag")));
    }
    tray.addEventListener("dragover", (e) => {
      if (![DRAGGED, "Files"].some((type) => e.dataTransfer.types.includes(type))) return;
      e.preventDefault();
      tray.classList.add("over");
    });
    tray.addEventListener("dragleave", (e) => tray.contains(e.relatedTarget) || tray.classList.remove("over"));
    tray.addEventListener("drop", (e) => {
      e.preventDefault();
      tray.classList.remove("over");
      const item = e.dataTransfer.getData(DRAGGED);
      if (item) add(kind, ofItem(Number(item)));
      else if (e.dataTransfer.files.length) addFiles(kind, e.dataTransfer.files);
    });
    return tray;
  }

  function makeExample(kind, one) {
    const node = el("li", "example");
    if (one.words) node.append(el("span", "said", `“${one.words}”`));
    else {
      const img = el("img", "", undefined, { alt: one.name, title: one.name, draggable: "false" });
      img.addEventListener("error", () => img.replaceWith(el("span", "said", one.name)));
      img.src = one.src;
      node.append(img);
    }
    const off = el("button", "off", undefined, { type: "button", "aria-label": say("off", { name: one.name }) });
    off.addEventListener("click", () => remove(kind, one));
    node.append(off);
    return node;
  }

  // the search -------------------------------------------------------------------------------

  /** @returns {RequestInit} what is sent: JSON, or a form where there are pictures */
  function body(k) {
    const ids = (kind) => wanted[kind].filter((e) => e.item !== undefined).map((e) => e.item);
    const texts = wanted.like.filter((e) => e.words).map((e) => e.words);
    if (!["like", "unlike"].some((kind) => wanted[kind].some((e) => e.file))) {
      const asked = { like: ids("like"), unlike: ids("unlike"), words: texts, k, about: true };
      return { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(asked) };
    }
    const form = new FormData();
    for (const kind of ["like", "unlike"]) {
      for (const item of ids(kind)) form.append(kind, String(item));
      for (const e of wanted[kind]) if (e.file) form.append(kind === "like" ? "image" : "unlike_image", e.file, e.name);
    }
    for (const text of texts) form.append("words", text);
    form.append("k", String(k));
    form.append("about", "true");
    return { method: "POST", body: form };
  }

  /** Ask for the nearest; a search that is still running is given up. `more`: for those behind the ones that are shown. */
  async function search(more = false) {
    clearTimeout(view.soon);
    view.running?.abort();
    view.running = null;
    if (!wanted.like.length) {
      view.results = null;
      near.classList.remove("busy", "stale");
      tell(wanted.unlike.length ? say("some") : say("begin"));
      draw();
      return;
    }
    const stop = (view.running = new AbortController());
    const k = more ? Math.min(MOST, view.k * 2) : view.k;
    near.classList.toggle("busy", !more);
    if (!more && wanted.like.some((e) => e.file || e.words)) tell(say("looking"));
    try {
      const found = await ask(k, stop.signal);
      if (stop.signal.aborted) return;
      const tiles = found.map(tileOf);
      const known = new Set(more ? view.results.map((t) => t.item) : []);
      view.results = more ? [...view.results, ...tiles.filter((t) => !known.has(t.item))] : tiles;
      view.k = k;
      view.is_all = found.length < k || k >= MOST;
      near.classList.remove("stale");
      const n = view.results.length;
      tell(!view.is_all ? say("more") : found.length < k ? say("all", { n }) : say("nearest", { n }));
      draw();
      view.running = null;
      look();
    } catch (e) {
      if (stop.signal.aborted) return;
      const bad = e.refused && [...wanted.like, ...wanted.unlike].find((one) => one.file && e.message.startsWith(`${one.name}: `));
      if (bad) {
        for (const kind of KINDS) wanted[kind] = wanted[kind].filter((one) => one !== bad);
        drawTrays();
        await search();
        tell(say("left.out", { why: e.message }), true);
        return;
      }
      near.classList.toggle("stale", !more);
      tell(e.message, true);
    } finally {
      if (view.running === stop) view.running = null;
      if (!view.running) near.classList.remove("busy");
    }
  }

  /** @returns {Promise<any[]>} the results of the server; raises Error with what to say */
  async function ask(k, signal) {
    let reply;
    try {
      reply = await fetch(`${ROOT}api/search?session=${view.data.session}`, { ...body(k), signal, credentials: "same-origin" });
    } catch {
      throw new Error(say("away"));
    }
    const found = await reply.json().catch(() => null);
    if (!reply.ok || !found?.results) {
      const error = new Error(found?.error ? `${found.error} ${found.do ?? ""}` : say("silent"));
      throw Object.assign(error, { refused: reply.status === 400 });
    }
    return found.results;
  }

  function tileOf({ item, cos, url, name, answer }) {
    const mine = view.waiting.get(`${view.data.session}/${item}`);
    return {
      item, src: url, big: url.replace("w=256", "w=1024"), name: name ?? nameOf(item), note: (cos ?? 0).toFixed(2),
      chip: mine ? pending(mine.label) : answer ? view.data.looks[answer] : undefined,
    };
  }

  function tell(text, is_wrong = false) {
    told.classList.toggle("wrong", is_wrong);
    said.textContent = text;
    clear.hidden = !wanted.like.length && !wanted.unlike.length;
  }

  // answers ----------------------------------------------------------------------------------

  /** An answer that the server has not acknowledged. */
  const pending = (label) => view.data.looks[label] && { ...view.data.looks[label], kind: `${view.data.looks[label].kind} pending` };

  function put(item, chip) {
    const changed = (tile) => (tile.item === item ? { ...tile, chip } : tile);
    view.begin = view.begin.map(changed);
    view.results = view.results?.map(changed) ?? null;
  }

  function answer(items, label) {
    const { session } = view.data;
    for (const item of items) {
      const chip = [...(view.results ?? []), ...view.begin].find((t) => t.item === item)?.chip;
      const earlier = view.waiting.get(`${session}/${item}`);
      if (isGiven(chip, label)) continue; // pressed again
      const before = earlier ? earlier.before : chip; // what is shown when the server refuses it
      const id = crypto.randomUUID?.() ?? uuid();
      view.waiting.set(`${session}/${item}`, { id, session, item, label, at: new Date().toISOString(), before });
      put(item, pending(label));
    }
    keep();
    draw();
    handIn();
  }

  /** Keep what waits in the browser, where another page or a crash does no harm; return whether that worked. */
  function keep() {
    try {
      const some = [...view.waiting.values()].map(({ before, ...said }) => said);
      if (some.length) localStorage.setItem(view.shelf, JSON.stringify(some));
      else localStorage.removeItem(view.shelf);
      return true;
    } catch {
      return false; // storage that is full or refused: they are in memory
    }
  }

  /** Take up what earlier pages of this workspace could not hand in. A second time does no harm: the id tells. */
  function takeUp() {
    const shelves = `${SHELF}${view.data.stamp}.`;
    view.shelf = shelves + (crypto.randomUUID?.() ?? uuid());
    try {
      for (const name of Object.keys(localStorage).filter((n) => n.startsWith(shelves))) {
        for (const said of JSON.parse(localStorage.getItem(name))) {
          const key = `${said.session}/${said.item}`;
          if (!(view.waiting.get(key)?.at > said.at)) view.waiting.set(key, said);
          if (said.session === view.data.session) put(said.item, pending(said.label));
        }
        if (keep()) localStorage.removeItem(name);
      }
    } catch {
      // nothing is stored here, or something else
    }
  }

  /** Hand in all answers that wait; the same again until the server has said what became of them. */
  async function handIn() {
    clearTimeout(view.again);
    const sessions = new Set([...view.waiting.values()].map((one) => one.session));
    if (!sessions.size) return;
    let failed = 0;
    for (const session of sessions) await handInOf(session).catch(() => (failed += 1)); // the next one's may arrive
    draw();
    if (!failed) return;
    tell(keep() ? say("waits") : say("waits.open"), true);
    if (view.is_open) view.again = setTimeout(handIn, AGAIN_MS);
  }

  async function handInOf(session) {
    const sent = [...view.waiting.values()].filter((one) => one.session === session).slice(0, GROUP);
    const events = sent.map(({ id, item, label, at }) => ({ id, item, label, at }));
    const reply = await fetch(`${ROOT}api/labels?session=${session}`, {
      method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify({ events }), credentials: "same-origin", keepalive: true,
    });
    const done = await reply.json().catch(() => null);
    if (reply.status >= 500 || LATER.includes(reply.status) || !done) throw new Error();
    const refused = new Map((done.rejected ?? (reply.ok ? [] : sent.map((e) => ({ id: e.id, why: done.error })))).map((r) => [r.id, r.why]));
    for (const one of sent) {
      const key = `${session}/${one.item}`;
      if (view.waiting.get(key)?.id !== one.id) continue; // answered again since
      view.waiting.delete(key);
      if (session === view.data.session) put(one.item, refused.has(one.id) ? one.before : view.data.looks[one.label]);
    }
    keep();
    if ([...view.waiting.values()].some((one) => one.session === session)) await handInOf(session); // the next group
    if (refused.size) tell([...refused.values()][0] ?? say("refused"), true);
    else if (near.classList.contains("stale")) search(); // the server is back: what was asked meanwhile is asked again
    else if (told.classList.contains("wrong")) tell("");
  }

  // the grid ---------------------------------------------------------------------------------

  function draw() {
    const { data } = view;
    const labels = twoLabels();
    const tiles = (view.results ?? view.begin).map((tile) => ({ ...tile, quick: quickOf(tile, labels) }));
    const label = view.results ? say("near.label") : say("begin.label");
    grid({ parentElement: near, data: { tiles, acts: data.acts, bulk: data.bulk, label }, setTriggerValue: (_, { act, items }) => acted(act, items) });
    for (const node of near.querySelectorAll(".tile")) {
      node.draggable = true;
      node.ondragstart = (e) => {
        e.dataTransfer.setData(DRAGGED, node.dataset.item);
        e.dataTransfer.effectAllowed = "copy";
      };
    }
  }

  /** Whether a picture has this answer, acknowledged or not. */
  const isGiven = (chip, label) => !!chip && !chip.predicted && chip.kind.split(" ")[0] === view.data.looks[label]?.kind;

  /** What a tile offers at once: with two labels these, and more like it. */
  function quickOf({ chip }, labels) {
    const answers = labels.map((one) => {
      const on = isGiven(chip, one.act.slice(ANSWER.length));
      return { ...one, bare: true, on, kind: on ? chip.kind : one.kind };
    });
    return [...answers, { act: "like", text: say("act.more.short"), icon: labels.length ? "" : "≈" }];
  }

  /** The acts of two labels, whose icons say which is which; none of more, for which a tile has no room. */
  function twoLabels() {
    const labels = view.data.acts.filter(({ act }) => view.data.looks[act.slice(ANSWER.length)] && act !== `${ANSWER}unsure`);
    return labels.length === 2 ? labels : [];
  }

  function acted(act, items) {
    if (act.startsWith(ANSWER)) answer(items, act.slice(ANSWER.length));
    else if (act === "only") want(items.map(ofItem), []);
    else if (act === "like" || act === "unlike") add(act, ...items.map(ofItem));
    else view.send(act, items);
    draw(); // nothing waits for the page
  }

  /** Ask for more once the end of the grid is near. */
  function look() {
    if (!view.is_open || !view.results || view.is_all || view.running) return;
    if (end.getBoundingClientRect().top <= innerHeight + 900) search(true);
  }
  const seen = new IntersectionObserver(look, { rootMargin: "900px" });

  /** A file that is dropped beside a tray must not take the page away. */
  const stay = (e) => e.dataTransfer?.types.includes("Files") && e.preventDefault();

  words.addEventListener("submit", (e) => {
    e.preventDefault();
    const field = words.querySelector("input");
    const text = field.value.trim();
    if (text) add("like", { key: `words-${text}`, words: text, name: text });
    field.value = "";
  });

  view.take = (data) => {
    const is_new = !view.data || view.data.session !== data.session;
    view.data = data;
    const two = twoLabels();
    const how = two.length ? two.map(({ icon, text }) => `${icon} ${text}`).join("   ") : say("legend");
    legend.textContent = `${data.question}   ${how}`;
    words.hidden = !data.reads;
    if (data.reads && !words.children.length) {
      words.append(el("input", "", undefined, { type: "text", maxlength: "200", placeholder: say("words"), "aria-label": say("words.label") }));
      words.append(el("button", "go", say("words.go"), { type: "submit" }));
    }
    const first = data.first?.item;
    if (is_new) view.begin = data.begin; // later ones would come under the fingers
    if (!view.shelf) {
      takeUp();
      handIn();
    }
    if (is_new || view.begun !== first) {
      view.begun = first;
      if (data.first) {
        if (!view.results) [view.results, view.is_all] = [[], true]; // tiles that go at once could be chosen before
        want([ofItem(first)], []);
        draw();
        return;
      }
      if (view.results) search();
    }
    if (!trays.children.length) {
      drawTrays();
      tell(say("begin"));
    }
    draw();
  };
  view.open = () => {
    if (view.is_open) return;
    view.is_open = true;
    seen.observe(end);
    addEventListener("scroll", look, { capture: true, passive: true }); // results that did not come are asked for again
    document.addEventListener("dragover", stay);
    document.addEventListener("drop", stay);
    handIn();
  };
  view.close = () => {
    view.is_open = false;
    view.running?.abort();
    view.running = null;
    clearTimeout(view.soon);
    seen.disconnect();
    removeEventListener("scroll", look, { capture: true });
    document.removeEventListener("dragover", stay);
    document.removeEventListener("drop", stay);
  };
  return view;
}

/** A random UUID where the page came over plain HTTP, and the browser makes none itself. */
function uuid() {
  const b = crypto.getRandomValues(new Uint8Array(16));
  b[6] = (b[6] & 0x0f) | 0x40;
  b[8] = (b[8] & 0x3f) | 0x80;
  const hex = [...b].map((x) => x.toString(16).padStart(2, "0")).join("");
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-${hex.slice(12, 16)}-${hex.slice(16, 20)}-${hex.slice(20)}`;
}
