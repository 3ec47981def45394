/** The deck as a Streamlit component. deck.js is the deck itself, and all that a phone needs. */

// parent → its deck: Streamlit calls again whenever data or theme change
const mounted = new WeakMap();

/** Return whether Streamlit's background is dark or light. */
function themeOf(parent) {
  const hex = /^#(..)(..)(..)/.exec(getComputedStyle(parent.host ?? parent).getPropertyValue("--st-background-color").trim());
  return hex && (parseInt(hex[2], 16) < 128 ? "dark" : "light");
}

/**
 * Show the deck. `data`: {session, theme?}. Fires the trigger `round` once per round learned.
 *
 * @param {any} component  as Streamlit gives it
 * @param {import("./deck.js")} deck
 */
export default function show({ parentElement: parent, data, setTriggerValue }, { mountDeck }) {
  const { session, theme } = data;
  let here = mounted.get(parent);
  if (here && here.session !== session) { here.deck.destroy(); here = null; }
  if (!here) {
    here = { session, calls: 0 };
    here.deck = mountDeck(parent, { session, mode: "streamlit", onRound: (round) => here.onRound("round", round) });
    mounted.set(parent, here);
  }
  here.onRound = setTriggerValue;
  here.deck.setTheme(theme ?? themeOf(parent));
  const mine = (here.calls += 1);
  return () => {
    // only the latest call cleans up: the clean-up of an earlier one can run while the deck lives on
    if (mounted.get(parent) !== here || here.calls !== mine) return;
    mounted.delete(parent);
    here.deck.destroy();
  };
}
