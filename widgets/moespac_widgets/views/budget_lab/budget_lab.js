// Budget lab: a setting, what it gives, and the curve over all budgets. It draws from replays at a few budgets,
// straight lines between them; where there is a kernel, that replays what is left standing and what is missing.

import { cleared } from "../../front/canvas.js";
import { clamp, el } from "../../front/dom.js";
import { widget } from "../../front/host.js";
import {
  figure,
  percent,
  roundStep,
  sizeWords,
  timeWords,
  workBar,
  workFills,
  workLegend
} from "../../front/operations.js";
import { Dial } from "../../front/slider.js";

const PARTS = [
  ["draft", "draft_s"],
  ["plan", "planning_s"],
  ["dense", "dense_s"],
  ["experts", "experts_s"],
  ["cpu", "cpu_wait_s"],
  ["copy", "link_wait_s"]
];
const SETTING = ["machine", "model", "link", "policy", "gamma", "mistakes"];
const SAID = { "as recorded": "as_recorded", all: "mistakes_all", none: "mistakes_none" }; // values that are words
const REST_MS = 150;
const HIGH = 240;
const EDGE = { left: 48, right: 22, top: 14, bottom: 46 };
const GIB = 2 ** 30;

function build(host) {
  const { data } = host;
  const [least, most] = host.model.get("_limits").budget;
  const live = host.model.get("_kernel");
  const keyOf = (state) => SETTING.map((name) => state[name]).join("|");
  const grid = new Map(
    Object.entries(data.grid).map(([key, points]) => [
      key,
      new Map(Object.entries(points).map(([at, row]) => [Number(at), row]))
    ])
  );
  const named = (row) => ({
    ...Object.fromEntries(data.figures.map((name, i) => [name, row[i]])),
    windows: row.slice(data.figures.length)
  });

  // -- what is known of a budget --------------------------------------------------------------------------------
  function known(state) {
    const points = grid.get(keyOf(state));
    return points ? [...points].sort((a, b) => a[0] - b[0]) : [];
  }
  /** The figures at a budget: replayed, or on the straight line between two replays; null where neither is. */
  function at(state, budget) {
    const points = known(state);
    const own = points.find(([place]) => place === budget);
    if (own) return { ...named(own[1]), exact: true };
    const above = points.findIndex(([place]) => place > budget);
    if (above <= 0) return null;
    const [[low, below], [high, over]] = [points[above - 1], points[above]];
    const part = (budget - low) / (high - low);
    return { ...named(below.map((value, i) => value + part * (over[i] - value))), exact: false };
  }
  const fitOf = (state) =>
    data.fits[`${state.machine}|${state.model}|${state.gamma === "0" ? "plain" : "draft"}`];

  // -- the kernel fills in what is missing ------------------------------------------------------------------------
  const failed = new Set();
  let timer;
  let asking = false;
  /** What to replay next: the budget left standing, its curve, the one beside it, those of the next draft lengths. */
  function missing(state) {
    const gammas = host.model.get("_limits").gamma;
    const place = gammas.indexOf(state.gamma);
    const after = [gammas[place - 1], gammas[place + 1]]
      .filter(Boolean)
      .map((gamma) => ({ ...state, gamma }));
    if (state.beside !== "none") after.unshift({ ...state, policy: state.beside });
    const near = [...data.points].sort((a, b) => Math.abs(a - state.budget) - Math.abs(b - state.budget));
    for (const [setting, budgets] of [
      [state, [state.budget, ...near]],
      ...after.map((each) => [each, near])
    ]) {
      const key = keyOf(setting);
      const budget = budgets.find((each) => !grid.get(key)?.has(each) && !failed.has(`${key} ${each}`));
      if (budget !== undefined) return { key, budget };
    }
    return null;
  }
  function fill() {
    if (asking || host.closed) return;
    const next = missing(host.state());
    if (!next) return;
    asking = true;
    host
      .ask("replays", { key: next.key, budgets: [next.budget] })
      .then((found) => {
        if (!grid.has(next.key)) grid.set(next.key, new Map());
        for (const [budget, row] of Object.entries(found)) grid.get(next.key).set(Number(budget), row);
        host.frame();
      })
      .catch((problem) => {
        failed.add(`${next.key} ${next.budget}`);
        host.say(problem);
      })
      .finally(() => {
        asking = false;
        fill();
      });
  }
  function atRest() {
    if (!live) return;
    clearTimeout(timer);
    timer = setTimeout(fill, REST_MS);
  }
  host.closers.push(() => clearTimeout(timer));

  // -- controls ---------------------------------------------------------------------------------------------------
  const words = (value) => (SAID[value] ? host.text(`lab.${SAID[value]}`) : value);
  const choices = Object.fromEntries(
    ["policy", "machine", "model", "link", "gamma", "mistakes"].map((name) => [
      name,
      host.choice(
        name,
        host.text(`lab.${name}`),
        host.model.get("_limits")[name].map((value) => [value, words(value)])
      )
    ])
  );
  choices.beside = host.choice(
    "beside",
    host.text("lab.beside"),
    host.model.get("_limits").beside.map((value) => [value, value === "none" ? host.text("lab.none") : value])
  );
  const fits = host.button(host.text("lab.what_fits"), () =>
    host.set({ budget: clamp(Math.floor(100 * fitOf(host.state()).share), least, most) })
  );
  const budgets = Array.from({ length: most - least + 1 }, (_, i) => least + i);
  const dial = new Dial(host, "budget", host.text("lab.budget"), budgets, (budget) =>
    room(host.state(), budget)
  );
  const guessFirst = el("input", { type: "checkbox" });
  host.listen(guessFirst, "change", () => host.set({ ask: guessFirst.checked ? "guess" : "show", guess: 0 }));
  host.bar.append(
    el(
      "div",
      { class: "ms-row" },
      ...Object.values(choices),
      el("label", {}, guessFirst, ` ${host.text("lab.guess_first")}`)
    ),
    el("div", { class: "ms-row ms-budget" }, dial.element, fits)
  );

  const guess = el("input", {
    type: "number",
    min: "1",
    step: "1",
    "aria-label": host.text("lab.your_guess")
  });
  const commit = () => {
    const value = Math.round(Number(guess.value));
    if (!(value >= 1 && value <= 1e6)) throw new Error(host.text("lab.bad_guess", { value: guess.value }));
    host.set({ guess: value });
  };
  host.listen(guess, "keydown", (event) => {
    if (event.key === "Enter") commit();
  });
  const form = el(
    "div",
    { class: "ms-row ms-guess" },
    el("label", {}, `${host.text("lab.your_guess")} `, guess),
    host.button(host.text("lab.commit"), commit)
  );
  const hidden = (state) => state.ask === "guess" && !state.guess;

  function room(state, budget) {
    const { all_experts: all, expert_bytes: each } = fitOf(state);
    return host.text("lab.room", { budget, gib: figure(((budget / 100) * all * each) / GIB) });
  }
  /** Without a kernel what was not replayed beforehand cannot be chosen. */
  function offer(state) {
    for (const [name, choice] of Object.entries(choices)) {
      choice.show(state[name]);
      if (live) continue;
      for (const option of choice.querySelectorAll("option")) {
        const then =
          name === "beside" ? { ...state, policy: option.value } : { ...state, [name]: option.value };
        option.disabled = option.value !== "none" && !grid.has(keyOf(then));
      }
    }
  }
  /** Another setting asks for another guess. */
  let before = null;
  function renew(state) {
    const now = { key: `${keyOf(state)} ${state.budget}`, guess: state.guess };
    const stale = before && now.key !== before.key && now.guess === before.guess && now.guess;
    before = { ...now, cleared: before?.cleared }; // once: a guess that is being typed stays
    if (stale && state.ask === "guess") host.set({ guess: 0 });
  }

  // -- parts ------------------------------------------------------------------------------------------------------
  const answer = el("p", { class: "ms-answer" });
  const canvas = el("canvas", { "aria-hidden": "true" });
  const under = el("p", { class: "ms-hint" });
  const list = el("table", {});
  const time = el("div", {});
  const memory = el("div", {});
  const about = el("p", { class: "ms-hint" });
  const caption = (key) => el("p", { class: "ms-caption" }, host.text(key));
  host.body.append(
    form,
    el(
      "div",
      { class: "ms-columns" },
      el("div", {}, caption("lab.curve"), canvas, under),
      el("div", {}, answer, list)
    ),
    caption("lab.time"),
    time,
    caption("lab.memory"),
    memory,
    about
  );
  const budgetAt = (event) =>
    clamp(
      Math.round((100 * (event.offsetX - EDGE.left)) / (canvas.clientWidth - EDGE.left - EDGE.right)),
      least,
      most
    );
  let dragging = false;
  host.listen(canvas, "pointerdown", (event) => {
    dragging = true;
    canvas.setPointerCapture(event.pointerId);
    host.set({ budget: budgetAt(event) });
  });
  host.listen(canvas, "pointermove", (event) => {
    if (dragging) host.set({ budget: budgetAt(event) });
    const state = host.state();
    const there = hidden(state) ? null : at(state, budgetAt(event));
    under.textContent = there
      ? host.text("lab.point", {
          room: room(state, budgetAt(event)),
          tps: figure(there.tps_modelled),
          how: how(there)
        })
      : "";
  });
  for (const type of ["pointerup", "pointercancel"])
    host.listen(canvas, type, () => {
      dragging = false;
    });
  host.listen(canvas, "pointerleave", () => {
    under.textContent = "";
  });
  const how = (there) => host.text(there.exact ? "lab.replayed" : live ? "lab.between" : "lab.between_page");

  function drawCurve(state, style) {
    const ctx = cleared(canvas, HIGH);
    const wide = canvas.clientWidth;
    const points = known(state).map(([budget, row]) => [budget, named(row).tps_modelled]);
    const shown = hidden(state) ? [] : points;
    const other =
      hidden(state) || state.beside === "none"
        ? []
        : known({ ...state, policy: state.beside }).map(([budget, row]) => [budget, named(row).tps_modelled]);
    const top = 1.1 * Math.max(1, ...[...shown, ...other].map(([, tps]) => tps), state.guess);
    const x = (budget) => EDGE.left + (budget / 100) * (wide - EDGE.left - EDGE.right);
    const y = (tps) => HIGH - EDGE.bottom - (tps / top) * (HIGH - EDGE.top - EDGE.bottom);
    const floor = HIGH - EDGE.bottom;
    const { share, all_experts: all, expert_bytes: each } = fitOf(state);
    ctx.font = `11px ${style.fontFamily}`;
    ctx.fillStyle = ctx.strokeStyle = style.color;
    ctx.textBaseline = "middle";
    // Beyond what the card holds.
    if (share < 1) {
      ctx.globalAlpha = 0.1;
      ctx.fillRect(x(100 * share), EDGE.top, x(100) - x(100 * share), floor - EDGE.top);
      ctx.globalAlpha = 1;
      ctx.textAlign = share > 0.55 ? "right" : "left";
      ctx.fillText(host.text("lab.beyond"), share > 0.55 ? x(100) - 4 : x(100 * share) + 4, floor - 10);
    }
    ctx.textAlign = "center";
    for (let budget = 0; budget <= 100; budget += 20) ctx.fillText(`${budget} %`, x(budget), floor + 10);
    const gib = (all * each) / GIB;
    const step = roundStep(gib / 6);
    for (let n = 0; n <= gib; n += step)
      ctx.fillText(`${Math.round(1e6 * n) / 1e6} GiB`, x((100 * n) / gib), floor + 24);
    ctx.textAlign = "right";
    const rise = roundStep(top / 5);
    for (let tps = 0; tps <= top; tps += rise) {
      if (!hidden(state)) ctx.fillText(String(Math.round(1e6 * tps) / 1e6), EDGE.left - 6, y(tps));
      ctx.globalAlpha = 0.2;
      ctx.fillRect(EDGE.left, y(tps), wide - EDGE.left - EDGE.right, 1);
      ctx.globalAlpha = 1;
    }
    ctx.textAlign = "left";
    ctx.fillText(host.text("lab.axes"), EDGE.left, HIGH - 8);
    const fills = workFills(ctx, style);
    for (const [line, colour, dashes, name] of [
      [other, fills.cpu.colour, [6, 4], state.beside],
      [shown, fills.experts.colour, [], state.policy]
    ]) {
      ctx.strokeStyle = colour;
      ctx.lineWidth = 2;
      ctx.setLineDash(dashes);
      ctx.beginPath();
      for (const [budget, tps] of line) ctx.lineTo(x(budget), y(tps));
      ctx.stroke();
      ctx.setLineDash([]);
      for (const [budget, tps] of line) ctx.fillRect(x(budget) - 2.5, y(tps) - 2.5, 5, 5);
      if (!other.length || !line.length) continue;
      // The names stand apart: above the upper line's end, below the lower one's.
      const upper = line.at(-1)[1] >= (line === other ? shown : other).at(-1)?.[1];
      const [words, high] = [
        `${dashes.length ? "- -" : "—"} ${name}`,
        y(line.at(-1)[1]) + (upper ? -11 : 14)
      ];
      const long = ctx.measureText(words).width;
      ctx.textAlign = "right";
      ctx.fillStyle = style.backgroundColor;
      ctx.fillRect(x(100) - long - 3, high - 7, long + 6, 14);
      ctx.fillStyle = style.color;
      ctx.fillText(words, x(100), high);
    }
    const now = hidden(state) ? null : at(state, state.budget);
    ctx.fillStyle = ctx.strokeStyle = style.color;
    ctx.globalAlpha = 0.5;
    ctx.fillRect(x(state.budget) - 0.5, EDGE.top, 1, floor - EDGE.top);
    ctx.globalAlpha = 1;
    if (now) {
      for (const [colour, radius] of [
        [style.backgroundColor, 7.5],
        [style.color, 5.5]
      ]) {
        ctx.fillStyle = colour;
        ctx.beginPath();
        ctx.arc(x(state.budget), y(now.tps_modelled), radius, 0, 2 * Math.PI);
        ctx.fill();
      }
    }
    if (state.guess && state.ask === "guess") {
      // a hollow diamond
      ctx.lineWidth = 2.5;
      ctx.beginPath();
      for (let corner = 0; corner < 5; corner++) {
        const angle = (corner - 1) * (Math.PI / 2);
        ctx.lineTo(x(state.budget) + 8 * Math.cos(angle), y(state.guess) + 8 * Math.sin(angle));
      }
      ctx.stroke();
    }
    if (hidden(state)) {
      ctx.textAlign = "center";
      ctx.fillText(host.text("lab.guess_hides"), (EDGE.left + wide) / 2, HIGH / 2 - 20);
    }
  }

  const signed = (tps) => `${tps < 0 ? "−" : "+"}${figure(Math.abs(tps))}`;

  /** Tokens a second of all the model's layers, roughly, as `whole_model_factors` says;
   *  null where the trace has them all. */
  function wholeModel(state, now) {
    const [layers, work] = data.larger[state.model];
    if (layers === 1 && work === 1) return null;
    const [draft, plan, dense, ...others] = PARTS.map(([, name]) => now[name]);
    return now.tokens / (layers * (draft + plan + dense) + work * others.reduce((a, b) => a + b));
  }

  function rows(state, now) {
    const seen = data.drafted[`${state.mistakes}|${state.gamma}`];
    const measured = host.text(state.mistakes === "all" ? "lab.measured" : "lab.modelled");
    const modelled = host.text("lab.modelled");
    const better = state.mistakes === "all" ? "" : " better";
    const made = [];
    if (now) {
      made.push(
        ["tokens a second", figure(now.tps_modelled), modelled],
        ["a token", timeWords(1 / now.tps_modelled), modelled],
        ["hits", percent(now.hit_rate), modelled],
        ["late", percent(now.late_rate), modelled],
        ["bytes", sizeWords(now.bytes_per_token), modelled],
        ["on the cpu", percent(now.cpu_share), modelled]
      );
    }
    made.push([`tokens a window${better}`, figure(seen.tokens_a_window), measured]);
    if (seen.accepted !== null) made.push([`accepted${better}`, percent(seen.accepted), measured]);
    return made.map(([name, ...rest]) => [host.text(`lab.row_${name.replace(/ /g, "_")}`), ...rest]);
  }

  function drawTime(now, style) {
    if (!now) {
      time.replaceChildren(el("p", { class: "ms-hint" }, host.text("lab.not_shown")));
      return;
    }
    const whole = PARTS.reduce((sum, [, name]) => sum + now[name], 0);
    const parts = PARTS.map(([kind, name]) => [kind, now[name] / now.tokens, host.text(`lab.part_${kind}`)]);
    const legend = parts
      .filter(([, seconds]) => seconds > 0)
      .map(([kind, seconds, name]) => [
        kind,
        `${name} ${timeWords(seconds)} (${percent((seconds * now.tokens) / whole)})`
      ]);
    time.replaceChildren(
      workBar(style, parts, whole / now.tokens),
      el("div", { class: "ms-legend" }, ...workLegend(style, legend))
    );
  }

  // -- each window's time, with that of the other views marked --------------------------------------------------
  const strip = el("canvas", { role: "img", "aria-label": host.text("lab.windows") });
  const takes = el("p", { class: "ms-hint" });
  const windowTimes = el("div", {}, caption("lab.windows"), strip, takes);
  time.after(windowTimes);
  host.listen(strip, "click", (event) => {
    go(Math.floor((event.offsetX / strip.clientWidth) * (host.model.get("_limits").step[1] + 1)));
  });
  const go = (step) => {
    if (host.model.get("step") >= 0 && ours(host.state()))
      host.set({ step: clamp(step, 0, host.model.get("_limits").step[1]) });
  };
  const ours = (state) => state.gamma === data.own_gamma && state.mistakes === "all";
  /** The marked window in words; the windows of another draft are not those of the other views. */
  function windowWords(state, now) {
    if (state.step < 0 || !now?.windows.length) return "";
    if (!ours(state)) return host.text("lab.other_windows");
    const [took, mean] = [
      now.windows[state.step],
      now.windows.reduce((sum, ms) => sum + ms, 0) / now.windows.length
    ];
    return host.text("lab.window_takes", {
      n: state.step,
      took: timeWords(took / 1e3),
      mean: timeWords(mean / 1e3)
    });
  }
  function drawWindows(state, now, style) {
    takes.textContent = windowWords(state, now);
    windowTimes.hidden = !takes.textContent;
    if (windowTimes.hidden) return;
    const ctx = cleared(strip, 52);
    const { colour } = workFills(ctx, style).experts;
    const [wide, high] = [strip.clientWidth / now.windows.length, 40 / Math.max(...now.windows)];
    now.windows.forEach((ms, i) => {
      const marked = i === state.step && ours(state);
      ctx.fillStyle = marked ? style.color : colour;
      ctx.fillRect(i * wide, 52 - ms * high, Math.max(1, wide - (wide > 4 ? 1 : 0)), ms * high);
      if (marked) ctx.fillText("▼", clamp(i * wide + wide / 2 - 5, 0, strip.clientWidth - 10), 10);
    });
  }

  function drawMemory(state, style) {
    const plan = fitOf(state);
    const experts = (state.budget / 100) * plan.all_experts * plan.expert_bytes;
    const items = [...Object.entries(plan.taken_bytes), ["experts", experts]];
    const taken = items.reduce((sum, [, bytes]) => sum + bytes, 0);
    const whole = Math.max(taken, plan.memory_bytes);
    const gib = (bytes) => `${figure(bytes / GIB)} GiB`;
    const kinds = {
      reserved: "plan",
      dense: "dense",
      kv_cache: "copy",
      draft: "draft",
      workspace: "cpu",
      experts: "experts"
    };
    const bars = items
      .filter(([, bytes]) => bytes > 0)
      .map(([name, bytes]) => [
        kinds[name],
        bytes / whole,
        `${host.text(`lab.memory_${name}`)} ${gib(bytes)}`
      ]);
    const bar = workBar(style, bars, 1);
    [...bar.children].forEach((piece, i) => {
      piece.title = bars[i][2];
    });
    const over = taken > plan.memory_bytes;
    if (over)
      bar.append(
        el("b", {
          class: "ms-limit",
          style: `left:${(100 * plan.memory_bytes) / whole}%`,
          title: host.text("lab.memory_end")
        })
      );
    const left = over
      ? host.text("lab.over", { gib: gib(taken - plan.memory_bytes), share: percent(plan.share) })
      : host.text("lab.left", { gib: gib(plan.memory_bytes - taken) });
    memory.replaceChildren(
      bar,
      el(
        "div",
        { class: "ms-legend" },
        ...workLegend(
          style,
          bars.map(([kind, , words]) => [kind, words])
        ),
        el("span", {}, left),
        ...(plan.fits_host ? [] : [el("span", {}, host.text("lab.no_host"))])
      )
    );
  }

  return {
    go,
    draw(state) {
      renew(state);
      atRest();
      offer(state);
      dial.draw(state);
      guessFirst.checked = state.ask === "guess";
      form.hidden = state.ask !== "guess";
      if (hidden(state) && before.cleared !== before.key) {
        before.cleared = before.key;
        guess.value = "";
      }
      if (state.guess && document.activeElement !== guess) guess.value = String(state.guess);
      const style = getComputedStyle(host.root);
      const now = hidden(state) ? null : at(state, state.budget);
      const all = now && wholeModel(state, now);
      const beside = all ? [el("div", {}, host.text("lab.whole", { tps: figure(all) }))] : [];
      answer.replaceChildren(
        ...(now
          ? [
              el("b", {}, figure(now.tps_modelled)),
              ` ${host.text("lab.unit")} `,
              el("small", {}, how(now)),
              ...beside
            ]
          : [host.text(hidden(state) ? "lab.guess_hides" : live ? "lab.coming" : "lab.not_in_page")])
      );
      list.replaceChildren(
        ...rows(state, now).map(([name, value, label]) =>
          el(
            "tr",
            {},
            el("th", { scope: "row" }, name),
            el("td", { class: "ms-figure" }, value),
            el("td", {}, el("small", {}, label))
          )
        )
      );
      drawCurve(state, style);
      drawTime(now, style);
      drawWindows(state, now, style);
      drawMemory(state, style);
      about.textContent = host.text("lab.about", {
        policy: state.policy,
        policy_about: data.policies[state.policy],
        accounting: data.accounting,
        machine: state.machine,
        label: data.machines[state.machine].label,
        link: `${figure((data.links[state.link] * data.machines[state.machine].link_bytes_per_s) / 1e9)} GB/s`,
        notes: data.notes[state.model].join("; ") || host.text("lab.same_shape")
      });
      if (host.model.get("_limits").mistakes.length > 1)
        about.textContent += ` ${host.text("lab.better_draft")}`;
    },
    sentence(state) {
      const better =
        state.mistakes === "all" ? "" : host.text("lab.with_mistakes", { left: words(state.mistakes) });
      const where = host.text("lab.where", {
        better,
        ...state,
        gamma: words(state.gamma),
        room: room(state, state.budget)
      });
      if (hidden(state)) return `${where}: ${host.text("lab.guess_hides")}`;
      const now = at(state, state.budget);
      if (!now) return `${where}: ${host.text(live ? "lab.coming" : "lab.not_in_page")}`;
      const whole = PARTS.reduce((sum, [, name]) => sum + now[name], 0);
      const [kind, name] = PARTS.reduce((a, b) => (now[b[1]] > now[a[1]] ? b : a));
      const parts = [
        `${where}: ${host.text("lab.gives", {
          tps: figure(now.tps_modelled),
          hits: percent(now.hit_rate),
          bytes: sizeWords(now.bytes_per_token),
          part: host.text(`lab.part_${kind}`),
          share: percent(now[name] / whole)
        })}`
      ];
      const wholeTps = wholeModel(state, now);
      if (wholeTps !== null)
        parts.push(host.text("lab.whole_sentence", { tps: figure(wholeTps), model: state.model }));
      const { all_experts: all, expert_bytes: each } = fitOf(state);
      const more = Math.round((100 * 2 * GIB) / (all * each));
      const then = more >= 1 && state.budget + more <= most ? at(state, state.budget + more) : null;
      if (then)
        parts.push(
          host.text("lab.more", {
            room: room(state, state.budget + more),
            by: signed(then.tps_modelled - now.tps_modelled)
          })
        );
      const beside = state.beside === "none" ? null : at({ ...state, policy: state.beside }, state.budget);
      if (beside)
        parts.push(
          host.text("lab.beside_gives", {
            beside: state.beside,
            policy: state.policy,
            tps: figure(beside.tps_modelled),
            times: figure(now.tps_modelled / beside.tps_modelled)
          })
        );
      const window = windowWords(state, now);
      if (window) parts.push(window);
      if (state.guess && state.ask === "guess") {
        const off = state.guess / now.tps_modelled - 1;
        parts.unshift(
          host.text(
            Math.abs(off) < 0.005 ? "lab.guess_right" : off > 0 ? "lab.guess_high" : "lab.guess_low",
            { guess: state.guess, off: percent(Math.abs(off)) }
          )
        );
      }
      return parts.join(" ");
    },
    origin: ({ machine }) => host.text("lab.origin", { machine, label: data.machines[machine].label }),
    table(state) {
      const shown = hidden(state) ? [] : known(state);
      const columns = ["budget", "tps", "hits", "bytes", ...PARTS.map(([kind]) => kind)];
      return {
        columns: columns.map((name) =>
          PARTS.some(([kind]) => kind === name)
            ? `${host.text(`lab.part_${name}`)}, ms`
            : host.text(`lab.column_${name}`)
        ),
        rows: shown.map(([budget, row]) => {
          const of = named(row);
          return [
            budget,
            of.tps_modelled,
            100 * of.hit_rate,
            of.bytes_per_token / 1e6,
            ...PARTS.map(([, name]) => (1e3 * of[name]) / of.tokens)
          ];
        })
      };
    }
  };
}

export default widget({
  name: "budget_lab",
  build,
  help: ["lab.help"],
  keys: {
    j: (host) => host.view.go(host.model.get("step") - 1),
    l: (host) => host.view.go(host.model.get("step") + 1)
  }
});
