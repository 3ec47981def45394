// A grid of tiles inside a Streamlit page (components v2): look, choose, act. No framework, no build step.
// One click is one trigger, {act, items}. All text is set as text; pictures come from /tiles, not through Python.

/**
 * @typedef {{act: string, text: string, kind?: string, icon?: string, stay?: boolean, short?: string, bare?: boolean, on?: boolean}} Action
 *   stay: the large view goes on. short: what is shown where there is little room. bare: its icon alone. on: it was chosen.
 * @typedef {{text: string, kind: string, icon?: string, predicted?: boolean}} Chip
 * @typedef {{item: number, src: string, big: string, name: string, chip?: Chip, note?: string, quick?: Action[]}} Tile
 * @typedef {{tiles: Tile[], acts: Action[], bulk: Action[], label: string, words: Record<string, string>, compact?: boolean}} Data
 *   words: the texts of the reader's language, by key
 */

const views = new WeakMap();

let words = {};
const { format } = new Intl.NumberFormat("en");

/** Take the texts that came with the data. @param {Record<string, string>} [texts] */
export function speak(texts) { words = texts ?? words; }

/** Return a text with its names filled in; of two forms, "1 picture|2 pictures", `n` chooses. As in deck.js. */
export function say(key, values = {}) {
  const forms = (words[key] ?? key).split("|");
  const told = (name) => (typeof values[name] === "number" ? format(values[name]) : values[name] ?? "");
  return forms[values.n === 1 ? 0 : forms.length - 1].replace(/{(\w+)}/g, (_, name) => told(name));
}

/** Streamlit calls this at mount and again whenever the data changes; the same root keeps its view. */
export default function grid({ parentElement, data, setTriggerValue }) {
  speak(data.words);
  let view = views.get(parentElement);
  if (!view) views.set(parentElement, (view = makeView(parentElement)));
  view.send = (act, items) => setTriggerValue("act", { act, items });
  view.show(/** @type {Data} */ (data));
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

function makeView(root) {
  const list = el("ul", "grid", undefined, { role: "list" });
  const bar = el("div", "bar", undefined, { role: "region", "aria-label": say("chosen.label") });
  const large = el("dialog", "large");
  // what happened, for those who don't see it; a dialog silences all that is outside
  const [live, said] = [el("div", "sr", "", { role: "status" }), el("div", "sr", "", { role: "status" })];
  root.append(list, bar, large, live);
  /** @type {{data: Data, nodes: Map<number, any>, chosen: Set<number>, at: number, send: Function}} */
  const view = { data: { tiles: [], acts: [], bulk: [], label: "" }, nodes: new Map(), chosen: new Set(), at: -1 };

  const tileAt = (item) => view.data.tiles.findIndex((t) => t.item === item);

  /** @returns {string} all that is known of a picture */
  const about = (tile) => [tile.name, tile.chip?.text, tile.note].filter(Boolean).join(", ");

  function act(action, items) {
    const [first] = items;
    const what = items.length > 1 ? say("pictures", { n: items.length }) : view.data.tiles[tileAt(first)].name;
    live.textContent = said.textContent = `${action.text}: ${what}`;
    for (const item of items) view.nodes.get(item)?.node.classList.add("waiting");
    view.send(action.act, items);
  }

  function show(data) {
    const opened = large.open ? view.data.tiles[view.at]?.item : undefined;
    view.data = data;
    list.setAttribute("aria-label", data.label);
    list.classList.toggle("compact", !!data.compact);
    list.classList.toggle("bulk", data.bulk.length > 0);
    const nodes = new Map();
    for (const tile of data.tiles) {
      const key = JSON.stringify([tile, data.bulk.length]);
      let known = view.nodes.get(tile.item);
      if (!known || known.key !== key) known = { key, node: makeTile(tile, known?.node) };
      known.node.classList.remove("waiting");
      nodes.set(tile.item, known);
    }
    view.nodes = nodes;
    const here = [...nodes.values()].map((n) => n.node);
    const was = Number(list.querySelector(".tile.here")?.dataset.item); // drawn anew, it will have lost that mark
    const focus = place(root.getRootNode().activeElement);
    if (here.length !== list.children.length || here.some((n, i) => n !== list.children[i])) list.replaceChildren(...here);
    for (const item of view.chosen) if (!nodes.has(item)) view.chosen.delete(item);
    rove(Math.max(0, tileAt(was)), false);
    drawBar();
    const tile = focus && list.children[Math.min(focus.pos, here.length - 1)];
    if (tile) (tile.querySelector(focus.what) ?? tile.querySelector(".pic")).focus();
    if (opened === undefined) return;
    const at = tileAt(opened); // tiles may have moved: what a key does is done to the picture that is seen
    at < 0 ? large.close() : open(at);
  }

  /** @returns {{pos: number, what: string}|null} where in the grid an element is: tiles are drawn anew under the focus */
  function place(element) {
    const pos = [...list.children].indexOf(element?.closest(".tile"));
    const { act } = element?.dataset ?? {};
    return pos < 0 ? null : { pos, what: act ? `[data-act="${CSS.escape(act)}"]` : `.${element.classList[0]}` };
  }

  /** The one tile that Tab reaches; arrow keys move it. */
  function rove(pos, focus) {
    [...list.children].forEach((node, i) => {
      node.classList.toggle("here", i === pos);
      for (const button of node.querySelectorAll("button")) button.tabIndex = i === pos ? 0 : -1;
    });
    if (focus) list.children[pos]?.querySelector(".pic").focus();
  }

  function makeTile(tile, old) {
    const node = el("li", "tile");
    node.dataset.item = tile.item;
    const pic = el("button", "pic", undefined, { type: "button", "aria-label": about(tile), title: tile.name });
    let img = old?.querySelector("img");
    if (!img || img.getAttribute("src") !== tile.src) {
      img = el("img", "", undefined, { alt: "", loading: "lazy", decoding: "async", draggable: "false" });
      img.addEventListener("error", () => img.parentElement?.replaceChildren(el("span", "gone", say("lost"))));
      img.src = tile.src;
    }
    pic.append(img);
    pic.addEventListener("click", () => open(tileAt(tile.item)));
    node.append(pic);
    if (tile.note) node.append(el("span", "note over", tile.note));
    if (view.data.bulk.length) node.append(makePick(tile));
    if (tile.chip || tile.quick?.length) node.append(makeRow(tile));
    node.addEventListener("focusin", () => rove(tileAt(tile.item), false));
    return node;
  }

  function makePick(tile) {
    const pick = el("button", "pick", undefined, { type: "button", role: "checkbox", "aria-label": say("choose", { name: tile.name }) });
    const mark = () => pick.setAttribute("aria-checked", String(view.chosen.has(tile.item)));
    pick.addEventListener("click", () => {
      view.chosen.has(tile.item) ? view.chosen.delete(tile.item) : view.chosen.add(tile.item);
      mark();
      drawBar();
      live.textContent = say("chosen", { n: view.chosen.size });
    });
    pick.refresh = mark;
    mark();
    return pick;
  }

  function makeRow(tile) {
    const row = el("div", "row");
    if (tile.chip && !tile.quick?.some((action) => action.on)) row.append(makeChip(tile.chip));
    for (const action of tile.quick ?? []) {
      const button = makeButton(action, action.bare ? "quick bare" : "quick");
      button.setAttribute("aria-label", `${action.text}: ${tile.name}`);
      button.dataset.act = action.act;
      if (action.bare) button.title = action.text;
      if (action.on !== undefined) button.setAttribute("aria-pressed", String(action.on));
      button.addEventListener("click", () => act(action, [tile.item]));
      row.append(button);
    }
    return row;
  }

  function drawBar() {
    const n = view.chosen.size;
    bar.classList.toggle("open", n > 0);
    for (const node of list.querySelectorAll(".pick")) node.refresh();
    bar.replaceChildren();
    if (!n) return;
    const [head, acts] = [el("div", "line"), el("div", "line")];
    bar.append(head, acts);
    head.append(el("span", "count", say("chosen", { n })));
    const clear = el("button", "plain", say("clear"), { type: "button" });
    clear.addEventListener("click", () => choseNone());
    head.append(clear);
    for (const action of view.data.bulk) {
      const button = makeButton(action, action.kind ? "strong said" : "strong");
      button.setAttribute("aria-label", action.text);
      button.addEventListener("click", () => {
        act(action, [...view.chosen]);
        choseNone();
      });
      acts.append(button);
    }
  }

  /** The bar goes, and with it the button that had the focus. */
  function choseNone() {
    view.chosen.clear();
    drawBar();
    list.querySelector(".here .pick")?.focus({ preventScroll: true });
  }

  /** Show one picture large, with everything that can be done to it. */
  function open(pos) {
    const tile = view.data.tiles[pos];
    if (!tile) return;
    view.at = pos;
    const stage = el("div", "stage");
    const img = el("img", "", undefined, { alt: tile.name, decoding: "async" });
    img.src = tile.big;
    const close = el("button", "close", "✕", { type: "button", "aria-label": say("close") });
    close.addEventListener("click", () => large.close());
    stage.append(img, stepButton(-1, "‹", say("before")), stepButton(1, "›", say("next")), close);
    const foot = el("div", "foot");
    const head = el("div", "row");
    if (tile.chip) head.append(makeChip(tile.chip));
    if (tile.note) head.append(el("span", "note", tile.note));
    head.append(el("span", "name", tile.name));
    const does = el("div", "does");
    view.data.acts.forEach((action, i) => {
      const button = makeButton(action, "do", i < 9 ? String(i + 1) : "");
      button.addEventListener("click", () => doLarge(action));
      does.append(button);
    });
    foot.append(head, does);
    large.replaceChildren(stage, foot, said);
    large.setAttribute("aria-label", say("large", { at: pos + 1, n: view.data.tiles.length, about: about(tile) }));
    if (!large.open) large.showModal();
    else said.textContent = large.getAttribute("aria-label");
    large.focus();
  }

  function doLarge(action) {
    const tile = view.data.tiles[view.at];
    act(action, [tile.item]);
    if (!action.stay || view.at + 1 >= view.data.tiles.length) large.close();
    else open(view.at + 1);
  }

  function stepButton(by, text, label) {
    const button = el("button", by < 0 ? "step back" : "step on", text, { type: "button", "aria-label": label });
    button.disabled = !view.data.tiles[view.at + by];
    button.addEventListener("click", () => open(view.at + by));
    return button;
  }

  list.addEventListener("keydown", (e) => {
    const pos = [...list.children].findIndex((n) => n.classList.contains("here"));
    const across = getComputedStyle(list).gridTemplateColumns.split(" ").length;
    const step = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: across, ArrowUp: -across }[e.key];
    if (step !== undefined && list.children[pos + step]) {
      e.preventDefault();
      rove(pos + step, true);
    } else if (e.key === "x" && !e.ctrlKey && !e.metaKey) list.children[pos]?.querySelector(".pick")?.click();
  });
  large.addEventListener("keydown", (e) => {
    if (e.ctrlKey || e.metaKey || e.altKey) return;
    e.stopPropagation(); // Streamlit's own keys rest while a picture is open
    if (e.key === "ArrowRight") open(view.at + 1);
    else if (e.key === "ArrowLeft") open(view.at - 1);
    else if (/^[1-9]$/.test(e.key) && view.data.acts[+e.key - 1]) doLarge(view.data.acts[+e.key - 1]);
  });
  large.addEventListener("click", (e) => e.target === large && large.close());
  large.addEventListener("close", () => rove(Math.max(0, view.at), true));

  view.show = show;
  view.close = () => large.open && large.close();
  return view;
}

function makeChip(chip) {
  const node = el("span", `chip ${chip.kind}${chip.predicted ? " predicted" : ""}`);
  if (chip.icon) node.append(el("span", "icon", chip.icon, { "aria-hidden": "true" }));
  node.append(el("span", "word", chip.text));
  if (chip.predicted) node.title = say("predicted");
  return node;
}

function makeButton(action, name, key = "") {
  const button = el("button", `${name} ${action.kind ?? ""}`, undefined, { type: "button" });
  if (action.icon) button.append(el("span", "icon", action.icon, { "aria-hidden": "true" }));
  if (!action.bare) button.append(el("span", action.short ? "word long" : "word", action.text));
  if (action.short) button.append(el("span", "word short", action.short));
  if (key) button.append(el("kbd", "", key, { "aria-hidden": "true" }));
  return button;
}
