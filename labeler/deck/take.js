/** The sheet "Take with me": how many cards, what they weigh, how far they are, and the way back. */

const SIZES = [50, 100, 200, 500];
const ABOUT = "For where there is no network: the images are stored in this browser, and for a day nobody else is asked about them. Answers go out when the network is back.";
const AGAIN = "This page then opens without a network too, also after it was closed.";
const STAY = "Keep this page open meanwhile. Its address is plain HTTP, which a browser opens only with a network.";

const weight = (bytes) => `${(bytes / 1e6).toFixed(bytes < 1e7 ? 1 : 0)} MB`;

/**
 * Draw the sheet into a box, and again whenever something changes.
 *
 * @param {HTMLElement} box
 * @param {{h: Function, text: (n: number) => string, count: Function}} tools  of the deck
 * @param {{pack: () => any, left: () => number, about: () => Promise<{most: number, tile_bytes: number|null, held: number}>,
 *   take: (n: number, bytes: number, report: Function, stop: AbortSignal) => Promise<string>, back: () => Promise<string>}} on
 */
export async function showTake(box, { h, text, count }, on) {
  const put = (...parts) => {
    const inside = box.contains(box.getRootNode().activeElement);
    box.replaceChildren(...parts.filter(Boolean));
    if (inside) (box.querySelector("button") ?? box.closest("dialog"))?.focus();
  };
  const p = (words) => h("p", {}, words);
  const note = p(isSecureContext ? AGAIN : STAY);
  const again = (said) => showTake(box, { h, text, count }, on).then(() => said && box.prepend(h("p", { class: "note", role: "status" }, said)));
  const back = h("button", { class: "btn", click: () => {
    back.disabled = true;
    on.back().then(again, (e) => again(`${e.message} Give them back when it can.`));
  } }, "Give back");

  if (on.running) return put(...on.running);
  const pack = on.pack();
  if (pack) {
    const { bytes } = pack.loaded();
    return put(h("p", { class: "along" }, h("b", {}, text(pack.left)), ` of ${count(pack.size, "card")} with you, ${weight(bytes)}.`),
      p("They are kept for you for a day. An answer that comes later still counts."), note, back);
  }
  put(p("Looking at what there is…"));
  let about;
  try {
    about = await on.about();
  } catch (e) {
    return put(p(ABOUT), h("p", { class: "note", role: "status" }, `${e.message} Cards can be taken along when it can.`));
  }
  const start = (n) => {
    const stop = new AbortController();
    const [bar, fill] = [h("span", { class: "bar", role: "progressbar", "aria-label": "Loading", "aria-valuemin": 0, "aria-valuemax": 100 }), h("i", { class: "fill" })];
    const words = p("Getting the cards…");
    bar.append(fill);
    fill.style.transform = "scaleX(0)";
    const report = ({ cards, bytes, ofBytes }) => {
      fill.style.transform = `scaleX(${cards / n})`;
      bar.setAttribute("aria-valuenow", Math.round((cards / n) * 100));
      words.textContent = `${text(cards)} of ${text(n)} cards, ${weight(bytes)} of about ${weight(ofBytes || n * about.tile_bytes)}`;
    };
    on.running = [words, bar, h("button", { class: "btn", click: () => stop.abort() }, "Stop")];
    put(...on.running);
    on.take(n, about.tile_bytes ?? 0, report, stop.signal).catch((e) => e.message).then((said) => { on.running = null; again(said); });
  };
  const sizes = SIZES.filter((n, i) => n <= about.most - about.held && (!i || n <= on.left()));
  put(p(ABOUT), note,
    h("div", { class: "packs" }, ...sizes.map((n) => h("button", { class: "btn", click: () => start(n) },
      h("b", {}, `${n} cards`), about.tile_bytes ? h("span", {}, `about ${weight(n * about.tile_bytes)}`) : ""))),
    about.held ? p(`${count(about.held, "card is", "cards are")} kept for you that this page does not have: in another browser, or lost.`) : null,
    about.held ? back : null);
}
