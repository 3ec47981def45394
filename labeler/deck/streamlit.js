/** The deck as a Streamlit component. deck.js is the deck itself, and all that a phone needs. */

// parent → its deck: Streamlit calls again whenever data or theme change
const mounted = new WeakMap();

/** Return whether Streamlit's background is dark or light. */
function themeOf(parent) {
  const hex = /^#(..)(..)(..)/.exec(getComputedStyle(parent.host ?? parent).getPropertyValue("--st-background-color").trim());
  return hex && (parseInt(hex[2], 16) < 128 ? "dark" : "light");
}

/**
 * Close Streamlit's dialog about a lost connection when it comes up, and call `lost`: while it is open nothing else on the
 * page can be touched, and the deck goes on without a server. Closed once, it stays away until there is a connection again.
 *
 * @param {() => void} lost
 */
function closeDialog(lost) {
  for (const dialog of document.querySelectorAll("body > [data-testid=stDialog]")) {
    if (dialog.querySelector("h2")?.textContent !== "Connection error") continue; // Streamlit has no other language
    dialog.style.display = "none"; // it goes slowly
    dialog.querySelector("button[aria-label=Close]").click();
    lost();
  }
}

/**
 * Open another page where the server is there and Streamlit, which looks less and less often, does not know it yet: it would
 * drop the click.
 *
 * @param {MouseEvent} e
 */
async function follow(e, deck) {
  const state = document.querySelector("[data-test-connection-state]")?.dataset.testConnectionState;
  const link = e.target instanceof Element && e.target.closest(".st-key-nav a");
  if (!link || state === "CONNECTED") return;
  e.preventDefault();
  e.stopPropagation();
  if (await deck.look()) location.assign(link.href);
}

/** Stand in for Streamlit while it has no connection; returns what ends that, and the deck. */
function mind(deck) {
  const look = () => closeDialog(deck.look);
  const dialogs = new MutationObserver(look);
  dialogs.observe(document.body, { childList: true });
  look();
  const links = (e) => follow(e, deck);
  addEventListener("click", links, { capture: true });
  return () => {
    dialogs.disconnect();
    removeEventListener("click", links, { capture: true });
    deck.destroy();
  };
}

/**
 * Show the deck. `data`: {session, words?, theme?}. Fires the trigger `round` once per round learned.
 *
 * @param {any} component  as Streamlit gives it
 * @param {import("./deck.js")} deck
 */
export default function show({ parentElement: parent, data, setTriggerValue }, { mountDeck }) {
  const { session, theme, words } = data;
  let here = mounted.get(parent);
  if (here && here.session !== session) { here.end(); here = null; }
  if (!here) {
    here = { session, calls: 0 };
    here.deck = mountDeck(parent, { session, words, mode: "streamlit", onRound: (round) => here.onRound("round", round) });
    here.end = mind(here.deck);
    mounted.set(parent, here);
  }
  here.onRound = setTriggerValue;
  here.deck.setTheme(theme ?? themeOf(parent));
  const mine = (here.calls += 1);
  return () => {
    // only the latest call cleans up: the clean-up of an earlier one can run while the deck lives on
    if (mounted.get(parent) !== here || here.calls !== mine) return;
    mounted.delete(parent);
    here.end();
  };
}
