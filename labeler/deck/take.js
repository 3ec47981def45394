/** The sheet "Take with me": how many cards, what they weigh, how far they are, and the way back. */

const SIZES = [50, 100, 200, 500];

const weight = (bytes) => `${(bytes / 1e6).toFixed(bytes < 1e7 ? 1 : 0)} MB`;

/**
 * Draw the sheet into a box, and again whenever something changes.
 *
 * @param {HTMLElement} box
 * @param {{h: Function, text: (n: number) => string, say: Function}} tools  of the deck
 * @param {{pack: () => any, left: () => number, about: () => Promise<{most: number, tile_bytes: number|null, held: number}>,
 *   take: (n: number, bytes: number, report: Function, stop: AbortSignal) => Promise<string>, back: () => Promise<string>}} on
 */
export async function showTake(box, { h, text, say }, on) {
  const put = (...parts) => {
    const inside = box.contains(box.getRootNode().activeElement);
    box.replaceChildren(...parts.filter(Boolean));
    if (inside) (box.querySelector("button") ?? box.closest("dialog"))?.focus();
  };
  const p = (words) => h("p", {}, words);
  const note = p(isSecureContext ? say("take.again") : say("take.stay"));
  const again = (said) => showTake(box, { h, text, say }, on).then(() => said && box.prepend(h("p", { class: "note", role: "status" }, said)));
  const back = h("button", { class: "btn", click: () => {
    back.disabled = true;
    on.back().then(again, (e) => again(say("take.back.away", { why: e.message })));
  } }, say("take.back"));

  if (on.running) return put(...on.running);
  const pack = on.pack();
  if (pack) {
    const { bytes } = pack.loaded();
    return put(h("p", { class: "along" }, h("b", {}, text(pack.left)), say("take.with", { n: pack.size, bytes: weight(bytes) })),
      p(say("take.kept")), note, back);
  }
  put(p(say("take.look")));
  let about;
  try {
    about = await on.about();
  } catch (e) {
    return put(p(say("take.about")), h("p", { class: "note", role: "status" }, say("take.away", { why: e.message })));
  }
  const start = (n) => {
    const stop = new AbortController();
    const [bar, fill] = [h("span", { class: "bar", role: "progressbar", "aria-label": say("take.loading"), "aria-valuemin": 0, "aria-valuemax": 100 }), h("i", { class: "fill" })];
    const words = p(say("take.getting"));
    bar.append(fill);
    fill.style.transform = "scaleX(0)";
    const report = ({ cards, bytes, ofBytes }) => {
      fill.style.transform = `scaleX(${cards / n})`;
      bar.setAttribute("aria-valuenow", Math.round((cards / n) * 100));
      words.textContent = say("take.part", { cards, n, bytes: weight(bytes), all: weight(ofBytes || n * about.tile_bytes) });
    };
    on.running = [words, bar, h("button", { class: "btn", click: () => stop.abort() }, say("take.stop"))];
    put(...on.running);
    on.take(n, about.tile_bytes ?? 0, report, stop.signal).catch((e) => e.message).then((said) => { on.running = null; again(said); });
  };
  const sizes = SIZES.filter((n, i) => n <= about.most - about.held && (!i || n <= on.left()));
  put(p(say("take.about")), note,
    h("div", { class: "packs" }, ...sizes.map((n) => h("button", { class: "btn", click: () => start(n) },
      h("b", {}, say("take.n", { n })), about.tile_bytes ? h("span", {}, say("take.weighs", { bytes: weight(n * about.tile_bytes) })) : ""))),
    about.held ? p(say("take.elsewhere", { n: about.held })) : null,
    about.held ? back : null);
}
