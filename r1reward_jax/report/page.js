"use strict";
document.documentElement.classList.add("js");

const PAGE = 12;
const $ = (selector, root = document) => root.querySelector(selector);
const $$ = (selector, root = document) => [...root.querySelectorAll(selector)];

// ------------------------------------------------------------------ images
// The data of an image stand in the page once; other samples with the same image copy them.
for (const image of $$("img[data-same]")) image.src = document.getElementById(image.dataset.same).src;

// ------------------------------------------------------------------- theme
const THEMES = ["auto", "light", "dark"];
const theme = $("#theme");
const { style } = document.documentElement;

function paint(name) {
  style.colorScheme = name === "auto" ? "" : name;
  theme.textContent = `Theme: ${name}`;
}

function remembered() {
  try {
    return localStorage.getItem("r1reward-theme");
  } catch {
    return null; // storage is switched off
  }
}

paint(THEMES.includes(remembered()) ? remembered() : "auto");
theme.addEventListener("click", () => {
  const now = style.colorScheme || "auto";
  const next = THEMES[(THEMES.indexOf(now) + 1) % THEMES.length];
  paint(next);
  try {
    localStorage.setItem("r1reward-theme", next);
  } catch {
    // storage is switched off: the theme holds for this visit only
  }
});

// ------------------------------------------------------------------ charts
for (const chart of $$(".chart")) {
  const plot = $(".plot", chart);
  const canvas = $(".canvas", chart);
  const cross = $(".cross", chart);
  const at = $(".at", chart);
  const steps = JSON.parse(chart.dataset.steps);
  const [low, high] = [Number(chart.dataset.low), Number(chart.dataset.high)];
  const rows = $$(".entry", chart).map((row) => {
    const number = $("b", row);
    return { number, values: JSON.parse(row.dataset.values), last: number.textContent };
  });
  const lastStep = at.textContent;
  let shown = -1;

  const show = (i) => {
    shown = Math.max(0, Math.min(steps.length - 1, i));
    cross.hidden = false;
    cross.style.left = `${((steps[shown] - low) / (high - low)) * 100}%`;
    at.textContent = `${chart.dataset.unit} ${steps[shown].toLocaleString("en")}`;
    for (const row of rows) row.number.textContent = row.values[shown] ?? "–";
  };
  const leave = () => {
    shown = -1;
    cross.hidden = true;
    at.textContent = lastStep;
    for (const row of rows) row.number.textContent = row.last;
  };
  const nearest = (step) => {
    let best = 0;
    steps.forEach((s, i) => {
      if (Math.abs(s - step) < Math.abs(steps[best] - step)) best = i;
    });
    return best;
  };
  const follow = (event) => {
    const box = canvas.getBoundingClientRect();
    show(nearest(low + ((event.clientX - box.left) / box.width) * (high - low)));
  };
  canvas.addEventListener("pointermove", follow);
  canvas.addEventListener("pointerdown", follow);
  canvas.addEventListener("pointerleave", (event) => {
    if (event.pointerType !== "touch") leave(); // there is no hover to come back with a finger
  });
  plot.addEventListener("blur", leave);
  plot.addEventListener("keydown", (event) => {
    const from = shown < 0 ? steps.length - 1 : shown;
    const to = { ArrowLeft: from - 1, ArrowRight: from + 1, Home: 0, End: steps.length - 1 }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    show(to);
  });
}

// ----------------------------------------------------------------- copying
for (const button of $$(".copy")) {
  const code = $("code", button.parentElement);
  button.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(code.textContent);
      button.textContent = "Copied";
    } catch {
      getSelection().selectAllChildren(code); // not allowed: at least it is selected
      button.textContent = "Selected: press Ctrl+C";
    }
  });
}

// ----------------------------------------------------------------- samples
const section = $("#samples");

if (section) {
  const { groups, runs, elsewhere, short } = Object.fromEntries(
    Object.entries(section.dataset).map(([name, text]) => [name, JSON.parse(text)]),
  );
  const [source, run, group, sort] = ["#source", "#run", "#group", "#sort"].map((id) => $(id));
  const search = $("#search");
  const more = $("#more");
  const list = $(".samples", section);
  const buttons = $$("button[data-kind]");
  const numbers = (value) => value.toLocaleString("en");

  // An item has a card in the page, or is listed in short: then its card is made when it is shown.
  const parsed = (meta) => ({
    groups: meta.g.map(String),
    judged: meta.j.map(([number, key, training, kinds, wrong, sure]) => ({
      ...{ run: String(number), key, training: training === 1, wrong, sure },
      kinds: new Set(["all", ...kinds.split(" ")]),
    })),
  });
  const items = $$(".sample").map((element) => ({
    ...parsed(JSON.parse(element.dataset.meta)),
    element,
    place: Number(element.dataset.n),
    words: $$("[data-say]", element)
      .map((part) => part.textContent)
      .join("\n")
      .toLowerCase(),
  }));
  for (const brief of short) {
    const words = [brief.id, groups[brief.g.at(-1)] ?? "", brief.q, ...brief.r].join("\n").toLowerCase();
    items.push({ ...parsed(brief), brief, place: brief.n, words });
  }
  // what can be read comes first; other orders reach all of them
  items.sort((a, b) => Boolean(a.brief) - Boolean(b.brief) || a.place - b.place);

  const fresh = () => ({ kind: "all", source: "", run: "", group: "", sort: "", q: "", raw: "", open: "", n: PAGE });
  let state = fresh();
  let found = [];

  // ------------------------------------------------------ which, in which order
  const from = (key, training, number) =>
    (state.run === "" || state.run === number) &&
    (state.source === "" ||
      state.source === `=${key}` ||
      (state.source === "training" && training) ||
      (state.source === "evaluation" && !training));
  const judgedHere = (item) => item.judged.filter((j) => from(j.key, j.training, j.run));
  const inGroup = (item) => state.group === "" || item.groups.includes(state.group);

  function fits(item, words) {
    return (
      inGroup(item) &&
      judgedHere(item).some((j) => j.kinds.has(state.kind)) &&
      words.every((word) => item.words.includes(word))
    );
  }

  const highest = (item, name) => Math.max(-1, ...judgedHere(item).map((j) => j[name] ?? -1));
  const ORDERS = {
    wrong: (a, b) => highest(b, "wrong") - highest(a, "wrong"),
    sure: (a, b) => highest(b, "sure") - highest(a, "sure"),
    unsure: (a, b) => unsure(a) - unsure(b),
  };
  const unsure = (item) => {
    const known = judgedHere(item).map((j) => j.sure).filter((sure) => sure !== null);
    return known.length ? Math.min(...known) : 2;
  };

  function count(kind) {
    const here = items.filter((i) => inGroup(i) && judgedHere(i).some((j) => j.kinds.has(kind))).length;
    let rest = 0;
    for (const [name, table] of Object.entries(elsewhere)) {
      const [, number, key] = name.match(/^(\d+) (.*)$/s);
      if (state.group === "" && from(key, true, number)) rest += table[kind] ?? 0;
    }
    return rest ? `${numbers(here)} of ${numbers(here + rest)}` : numbers(here);
  }

  // ---------------------------------------------------------- records in short
  const made = (tag, name, text, ...inside) => {
    const element = document.createElement(tag);
    if (name) element.className = name;
    if (text) element.textContent = text; // never HTML: these are words of models and data
    element.append(...inside);
    return element;
  };

  const MARKS = [
    ["won", "good", "B right where A was wrong"],
    ["lost", "bad", "B wrong where A was right"],
    ["wrong", "bad", "wrong"],
    ["right", "good", "right"],
    ...["flipped", "inconsistent", "unparsable", "skipped"].map((kind) => [kind, "odd", kind]),
  ];

  function order([verdict, right, sure], i, both) {
    const look = right === null ? "odd" : right ? "good" : "bad";
    const sign = right === null ? "–" : right ? "✓ right" : "✗ wrong";
    const named = both && i === 1 ? ["b", "a"] : both ? ["a", "b"] : ["1", "2"];
    const says = verdict ? `says ${verdict}${both ? `, which is ${named[verdict - 1]}` : ""}` : "no verdict";
    const parts = [made("span", `mark ${look}`, sign), " "];
    if (both) parts.push(made("span", "first", `${named[0]} shown first`), " ");
    parts.push(made("span", "says", says), " ");
    if (sure !== null) parts.push(made("span", "sure", `confidence ${sure.toFixed(3)}`));
    return made("section", `order ${look}`, "", made("p", "outcome", "", ...parts));
  }

  function card({ id, g, q, r, p, o, j, row }) {
    const named = o[0].length === 2 ? ["a", "b"] : ["1", "2"];
    const marks = made("span", "marks");
    const kinds = new Set(j.flatMap((one) => one[3].split(" ")));
    if (kinds.has("wrong")) kinds.delete("right");
    for (const [kind, look, text] of MARKS) {
      if (kinds.has(kind)) marks.append(made("span", `mark ${look}`, text));
    }
    const where = made("span", "", "");
    const group = groups[g.at(-1)];
    if (group) where.append(made("span", "group", group), " ");
    where.append(made("span", "id", id));
    const responses = r.map((text, i) =>
      made(
        "li",
        p === i + 1 ? "best" : "",
        "",
        made("span", "position", named[i]),
        made("div", "", "", made("p", "response", text), p === i + 1 ? made("span", "tag best", "preferred") : ""),
      ),
    );
    const place = row === null ? "" : ` of row ${row} (lines ${2 * row + 1} and ${2 * row + 2} of judgements.jsonl)`;
    const columns = o.map((orders, i) => {
      const inside = orders.map((one, k) => order(one, k, orders.length === 2));
      const name = runs.length > 1 ? [made("p", "run-name", runs[j[i][0]])] : [];
      return made("div", "column", "", ...name, made("div", "orders", "", ...inside));
    });
    return made(
      "article",
      "sample short",
      "",
      made("p", "where", "", marks, where),
      made("h3", "question", q),
      made("ol", "responses", "", ...responses),
      ...columns,
      made("p", "lost", `In short: texts and images${place} are not on this page.`),
    );
  }

  // ------------------------------------------------------------------ drawing
  function expandable(element) {
    for (const long of $$(".long", element)) {
      if (long.nextElementSibling?.classList.contains("expand")) continue;
      if (long.scrollHeight <= long.clientHeight + 4) continue;
      const button = made("button", "expand controls", "Show all");
      button.type = "button";
      button.setAttribute("aria-expanded", "false");
      button.addEventListener("click", () => {
        const whole = long.classList.toggle("whole");
        button.setAttribute("aria-expanded", String(whole));
        button.textContent = whole ? "Show less" : "Show all";
      });
      long.after(button);
    }
  }

  function draw() {
    const words = state.q.toLowerCase().split(/\s+/);
    found = items.filter((item) => fits(item, words));
    if (ORDERS[state.sort]) found.sort(ORDERS[state.sort]);
    const seen = found.slice(0, state.n);
    for (const item of items) if (item.element) item.element.hidden = true;
    for (const item of seen) {
      item.element ??= card(item.brief);
      item.element.hidden = false;
      list.append(item.element); // in order; what is hidden stays in front
    }
    section.classList.toggle("raw", state.raw === "1");
    section.classList.toggle("open", state.open === "1");
    for (const item of seen) expandable(item.element);
    for (const button of buttons) {
      button.setAttribute("aria-pressed", String(button.dataset.kind === state.kind));
      $(".count", button).textContent = count(button.dataset.kind);
    }
    for (const [field, name] of [[source, "source"], [run, "run"], [group, "group"], [sort, "sort"]]) {
      if (field) field.value = state[name];
    }
    for (const name of ["raw", "open"]) $(`#${name}`).checked = state[name] === "1";
    if (search.value !== state.q) search.value = state.q;
    $("#matching").textContent = found.length
      ? `Showing ${numbers(seen.length)} of ${numbers(found.length)} that match on this page.`
      : "Nothing on this page matches.";
    more.hidden = seen.length === found.length;
    more.textContent = `${Math.min(PAGE, found.length - seen.length)} more`;
  }

  function remember() {
    const given = Object.entries(state).filter(([name, value]) => value !== fresh()[name]);
    const hash = new URLSearchParams(given).toString();
    try {
      history.replaceState(null, "", `#${hash || "samples"}`);
    } catch {
      location.hash = hash; // in a sandboxed frame
    }
  }

  function change(part) {
    state = { ...state, n: PAGE, ...part };
    draw();
    remember();
  }

  function restore() {
    if (!location.hash.includes("=")) return false;
    const given = new URLSearchParams(location.hash.slice(1));
    const known = (options, value) => (options.includes(value) ? value : options[0]);
    const values = (field) => (field ? [...field.options].map((option) => option.value) : [""]);
    state = {
      kind: known(["all", ...buttons.map((b) => b.dataset.kind)], given.get("kind")),
      source: known(values(source), given.get("source")),
      run: known(values(run), given.get("run")),
      group: known(values(group), given.get("group")),
      sort: known(values(sort), given.get("sort")),
      q: given.get("q") || "",
      raw: given.get("raw") === "1" ? "1" : "",
      open: given.get("open") === "1" ? "1" : "",
      n: Math.max(PAGE, Number.parseInt(given.get("n"), 10) || PAGE),
    };
    return true;
  }

  for (const button of buttons) {
    button.addEventListener("click", () => change({ kind: button.dataset.kind }));
  }
  for (const button of $$("button[data-view]")) {
    const view = Object.fromEntries(new URLSearchParams(button.dataset.view));
    button.addEventListener("click", () => change({ ...fresh(), ...view }));
  }
  for (const [field, name] of [[source, "source"], [run, "run"], [group, "group"], [sort, "sort"]]) {
    field?.addEventListener("change", () => change({ [name]: field.value }));
  }
  for (const name of ["raw", "open"]) {
    const box = $(`#${name}`);
    box.addEventListener("change", () => change({ [name]: box.checked ? "1" : "", n: state.n }));
  }
  search.addEventListener("input", () => change({ q: search.value }));
  more.addEventListener("click", () => {
    const first = found[state.n]; // the first of the new cards
    change({ n: state.n + PAGE });
    first.element.tabIndex = -1;
    first.element.focus({ preventScroll: true });
  });
  window.addEventListener("hashchange", () => {
    if (!restore()) return;
    draw();
    section.scrollIntoView();
  });
  const linked = restore();
  draw();
  if (linked) section.scrollIntoView();
}
