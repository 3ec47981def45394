/** The page for a whole room: asks every two seconds, and goes on when the server was away. All words are the server's. */

const EVERY_MS = 2000;
const place = document.getElementById("screen");
const away = place.dataset.away;

/** Return a new element with a class; children are text or nodes. */
function el(tag, name, ...children) {
  const made = document.createElement(tag);
  if (name) made.className = name;
  made.append(...children);
  return made;
}

const parts = {
  question: el("h1", "question"), state: el("p", "state"), notice: el("p", "notice"), figures: el("div", "figures"),
  together: el("p", "together"), band: el("div", "band"), join: el("aside", "join"), board: el("ol", "board"),
  newest: el("h2", "newest"), strip: el("div", "strip"), away: el("p", "away", away),
};
parts.away.hidden = true;
parts.away.setAttribute("role", "status");
const said = el("section", "said", parts.question, parts.state, parts.notice, parts.figures, parts.together, parts.band, parts.board);
place.append(said, parts.join, el("section", "finds", parts.newest, parts.strip), parts.away);

/** Put text where it changed, and hide what is empty. */
function put(node, words) {
  if (node.textContent !== words) node.textContent = words;
  node.hidden = !words;
}

/** Draw the share found: where it may lie, and its middle where it has one. */
function drawBand(band) {
  parts.band.hidden = !band;
  if (!band) return;
  const [low, middle, high] = band;
  const range = el("i", "range");
  Object.assign(range.style, { left: `${100 * low}%`, width: `${100 * Math.max(high - low, 0.005)}%` });
  const mark = el("i", "mark");
  if (middle !== null) mark.style.left = `${100 * middle}%`;
  parts.band.replaceChildren(...(middle === null ? [range] : [range, mark]));
}

function drawFigures(figures) {
  const tiles = figures.map(({ value, word }) => el("div", "figure", el("b", "", value), el("span", "", word)));
  parts.figures.replaceChildren(...tiles);
}

/** Draw how one joins. The picture stays while the code does. */
function drawJoin(join, hint) {
  const mark = JSON.stringify([join?.code, join?.address, hint]);
  if (parts.join.dataset.mark === mark) return;
  parts.join.dataset.mark = mark;
  parts.join.classList.toggle("none", !join);
  const picture = el("img", "qr");
  if (join) Object.assign(picture, { src: join.picture, alt: "" });
  const code = join ? [picture, el("p", "address", join.address), el("p", "code", join.code)] : [];
  parts.join.replaceChildren(el("p", "hint", hint), ...code);
}

/** Draw the newest finds; a new one comes in from the left, the others stay as they are. */
function drawFinds(finds) {
  const there = new Map([...parts.strip.children].map((img) => [img.dataset.url, img]));
  const tiles = finds.map((url) => {
    const known = there.get(url);
    if (known) return known;
    const img = el("img", "tile");
    Object.assign(img, { src: url, alt: "" });
    img.dataset.url = url;
    img.addEventListener("error", () => { img.hidden = true; });
    return img;
  });
  const same = tiles.length === parts.strip.children.length && tiles.every((img, i) => img === parts.strip.children[i]);
  if (!same) parts.strip.replaceChildren(...tiles);
}

function show(facts) {
  parts.question.classList.toggle("long", facts.question.length > 60);
  put(parts.question, facts.question);
  put(parts.state, facts.state);
  put(parts.notice, facts.notice);
  put(parts.together, facts.together);
  put(parts.newest, facts.finds.length ? facts.newest : "");
  drawFigures(facts.figures);
  drawBand(facts.band);
  drawJoin(facts.join, facts.hint);
  drawFinds(facts.finds);
  parts.board.hidden = !facts.board.length;
  parts.board.replaceChildren(...facts.board.map(({ name, points }) => el("li", "", el("span", "", name), el("b", "", points))));
}

async function look() {
  try {
    const reply = await fetch(new URL(`screen/now${location.search}`, location.href), { cache: "no-store" });
    if (!reply.ok) throw new Error(reply.statusText);
    show(await reply.json());
    parts.away.hidden = true;
  } catch {
    parts.away.hidden = false;
  }
  setTimeout(look, EVERY_MS);
}

look();
