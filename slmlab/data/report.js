for (const table of document.querySelectorAll("table.sortable")) {
  table.querySelectorAll("th button").forEach((button, column) => {
    button.addEventListener("click", () => {
      const head = button.parentElement;
      const up = head.getAttribute("aria-sort") !== "ascending";
      for (const other of table.querySelectorAll("th")) other.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", up ? "ascending" : "descending");
      const value = (row) => {
        const cell = row.cells[column];
        return cell.dataset.value === undefined ? cell.textContent : Number(cell.dataset.value);
      };
      const rows = [...table.tBodies[0].rows].sort((a, b) => {
        const [x, y] = [value(a), value(b)];
        const order = typeof x === "number" && typeof y === "number" ? x - y : String(x).localeCompare(String(y));
        return up ? order : -order;
      });
      table.tBodies[0].append(...rows);
    });
  });
}

// The answers: what is shown, in which order, and where a search finds its words.
const filters = document.querySelector(".filters");
const place = document.querySelector(".prompts");
const prompts = [...place.children];
const texts = new Map();
for (const part of place.querySelectorAll(".answer, .prompt > .text")) {
  texts.set(part, part.textContent.toLowerCase());
}
const value = (name) => filters.elements[name]?.value ?? "";

function show() {
  const words = value("text").trim().toLowerCase();
  const [task, variant, result, flag] = ["task", "variant", "result", "flag"].map(value);
  let [shown, answers] = [0, 0];
  for (const prompt of prompts) {
    const asked = texts.get(prompt.querySelector(".text")).includes(words);
    const right = (answer) =>
      (!variant || answer.dataset.variant === variant) &&
      (!result || result === "differs" || answer.dataset.result === result) &&
      (!flag || answer.dataset.flags.split("|").includes(flag)) &&
      (asked || texts.get(answer).includes(words));
    const all = [...prompt.querySelectorAll(".answer")];
    prompt.hidden =
      (task && prompt.dataset.task !== task) ||
      (result === "differs" && prompt.dataset.differs === undefined) ||
      !all.some(right);
    // Beside an answer that was looked for stand the others, unless those of one model are wanted.
    for (const answer of all) answer.hidden = variant && answer.dataset.variant !== variant;
    if (!prompt.hidden) {
      shown += 1;
      answers += all.filter((answer) => !answer.hidden).length;
    }
  }
  filters.querySelector("output").textContent =
    `${shown} of ${prompts.length} prompts, ${answers} answers`;
  document.querySelector(".none").hidden = shown > 0;
  highlight(words);
}

function highlight(words) {
  if (!CSS.highlights) return;
  const ranges = [];
  for (const part of words ? texts.keys() : []) {
    if (!texts.get(part).includes(words) || part.closest("[hidden]")) continue;
    const walker = document.createTreeWalker(part, NodeFilter.SHOW_TEXT);
    while (walker.nextNode()) {
      const text = walker.currentNode.data.toLowerCase();
      for (let at = text.indexOf(words); at >= 0; at = text.indexOf(words, at + words.length)) {
        const range = new Range();
        range.setStart(walker.currentNode, at);
        range.setEnd(walker.currentNode, Math.min(at + words.length, walker.currentNode.length));
        ranges.push(range);
      }
    }
  }
  CSS.highlights.set("found", new Highlight(...ranges));
}

function sort() {
  const apart = (prompt) => Number(prompt.dataset.apart);
  const sorted = value("order") ? [...prompts].sort((a, b) => apart(b) - apart(a)) : prompts;
  place.append(...sorted);
}

const opener = filters.elements.open;
opener.addEventListener("click", () => {
  const open = opener.textContent === "Open all";
  for (const prompt of prompts) prompt.open = open;
  opener.textContent = open ? "Close all" : "Open all";
});
filters.addEventListener("input", show);
filters.elements.order?.addEventListener("input", sort);
filters.addEventListener("reset", () => setTimeout(() => { sort(); show(); }));
filters.addEventListener("submit", (event) => event.preventDefault());
filters.hidden = false;
show();

// On paper everything is open that is shown.
let closed = [];
addEventListener("beforeprint", () => {
  closed = [...document.querySelectorAll("details:not([open])")];
  for (const one of closed) one.open = true;
});
addEventListener("afterprint", () => { for (const one of closed) one.open = false; });
