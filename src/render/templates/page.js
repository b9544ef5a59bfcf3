"use strict";
// Filters, and the case that a cell opens. Everything shown is text: nothing of a report becomes markup.
(async () => {
  const PAGE = 100;
  const $ = (id) => document.getElementById(id);
  const make = (name, attributes = {}, ...children) => {
    const element = document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) {
      if (value !== undefined && value !== false) element.setAttribute(key, value);
    }
    element.append(...children);
    return element;
  };
  const unpack = async (id) => {
    const bytes = Uint8Array.from(atob($(id).textContent), (letter) => letter.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
    return JSON.parse(await new Response(stream).text());
  };

  const index = await unpack("index");
  let details;
  const { stacks, cases, calls, answers, given } = index;
  const CASE = 0, CALL = 1, PORT = 2, CAUSE = 3;
  const form = $("filters"), found = $("found"), status = $("status"), more = $("more"), dialog = $("case");
  const numbers = new Map(cases.map((one, number) => [one.id, number]));
  const callsOf = cases.map(() => []);
  calls.forEach((call, number) => callsOf[call[CASE]].push(number));
  const several = stacks.filter((stack) => stack.observed).length > 1;
  form.elements.differ.closest("label").hidden = !several;
  const differs = calls.map((_, call) => {
    const own = new Set();
    stacks.forEach((stack, place) => { if (stack.observed && given[place][call] >= 0) own.add(given[place][call]); });
    return own.size > 1;
  });

  // What there is to choose from, in the order in which it appears.
  const fill = (name, values, all) => {
    const select = form.elements[name];
    if (!select.multiple) select.append(make("option", { value: "" }, all));
    for (const value of values) select.append(make("option", { value }, value));
  };
  const unique = (values) => [...new Set(values)];
  fill("scenario", unique(cases.map((one) => one.scenario)), "all");
  fill("call", unique(calls.map((call) => call[CALL])), "all");
  fill("port", unique(calls.map((call) => call[PORT])), "all");
  fill("cause", unique(calls.map((call) => call[CAUSE])).sort(), "all");
  fill("errno", unique(answers.flatMap((answer) => answer.outcomes)).sort(), "all");
  fill("verdict", unique(answers.map((answer) => answer.verdict || answer.basis)), "all");
  fill("system", unique([...stacks.map((stack) => stack.os), ...stacks.map((stack) => stack.label)]));
  // A system's newest version, what is expected of systems that nobody observed, older versions, and what passes for a system.
  const isOwn = ({ os, label }) => label.split(" ")[0] === os;
  const ordered = (places) => {
    const rank = (place) => {
      const { os, observed } = stacks[place];
      if (!observed) return 1;
      if (!isOwn(stacks[place])) return 3;
      return places.some((later) => later > place && stacks[later].observed && stacks[later].os === os && isOwn(stacks[later])) ? 2 : 0;
    };
    return [...places].sort((a, b) => rank(a) - rank(b) || b - a);
  };
  const places = ordered(stacks.map((_, place) => place));
  const pairs = new Set(cases.flatMap((one) => Object.entries(one.axes).map(([axis, value]) => `${axis}=${value}`)));
  $("options").append(...[...pairs].map((value) => make("option", { value })));

  // `axis=value,value` must name the values, blanks and commas in them as %20 and %2C; any other word is part of the case's name.
  const decoded = (text) => { try { return decodeURIComponent(text); } catch { return text; } };
  const wanted = (text) => text.split(/\s+/).filter(Boolean).map((word) => {
    const [axis, values] = word.split(/=(.*)/s);
    if (values === undefined) return (one) => one.id.includes(decoded(word));
    const name = decoded(axis), whole = values.split(",").map(decoded);
    const known = whole.some((value) => pairs.has(`${name}=${value}`));
    return (one) => name in one.axes && (known ? whole.includes(one.axes[name]) : one.axes[name].startsWith(decoded(values)));
  });

  // Columns are stacks that answer alike, each with their places.
  let shown = [], showing = PAGE, columns = [];
  const valueOf = (field) => {
    if (field.type === "checkbox") return field.checked ? field.value : "";
    return field.multiple ? [...field.selectedOptions].map((option) => option.value) : field.value.trim();
  };
  const values = () => Object.fromEntries([...form.elements].filter((field) => field.name).map((field) => [field.name, valueOf(field)]));
  const counted = (number, noun) => `${number.toLocaleString("en")} ${noun}${number === 1 ? "" : "s"}`;

  const filter = () => {
    const chosen = values();
    const isChosen = ({ label, os }) => !chosen.system.length || chosen.system.includes(label) || chosen.system.includes(os);
    const own = ordered(places.filter((place) => isChosen(stacks[place])));
    const conditions = wanted(chosen.with);
    const fits = answers.map((answer) => (!chosen.errno || answer.outcomes.includes(chosen.errno)) && (!chosen.verdict || (answer.verdict || answer.basis) === chosen.verdict));
    const good = cases.map((one) => (!chosen.scenario || one.scenario === chosen.scenario) && conditions.every((condition) => condition(one)));
    let observed = 0, expected = 0;
    const ran = new Set();
    shown = [];
    calls.forEach((call, number) => {
      if (!good[call[CASE]] || (chosen.call && call[CALL] !== chosen.call) || (chosen.port && call[PORT] !== chosen.port)
        || (chosen.cause && call[CAUSE] !== chosen.cause) || (chosen.differ && !differs[number])) return;
      let any = false;
      for (const place of own) {
        const answer = given[place][number];
        if (answer < 0 || !fits[answer]) continue;
        any = true;
        if (stacks[place].observed) observed += 1; else expected += 1;
      }
      if (any) { shown.push(number); ran.add(call[CASE]); }
    });
    status.textContent = `${counted(observed, "finding")}${expected ? ` and ${expected.toLocaleString("en")} expected` : ""}, of ${counted(shown.length, "call")} in ${counted(ran.size, "case")}`;
    status.dataset.findings = observed;
    status.dataset.calls = shown.length;
    status.dataset.cases = ran.size;
    const alike = new Map();
    for (const place of own) {
      const key = `${stacks[place].observed} ${shown.map((number) => given[place][number])}`;
      alike.set(key, [...(alike.get(key) ?? []), place]);
    }
    columns = [...alike.values()];
    showing = PAGE;
    draw();
  };
  // `linux 7.3, 7.2`.
  const named = (column) => {
    const families = new Map();
    for (const place of column) {
      const [family, ...version] = stacks[place].label.split(" ");
      families.set(family, [...(families.get(family) ?? []), version.join(" ")]);
    }
    return [...families].map(([family, versions]) => `${family} ${versions.join(", ")}`.trim()).join("; ");
  };

  const chip = (answer, place, call) => {
    const { text, tone, basis } = answers[answer];
    return make("button", { type: "button", class: `o ${tone} ${basis}`, "data-call": call, "data-stack": place,
      "aria-label": `${text}${basis ? `, ${basis}` : ""} on ${stacks[place].label}: show the case` }, text);
  };
  const draw = () => {
    found.hidden = shown.length === 0;
    const head = make("tr", {}, ...["call", "cause", ...columns.map(named)].map((name) => make("th", { scope: "col" }, name)));
    // The calls of a case stand below its name.
    const bodies = [];
    let last = -1;
    for (const number of shown.slice(0, showing)) {
      const [one, call, port, cause] = calls[number];
      if (one !== last) {
        const { id, scenario } = cases[one];
        const name = id.startsWith(scenario) ? id.slice(scenario.length) : ` ${id}`;
        bodies.push(make("tbody", {}, make("tr", {}, make("th", { class: "id", scope: "rowgroup", colspan: columns.length + 2 }, make("b", {}, scenario), ...name.split(/(?<=,)/).flatMap((part) => [part, make("wbr")])))));
        last = one;
      }
      bodies.at(-1).append(make("tr", { class: "call" },
        make("th", { scope: "row" }, `${differs[number] ? "≠ " : ""}${call}${port === "none" ? "" : `, ${port} port`}`),
        make("td", {}, cause),
        ...columns.map((column) => {
          const [place] = column;
          const answer = given[place][number];
          return make("td", { "data-of": named(column) }, answer < 0 ? "–" : chip(answer, place, number));
        })));
    }
    found.replaceChildren(make("thead", {}, head), ...bodies);
    more.hidden = shown.length <= showing;
    more.textContent = `Show more (${(shown.length - showing).toLocaleString("en")} left)`;
  };

  const fragment = (parts) => Object.entries(parts).flatMap(([name, value]) => [value].flat().map((one) => [name, one])).filter(([, value]) => value)
    .map(([name, value]) => `${name}=${encodeURIComponent(value).replace(/%(3D|2C|3A|2F|5B|5D)/g, decodeURIComponent)}`).join("&");

  const close = () => { if (dialog.open) dialog.close(); };
  const open = async (one, place, call, note) => {
    details ??= await unpack("details");
    const { id, scenario, axes } = cases[one];
    const own = callsOf[one];
    const has = (stack) => own.some((number) => given[stack][number] >= 0);
    place = place !== undefined && has(place) ? place : stacks.findIndex((_, stack) => has(stack));
    $("case-id").textContent = id;
    const command = `errnoscope run -v '${id}'`;
    const copy = make("button", { type: "button" }, "Copy");
    copy.addEventListener("click", async () => {
      try { await navigator.clipboard.writeText(command); copy.textContent = "Copied"; } catch { getSelection().selectAllChildren(copy.previousSibling); }
    });
    const tabs = stacks.map((stack, number) => has(number) && make("button", { type: "button", "data-tab": number, "aria-pressed": String(number === place) }, stack.label)).filter(Boolean);
    $("case-body").replaceChildren(
      make("p", { class: "command" }, make("code", {}, command), copy), ...(note ? [make("p", { class: "note" }, note)] : []),
      make("div", { class: "tabs", role: "group", "aria-label": "Stacks" }, ...tabs),
      ...own.flatMap((number) => answered(number, place)),
    );
    dialog.dataset.case = one;
    if (!dialog.open) { dialog.showModal(); $("case-id").focus(); }
    const target = call !== undefined && document.getElementById(`call-${call}`);
    if (target && own.length > 1 && own[0] !== call) target.scrollIntoView();
  };

  const list = (pairs) => make("dl", {}, ...pairs.flatMap(([name, ...texts]) => texts.length ? [make("dt", {}, name), make("dd", {}, ...texts)] : []));
  const lines = (numbers) => numbers.flatMap((number, place) => place ? [make("br"), details.texts[number]] : [details.texts[number]]);
  const answered = (number, place) => {
    const [, call, port, cause] = calls[number];
    const answer = given[place][number];
    const title = make("h3", { id: `call-${number}` }, `${call}${port === "none" ? "" : `, ${port} port`}`);
    if (answer < 0) return [title, make("p", {}, "Not made here.")];
    const { text, tone, verdict, basis } = answers[answer];
    const mark = make("span", { class: `o ${tone} ${basis}` }, text);
    const elsewhere = details.elsewhere[number].map(([os, said]) => [`${os}, expected`, details.texts[said]]);
    const told = stacks[place].observed ? details.findings[place][number] : null;
    if (!told) {
      const own = elsewhere.filter(([name]) => name.startsWith(`${stacks[place].os},`));
      return [title, list([["expected", mark, basis === "xnu-run" ? " not observed on a Mac; XNU's own code gave it, run on Linux" : " not observed"], ["cause", cause], ...own.map(([, said]) => ["because", said])])];
    }
    const outcome = details.texts[told.outcome];
    const text_of = (numbers) => numbers.length ? lines(numbers) : [];
    const parts = [title, list([
      ["observed", mark, outcome.startsWith(text) ? outcome.slice(text.length) : ` ${outcome}`], ["verdict", verdict], ["reason", ...(told.reason === undefined ? [] : [details.texts[told.reason]])],
      ["repeated", ...(told.repeated === undefined ? [] : [details.texts[told.repeated]])], ["cause", cause],
      ["expected", ...text_of(told.expected)], ...elsewhere,
      ...told.witness.map((witness) => ["witness", ...lines(witness)]),
    ])];
    const [trail, length] = told.trail;
    const steps = details.trails[place][trail];
    if (length) {
      const rows = Array.from({ length }, (_, step) => make("tr", {}, make("td", { class: "number" }, String(step + 1)),
        make("td", { class: "number" }, (steps[3 * step + 2] / 10).toFixed(1)), make("td", {}, details.texts[steps[3 * step + 1]]), make("td", {}, details.texts[steps[3 * step]])));
      const head = make("tr", {}, ...["#", "µs", "outcome", "op"].map((name, column) => make("th", { scope: "col", class: column < 2 && "number" }, name)));
      parts.push(make("div", { class: "wide", tabindex: "0", role: "region", "aria-label": "Trail" }, make("table", { class: "trail" }, make("caption", {}, "trail"), make("thead", {}, head), make("tbody", {}, ...rows))));
    }
    return parts;
  };

  // The part behind # is what is shown: a case, or filters. Any other is a place in the page.
  const follow = async () => {
    const text = location.hash.slice(1);
    const plain = decoded(text);
    const parts = new URLSearchParams(text);
    const id = numbers.has(plain) ? plain : parts.get("case");
    if (id !== null) {
      if (!numbers.has(id)) { close(); status.textContent = `No case is called ${id}.`; $("explore").scrollIntoView(); return; }
      const stack = parts.get("stack");
      const place = places.find((place) => [stacks[place].label, stacks[place].label.replace(/[*\u2020]$/, ""), stacks[place].os].includes(stack));
      const note = stack && place === undefined ? `No stack here is called ${stack}.` : "";
      await open(numbers.get(id), place, Number(parts.get("at") ?? NaN) || undefined, note);
      return;
    }
    close();
    const place = document.getElementById(plain);
    if (place?.matches("details")) { place.open = true; place.scrollIntoView(); return; }
    if (!text || ![...parts.keys()].some((name) => name in form.elements)) return;
    const unknown = [];
    for (const field of form.elements) {
      if (!field.name) continue;
      const all = parts.getAll(field.name), value = all.at(-1) ?? "";
      if (field.type === "checkbox") field.checked = value === field.value;
      else if (field.multiple) for (const option of field.options) option.selected = all.includes(option.value);
      else field.value = value;
      if (field.options) unknown.push(...all.filter((one) => one && ![...field.options].some((option) => option.value === one)).map((one) => `${field.name} ${one}`));
    }
    filter();
    if (unknown.length) status.textContent = `There is no ${unknown.join(", no ")} here: not filtered by it. ${status.textContent}`;
    $("explore").scrollIntoView();
    status.focus({ preventScroll: true });
  };
  let before = "";

  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("input", filter);
  form.addEventListener("change", () => history.replaceState(null, "", `#${fragment(values()) || "explore"}`));
  form.addEventListener("reset", () => setTimeout(() => { filter(); history.replaceState(null, "", "#explore"); }));
  more.addEventListener("click", () => {
    const first = showing;
    showing += PAGE;
    draw();
    found.querySelectorAll("tr.call")[first]?.querySelector("button")?.focus();
  });
  found.addEventListener("click", (event) => {
    const button = event.target.closest("button[data-call]");
    if (!button) return;
    const call = Number(button.dataset.call), place = Number(button.dataset.stack);
    location.hash = fragment({ case: cases[calls[call][CASE]].id, stack: stacks[place].label, at: String(call) });
  });
  addEventListener("hashchange", (event) => { before = new URL(event.oldURL).hash; follow(); });
  $("close").addEventListener("click", close);
  dialog.addEventListener("click", (event) => {
    const tab = event.target.closest("[data-tab]");
    if (tab) {
      const place = Number(tab.dataset.tab);
      open(Number(dialog.dataset.case), place).then(() => dialog.querySelector(`[data-tab="${place}"]`).focus());
    }
    if (event.target === dialog) close();
  });
  // Closing goes back to what was shown before, so that the address never names a case that is not open.
  dialog.addEventListener("close", () => {
    const parts = new URLSearchParams(location.hash.slice(1));
    if (parts.get("case") !== null || numbers.has(decoded(location.hash.slice(1)))) {
      history.replaceState(null, "", before.includes("case=") || !before ? "#explore" : before);
    }
  });

  form.hidden = false;
  filter();
  await follow();
  document.documentElement.dataset.ready = "yes";
})();
