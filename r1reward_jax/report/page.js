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

// ----------------------------------------------------------------- samples
const section = $("#samples");

if (section) {
  const counts = JSON.parse(section.dataset.counts);
  const source = $("#source");
  const run = $("#run");
  const search = $("#search");
  const more = $("#more");
  const buttons = $$("button[data-kind]");
  const cards = $$(".sample").map((element) => ({
    element,
    kinds: new Set(element.dataset.kinds.split(" ")),
    training: element.dataset.training === "1",
    key: element.dataset.source,
    run: element.dataset.run,
    words: $$("[data-say]", element)
      .map((part) => part.textContent)
      .join("\n")
      .toLowerCase(),
  }));
  const fresh = () => ({ kind: "all", source: "", run: "", q: "", n: PAGE });
  let state = fresh();

  const from = (key, training, number) =>
    (state.run === "" || state.run === number) &&
    (state.source === "" ||
      state.source === `=${key}` ||
      (state.source === "training" && training) ||
      (state.source === "evaluation" && !training));
  const fits = (card) =>
    (state.kind === "all" || card.kinds.has(state.kind)) &&
    from(card.key, card.training, card.run) &&
    state.q.toLowerCase().split(/\s+/).every((word) => card.words.includes(word));

  function number(kind) {
    let [part, whole] = [0, 0];
    for (const [name, table] of Object.entries(counts)) {
      const [, index, training, key] = name.match(/^(\d+) ([01]) (.*)$/s);
      if (!table[kind] || !from(key, training === "1", index)) continue;
      part += table[kind][0];
      whole += table[kind][1];
    }
    return `${part.toLocaleString("en")} of ${whole.toLocaleString("en")}`;
  }

  function draw() {
    let matching = 0;
    for (const card of cards) {
      const fit = fits(card);
      matching += fit;
      card.element.hidden = !fit || matching > state.n;
    }
    for (const button of buttons) {
      button.setAttribute("aria-pressed", String(button.dataset.kind === state.kind));
      $(".count", button).textContent = number(button.dataset.kind);
    }
    source.value = state.source;
    if (run) run.value = state.run;
    if (search.value !== state.q) search.value = state.q;
    const seen = Math.min(matching, state.n);
    $("#matching").textContent = matching
      ? `Showing ${seen} of ${matching} that match on this page.`
      : "Nothing on this page matches.";
    more.hidden = seen === matching;
    more.textContent = `${Math.min(PAGE, matching - seen)} more`;
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
    const known = (list, value) => (list.includes(value) ? value : list[0]);
    const values = (list) => (list ? [...list.options].map((option) => option.value) : [""]);
    state = {
      kind: known(["all", ...buttons.map((b) => b.dataset.kind)], given.get("kind")),
      source: known(values(source), given.get("source")),
      run: known(values(run), given.get("run")),
      q: given.get("q") || "",
      n: Math.max(PAGE, Number.parseInt(given.get("n"), 10) || PAGE),
    };
    return true;
  }

  for (const button of buttons) {
    button.addEventListener("click", () => change({ kind: button.dataset.kind }));
  }
  source.addEventListener("change", () => change({ source: source.value }));
  run?.addEventListener("change", () => change({ run: run.value }));
  search.addEventListener("input", () => change({ q: search.value }));
  more.addEventListener("click", () => {
    const first = cards.filter(fits)[state.n]; // the first of the new cards
    change({ n: state.n + PAGE });
    first.element.tabIndex = -1;
    first.element.focus({ preventScroll: true });
  });
  window.addEventListener("hashchange", () => {
    if (restore()) draw();
  });
  const linked = restore();
  draw();
  if (linked) section.scrollIntoView();
}
