// The search inside a Streamlit page (components v2): trays of what is wanted and what is not, above the grid.
// Searching costs no script run: it asks /api/search. Answers and "ask me" go to the page, as the grid sends them.

/**
 * @typedef {{key: string, item?: number, src?: string, name: string, file?: Blob, words?: string}} Example
 * @typedef {import("./grid.js").Action} Action
 * @typedef {{session: number, first: any, begin: any[], looks: Record<string, any>, acts: Action[], bulk: Action[], reads: boolean, stamp: string}} Data
 *   looks: of each answer its chip. reads: whether the encoder reads text.
 */

const FIRST = 60; // results at once; scrolling brings more, up to MOST
const MOST = 10_000;
const BEGIN = "Or begin with one of these.";
const KINDS = { like: "Like", unlike: "Not like" };
const DRAGGED = "text/x-labeler-item";
const views = new WeakMap();

/** Streamlit calls this at mount and again whenever the data changes. */
export default function show({ parentElement, data, setTriggerValue }, { default: grid }) {
  let view = views.get(parentElement);
  if (!view) views.set(parentElement, (view = makeView(parentElement, grid)));
  view.send = (act, items) => setTriggerValue("act", { act, items });
  view.take(/** @type {Data} */ (data));
  return () => view.close();
}

/** @returns {any} an element with a class and text */
function el(tag, name, text, attrs = {}) {
  const node = document.createElement(tag);
  if (name) node.className = name;
  if (text !== undefined) node.textContent = text;
  for (const [key, value] of Object.entries(attrs)) node.setAttribute(key, value);
  return node;
}

function makeView(root, grid) {
  const query = el("section", "query", undefined, { "aria-label": "What to search for" });
  const trays = el("div", "trays");
  const words = el("form", "words");
  const told = el("div", "told", undefined, { role: "status" });
  const near = el("div", "near");
  const end = el("div", "end");
  query.append(trays, words, told);
  root.append(query, near, end);

  /** @type {{like: Example[], unlike: Example[]}} */
  const wanted = { like: [], unlike: [] };
  const view = { data: null, results: null, k: FIRST, is_all: false, running: null, files: 0, begun: null };

  // what is wanted ---------------------------------------------------------------------------

  function add(kind, ...examples) {
    for (const one of examples) {
      for (const other of Object.keys(wanted)) wanted[other] = wanted[other].filter((e) => e.key !== one.key);
      wanted[kind].push(one);
    }
    changed();
  }

  function ofItem(item) {
    const tile = [...(view.results ?? []), view.data.first, ...view.data.begin].find((t) => t?.item === item);
    return { key: `item-${item}`, item, src: tile?.src ?? `/tiles/${item}?w=256&v=${view.data.stamp}`, name: tile?.name ?? `Item ${item}` };
  }

  function ofFiles(files) {
    return [...files].filter((f) => f.size).map((file) => {
      view.files += 1;
      return { key: `file-${view.files}`, file, src: URL.createObjectURL(file), name: file.name };
    });
  }

  function remove(kind, one) {
    wanted[kind] = wanted[kind].filter((e) => e !== one);
    if (one.file) URL.revokeObjectURL(one.src);
    changed();
    trays.querySelector(`[data-kind="${kind}"] .open`)?.focus();
  }

  function changed() {
    view.k = FIRST;
    drawTrays();
    search();
  }

  function drawTrays() {
    trays.replaceChildren(...Object.keys(KINDS).map(makeTray));
  }

  function makeTray(kind) {
    const tray = el("div", `tray ${kind}`, undefined, { role: "group", "aria-label": KINDS[kind] });
    tray.dataset.kind = kind;
    tray.classList.toggle("full", wanted[kind].length > 0);
    const head = el("div", "head");
    const open = el("button", "open", "Add pictures", { type: "button", "aria-label": `Add pictures: ${KINDS[kind]}` });
    const file = el("input", "", undefined, { type: "file", accept: "image/*", multiple: "", hidden: "", "aria-label": `Pictures: ${KINDS[kind]}` });
    file.addEventListener("change", () => file.files.length && add(kind, ...ofFiles(file.files)));
    open.addEventListener("click", () => file.click());
    head.append(el("b", "", `${kind === "like" ? "✓" : "✕"} ${KINDS[kind]}`), open, file);
    tray.append(head);
    if (wanted[kind].length) {
      const list = el("ul", "examples", undefined, { role: "list" });
      list.append(...wanted[kind].map((one) => makeExample(kind, one)));
      tray.append(list);
    } else {
      const where = kind === "like" ? "Press “More” under a picture" : "Choose pictures, then “Less like these”";
      tray.append(el("p", "hint", where + "."), el("p", "hint drag", "Or drag pictures here, also from your computer."));
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
      else if (e.dataTransfer.files.length) add(kind, ...ofFiles(e.dataTransfer.files));
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
    const off = el("button", "off", undefined, { type: "button", "aria-label": `Leave out: ${one.name}` });
    off.addEventListener("click", () => remove(kind, one));
    node.append(off);
    return node;
  }

  // the search -------------------------------------------------------------------------------

  /** @returns {RequestInit} what is sent: JSON, or a form where there are pictures */
  function body() {
    const ids = (kind) => wanted[kind].filter((e) => e.item !== undefined).map((e) => e.item);
    const texts = wanted.like.filter((e) => e.words).map((e) => e.words);
    if (!["like", "unlike"].some((kind) => wanted[kind].some((e) => e.file))) {
      const asked = { like: ids("like"), unlike: ids("unlike"), words: texts, k: view.k, about: true };
      return { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(asked) };
    }
    const form = new FormData();
    for (const kind of ["like", "unlike"]) {
      for (const item of ids(kind)) form.append(kind, String(item));
      for (const e of wanted[kind]) if (e.file) form.append(kind === "like" ? "image" : "unlike_image", e.file, e.name);
    }
    for (const text of texts) form.append("words", text);
    form.append("k", String(view.k));
    form.append("about", "true");
    return { method: "POST", body: form };
  }

  /** Ask for the nearest; a search that is still running is given up. */
  async function search() {
    view.running?.abort();
    view.running = null;
    if (!wanted.like.length) {
      view.results = null;
      near.classList.remove("busy");
      tell(wanted.unlike.length ? "Add at least one picture of what you look for." : BEGIN);
      draw();
      return;
    }
    const stop = (view.running = new AbortController());
    near.classList.add("busy");
    if (wanted.like.some((e) => e.file || e.words)) tell("Looking …");
    try {
      const reply = await fetch(`/api/search?session=${view.data.session}`, { ...body(), signal: stop.signal, credentials: "same-origin" });
      const found = await reply.json().catch(() => null);
      if (stop.signal.aborted) return;
      if (!reply.ok || !found?.results) throw new Error(found?.error ? `${found.error} ${found.do ?? ""}` : "The server gave no answer.");
      view.results = found.results.map(tileOf);
      view.is_all = found.results.length < view.k || view.k >= MOST;
      tell(view.is_all ? `All ${view.results.length.toLocaleString("en")}, the nearest first.` : "The nearest first. Scroll for more.");
      draw();
    } catch (e) {
      if (stop.signal.aborted) return;
      tell(e instanceof TypeError ? "The server can't be reached. Try again in a moment." : e.message, true);
    } finally {
      if (view.running === stop) {
        view.running = null;
        near.classList.remove("busy");
        look();
      }
    }
  }

  function tileOf({ item, cos, url, name, answer }) {
    return {
      item, src: url, big: url.replace("w=256", "w=1024"), name: name ?? `Item ${item}`, note: cos.toFixed(2),
      chip: answer ? view.data.looks[answer] : undefined, quick: [{ act: "like", text: "More", icon: "≈" }],
    };
  }

  function tell(text, is_wrong = false) {
    told.classList.toggle("wrong", is_wrong);
    told.replaceChildren(el("span", "", text));
    if (!wanted.like.length && !wanted.unlike.length) return;
    const clear = el("button", "clear", "Begin anew", { type: "button" });
    clear.addEventListener("click", () => {
      for (const kind of Object.keys(wanted)) wanted[kind] = [];
      changed();
      trays.querySelector(".open")?.focus();
    });
    told.append(clear);
  }

  // the grid ---------------------------------------------------------------------------------

  function draw() {
    const { data } = view;
    const tiles = view.results ?? data.begin;
    const label = view.results ? "The nearest, best first" : "Pictures to begin with";
    grid({ parentElement: near, data: { tiles, acts: data.acts, bulk: data.bulk, label }, setTriggerValue: (_, { act, items }) => acted(act, items) });
    for (const node of near.querySelectorAll(".tile")) {
      node.draggable = true;
      node.ondragstart = (e) => {
        e.dataTransfer.setData(DRAGGED, node.dataset.item);
        e.dataTransfer.effectAllowed = "copy";
      };
    }
  }

  function acted(act, items) {
    if (act === "only") {
      wanted.unlike = [];
      wanted.like = [];
    }
    if (act === "like" || act === "only") add("like", ...items.map(ofItem));
    else if (act === "unlike") add("unlike", ...items.map(ofItem));
    else {
      view.send(act, items);
      if (act.startsWith("answer:")) {
        const chip = view.data.looks[act.slice("answer:".length)];
        const put = (tile) => (items.includes(tile.item) ? { ...tile, chip } : tile);
        if (view.results) view.results = view.results.map(put);
        else view.data.begin = view.data.begin.map(put);
      }
      draw();
      return;
    }
    query.scrollIntoView({ block: "nearest" });
  }

  /** Ask for more once the end of the grid is near. */
  function look() {
    if (!view.results || view.is_all || view.running) return;
    if (end.getBoundingClientRect().top > innerHeight + 900) return;
    view.k = Math.min(MOST, view.k * 2);
    search();
  }
  const seen = new IntersectionObserver(look, { rootMargin: "900px" });
  seen.observe(end);

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
    words.hidden = !data.reads;
    if (data.reads && !words.children.length) {
      words.append(el("input", "", undefined, { type: "text", maxlength: "200", placeholder: "Or words: a river delta", "aria-label": "Search by words" }));
      words.append(el("button", "go", "Search", { type: "submit" }));
    }
    const first = data.first?.item;
    if (is_new || view.begun !== first) {
      view.begun = first;
      if (data.first) {
        wanted.like = [ofItem(first)];
        wanted.unlike = [];
        changed();
        return;
      }
    }
    if (!trays.children.length) {
      drawTrays();
      tell(BEGIN);
    }
    draw();
    if (view.results && !is_new) search(); // what became of an answer is the server's to say
  };
  view.close = () => view.running?.abort();
  return view;
}
