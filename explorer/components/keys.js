// One listener for the keys of all pages. Where the page has a control for a key it presses that one,
// so that a key and a click do the same; the rest it asks of the server.

const STEPS = {
  j: ["neuron", 1], k: ["neuron", -1], n: ["prompt", 1], p: ["prompt", -1],
  h: ["head", 1], g: ["head", -1], "]": ["head", 1], "[": ["head", -1],
};
const STEPPED = {
  neuron: ["neuron", "head", "map", "live", "flow"],
  prompt: ["neuron", "head", "live", "flow"],
  head: ["neuron", "head", "map", "live"],
};
const SEARCH = ".st-key-token-search input";

const focusSearch = () => {
  const field = document.querySelector(SEARCH);
  if (field) { field.focus(); field.select(); }
  return !!field;
};

const toSearch = () => {
  if (focusSearch()) return;
  document.querySelector(".st-key-nt-trail a")?.click();
  // The field comes first and its text after it, which would undo the selection of the text.
  const until = Date.now() + 8000;
  let last = null, same = 0;
  const wait = setInterval(() => {
    const value = document.querySelector(SEARCH)?.value ?? null;
    same = value !== null && value === last ? same + 1 : 0;
    last = value;
    if (same >= 3 && focusSearch() || Date.now() > until) clearInterval(wait);
  }, 50);
};

const isTyping = (target) =>
  !!target.closest?.("textarea, select, [contenteditable=true], input:not([type=checkbox]):not([type=radio])");

export default function ({ data, parentElement, setTriggerValue }) {
  const find = (id) => parentElement.querySelector(`#${id}`);
  const help = find("help");
  find("guide").textContent = data.guide ? "Hide the guide" : "Show the guide";
  find("big").textContent = data.big ? "Leave presentation" : "Present: larger type";
  const open = () => { if (!help.open) help.showModal(); };
  find("open").onclick = open;
  find("close").onclick = () => help.close();
  help.onclick = (event) => { if (event.target === help) help.close(); };
  for (const name of ["guide", "big"]) {
    find(name).onclick = () => { help.close(); setTriggerValue("view", name); };
  }
  find("about").onclick = () => {
    help.close();
    const links = [...document.querySelectorAll("a")];
    links.find((link) => new URL(link.href, location.href).pathname.endsWith("/about"))?.click();
  };

  const press = (selector) => {
    const control = document.querySelector(selector);
    control?.click();
    return !!control;
  };
  const step = (what, by) => {
    if (what === "neuron") {
      // Those buttons have the same keys as shortcuts of their own.
      if (document.querySelector(".st-key-neuron-after button")) return false;
      if (press(by > 0 ? ".st-key-neuron-down button" : ".st-key-neuron-up button")) return true;
    }
    if (!STEPPED[what].includes(data.page)) return false;
    setTriggerValue("step", { what, by });
    return true;
  };
  const act = (event) => {
    const target = event.composedPath()[0] ?? event.target;
    if (event.ctrlKey || event.metaKey) return false;
    if (help.open) {
      if (event.key === "?") help.close();
      return event.key === "?";
    }
    if (event.key === "Enter" && target.closest?.(".st-key-nt-neuron-table")) {
      return press(".st-key-neuron-open button");
    }
    if (isTyping(target)) return false;
    // A layout may need Alt for a bracket; Alt with a letter is the browser's.
    if (event.altKey && !"[]/?".includes(event.key)) return false;
    if (event.key === "/") { toSearch(); return true; }
    if (event.key === "?") { open(); return true; }
    const wanted = STEPS[event.key];
    return wanted ? step(...wanted) : false;
  };
  const listen = (event) => {
    if (act(event)) { event.preventDefault(); event.stopPropagation(); }
  };
  // One at a time, whatever is drawn anew: two would open the help and close it again.
  document.removeEventListener("keydown", window.ntKeyListener, true);
  window.ntKeyListener = listen;
  document.addEventListener("keydown", listen, true);
  return () => {
    document.removeEventListener("keydown", listen, true);
    if (window.ntKeyListener === listen) window.ntKeyListener = undefined;
  };
}
