// The strip of tokens: a list box. Click or the keys left, right, Home and End choose a position;
// Escape asks for all heads to be switched on.
// Every text is written as text, never as markup.
const MARKS = /([␣↵⇥]+)/;

function tokenElement(token, index, chosen) {
  const item = document.createElement("div");
  item.className = index === chosen ? "token chosen" : "token";
  item.id = `token-${index}`;
  item.dataset.index = index;
  item.setAttribute("role", "option");
  item.setAttribute("aria-selected", String(index === chosen));
  item.setAttribute("aria-label", token.value ? `${token.text}, activation ${token.value}` : token.text);
  const box = document.createElement("span");
  box.className = "box";
  box.style.background = token.fill;
  box.style.color = token.ink;
  for (const part of token.text.split(MARKS)) {
    const piece = document.createElement(MARKS.test(part) ? "i" : "bdi");
    piece.textContent = part;
    box.append(piece);
  }
  const value = document.createElement("span");
  value.className = "value";
  value.textContent = token.value;
  item.append(box);
  if (token.value) item.append(value);
  return item;
}

function keepInView(root, item) {
  const low = item.offsetTop - root.offsetTop + item.offsetHeight;
  if (low > root.scrollTop + root.clientHeight) root.scrollTop = low - root.clientHeight;
  if (item.offsetTop - root.offsetTop < root.scrollTop) root.scrollTop = item.offsetTop - root.offsetTop;
}

function mark(root, index) {
  for (const item of root.children) {
    const is = Number(item.dataset.index) === index;
    item.classList.toggle("chosen", is);
    item.setAttribute("aria-selected", String(is));
    if (is) keepInView(root, item);
  }
  root.setAttribute("aria-activedescendant", `token-${index}`);
}

// Keys may come faster than answers: an answer to an older one does not move the choice back.
function stillWanted(root, data) {
  const wanted = root.wanted;
  const is = wanted && wanted.prompt === data.prompt && wanted.index !== data.position
    && wanted.index < data.tokens.length && performance.now() < wanted.until;
  if (!is) root.wanted = undefined;
  return is;
}

const STEPS = { ArrowLeft: -1, ArrowRight: 1, Home: -Infinity, End: Infinity };

export default function (component) {
  const { data, parentElement, setTriggerValue } = component;
  const root = parentElement.querySelector("#strip");
  const n = data.tokens.length;
  let chosen = stillWanted(root, data) ? root.wanted.index : data.position;
  root.replaceChildren(...data.tokens.map((token, index) => tokenElement(token, index, chosen)));
  root.dataset.prompt = data.prompt;
  root.dataset.position = data.position;
  root.setAttribute("aria-label", data.label);
  mark(root, chosen);

  const pick = (index) => {
    const place = Math.max(0, Math.min(n - 1, index));
    if (place === chosen) return;
    chosen = place;
    mark(root, place);
    root.wanted = { index: place, prompt: data.prompt, until: performance.now() + 2000 };
    setTriggerValue("picked", place);
  };
  root.onclick = (event) => {
    const item = event.target.closest(".token");
    if (item) pick(Number(item.dataset.index));
    root.focus({ preventScroll: true });
  };
  root.onkeydown = (event) => {
    if (event.key === "Escape") setTriggerValue("restored", true);
    if (!(event.key in STEPS) || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    pick(chosen + STEPS[event.key]);
  };
}
