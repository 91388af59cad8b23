// Timeline: lanes of one result under those of another, on one clock. A canvas, as there may be 100,000s of
// operations: those of the part shown are found by halving, those narrower than a pixel become a share of it.

import { cleared } from "../../front/canvas.js";
import { clamp, el } from "../../front/dom.js";
import { widget } from "../../front/host.js";
import {
  figure,
  percent,
  roundStep,
  sizeWords,
  timeWords,
  workFills,
  workLegend
} from "../../front/operations.js";
import { halve, Run } from "./timeline_data.js";

const LEFT = 62; // before the lanes: their names
const LANE = 19;
const BAR = 15;
const TITLE = 22;
const AXIS_HIGH = 20;
const WAITS = 11;

function build(host) {
  const { data } = host;
  const tick = data.tick_s;
  const tickUs = 1e6 * tick;
  const runs = Object.keys(data.results)
    .sort()
    .map((i) => new Run(data.results[i]));
  const rows = data.lanes.length + 1;
  const high = TITLE + rows * LANE;
  const [fromUs, toUs] = [1e6 * data.from_s, 1e6 * data.to_s];
  const laneWords = data.lanes.map((lane) => host.text(`lanes.${lane}`));
  const kindWords = (kind) => host.text(`lanes.kind_${kind}`);
  const long = (ticks) => timeWords(Math.max(0, ticks * tick));
  const clock = (ticks) => `${((ticks * tickUs) / 1e3).toFixed(2)} ms`;

  // -- what is shown, in microseconds of the first result's clock ---------------------------------------------
  const get = (name) => host.model.get(name);
  const most = Math.max(1, Math.ceil(toUs - fromUs));
  /** How much later a result is drawn earlier, so that its window begins where the first one's does. */
  function shift(state, i) {
    const [own, first] = [runs[i].window(state.step), runs[0].window(state.step)];
    return state.align === "window" && own && first ? own[0] - first[0] : 0;
  }
  function show(startUs, spanUs) {
    const span = clamp(Math.round(spanUs), 1, Math.max(1, get("_limits").span_us[1]));
    host.set({ span_us: span, start_us: clamp(Math.round(startUs), 0, get("_limits").start_us[1]) });
  }
  function zoom(by, at = 0.5) {
    const span = clamp(get("span_us") * by, 5, most);
    show(Math.max(fromUs, get("start_us") + at * (get("span_us") - span)), span);
  }
  const pan = (part) =>
    show(clamp(get("start_us") + part * get("span_us"), fromUs, toUs - get("span_us") / 2), get("span_us"));
  const showAll = () => show(fromUs, most);
  function showWindow() {
    const window = runs[0].window(get("step")) ?? runs.map((run) => run.window(get("step"))).find(Boolean);
    const span = Math.max(5, (window[1] - window[0]) * tickUs);
    show(window[0] * tickUs - 0.05 * span, 1.1 * span);
  }
  /** A new window is brought into sight, if it is out of it. */
  let followed = null;
  function follow(state) {
    if (followed === null || followed === state.step) {
      followed = state.step;
      return;
    }
    followed = state.step;
    const band = runs.map((run, i) => [run.window(state.step), shift(state, i)]).find(([window]) => window);
    const [begin, end] = band[0].map((time) => (time - band[1]) * tickUs);
    const reach = state.start_us + state.span_us;
    if (
      begin >= state.start_us &&
      (end <= reach || (end - begin > state.span_us && begin < reach - state.span_us / 2))
    )
      return;
    show(clamp(begin - 0.1 * state.span_us, 0, toUs), state.span_us);
  }

  // -- the canvas ---------------------------------------------------------------------------------------------
  const canvas = el("canvas", {
    tabindex: "0",
    role: "application",
    "aria-label": host.text("timeline.label")
  });
  const words = el("p", { class: "ms-hint" });
  const legend = el("div", { class: "ms-legend" });
  const heads = el("div", { class: "ms-runs" });
  let scale = 1; // pixels a tick
  let first = 0; // tick at the left edge
  /** A run by the clock, in which a gap between lanes need not be waiting. */
  const live = (run) => run.about.label === "measured";
  const place = (time, moved) => LEFT + (time - moved - first) * scale;

  function drawLane(ctx, run, lane, top, fills, wide, moved) {
    const [begin, end] = [first + moved, first + moved + (wide - LEFT) / scale];
    const share = new Float32Array(Math.ceil(wide) + 1);
    const narrow = new Int32Array(share.length); // the last operation of each column
    for (let i = run.after(lane, begin), last = run.from[lane + 1]; i < last && run.begin[i] < end; i++) {
      const x = place(run.begin[i], moved);
      const width = run.length[i] * scale;
      if (width >= 1.5) {
        const left = Math.max(LEFT, x);
        const right = Math.min(wide, x + width);
        const kind = data.labels[run.what[i]][1];
        // A gap between two that follow each other, where there is room for one.
        ctx.fillStyle = width < 6 ? fills[kind].colour : fills[kind].pattern;
        ctx.fillRect(left, top, Math.max(1, right - left - (width > 4 ? 0.7 : 0)), BAR);
      } else {
        const column = Math.max(LEFT, Math.floor(x));
        share[column] += width;
        narrow[column] = i;
      }
    }
    for (let column = LEFT; column < share.length; column++) {
      if (!share[column]) continue;
      const tall = Math.max(2, Math.min(1, share[column]) * BAR);
      ctx.fillStyle = fills[data.labels[run.what[narrow[column]]][1]].colour;
      ctx.fillRect(column, top + BAR - tall, 1, tall);
    }
  }

  function drawWaits(ctx, run, top, fills, wide, moved) {
    const [begin, end] = [first + moved, first + moved + (wide - LEFT) / scale];
    const n = run.wait_begin.length;
    for (
      let i = halve(0, n, (j) => run.wait_begin[j] + run.wait_length[j] > begin);
      i < n && run.wait_begin[i] < end;
      i++
    ) {
      const left = Math.max(LEFT, place(run.wait_begin[i], moved));
      const right = Math.min(wide, place(run.wait_begin[i] + run.wait_length[i], moved));
      ctx.fillStyle =
        fills[run.wait_is_copy[i] ? (live(run) ? "dense" : "copy") : "cpu"][
          right - left < 6 ? "colour" : "pattern"
        ];
      // Waiting for a copy stands taller: seen without its pattern.
      const tall = run.wait_is_copy[i] ? WAITS : WAITS / 2;
      ctx.fillRect(left, top + WAITS - tall, Math.max(0.5, right - left), tall);
    }
  }

  /** All operations of the part shown, on a canvas of their own: it holds while only the window changes. */
  const layer = el("canvas");
  let layered = "";
  function drawnLanes(state, style, wide) {
    const shifts = runs.map((_, number) => shift(state, number));
    const key = [
      first,
      scale,
      wide,
      window.devicePixelRatio,
      style.color,
      style.backgroundColor,
      ...shifts
    ].join();
    if (key === layered) return layer;
    layered = key;
    const ctx = cleared(layer, AXIS_HIGH + high * runs.length, wide);
    const fills = workFills(ctx, style);
    runs.forEach((run, number) => {
      const top = AXIS_HIGH + number * high + TITLE;
      for (let lane = 0; lane < data.lanes.length; lane++) {
        drawLane(ctx, run, lane, top + lane * LANE, fills, wide, shifts[number]);
      }
      drawWaits(ctx, run, top + data.lanes.length * LANE, fills, wide, shifts[number]);
    });
    return layer;
  }

  function drawAxis(ctx, wide, style) {
    const step = roundStep((90 / scale) * tickUs);
    const [begin, end] = [first * tickUs, (first + (wide - LEFT) / scale) * tickUs];
    ctx.textAlign = "center";
    ctx.textBaseline = "middle";
    for (let time = Math.ceil(begin / step) * step; time <= end; time += step) {
      const x = LEFT + (time / tickUs - first) * scale;
      ctx.globalAlpha = 0.18;
      ctx.fillRect(x, AXIS_HIGH - 4, 1, high * runs.length + 4);
      ctx.globalAlpha = 1;
      const decimals = Math.max(0, -Math.floor(Math.log10(step / 1e3) + 1e-9));
      if (x > LEFT + 24 && x < wide - 24)
        ctx.fillText(`${(time / 1e3).toFixed(decimals)} ms`, x, AXIS_HIGH / 2);
    }
    ctx.font = `11px ${style.fontFamily}`;
  }

  function drawBands(ctx, state, run, top, wide, moved) {
    const [begin, end] = [first + moved, first + moved + (wide - LEFT) / scale];
    for (
      let i = halve(0, run.count, (j) => run.windows[2 * j + 1] > begin);
      i < run.count && run.windows[2 * i] < end;
      i++
    ) {
      const left = clamp(place(run.windows[2 * i], moved), LEFT, wide);
      const right = clamp(place(run.windows[2 * i + 1], moved), LEFT, wide);
      if (i === state.step) {
        ctx.globalAlpha = 0.12;
        ctx.fillRect(left, top, right - left, rows * LANE);
        ctx.globalAlpha = 1;
        ctx.fillRect(left, top - 3, Math.max(2, right - left), 3);
        if (right - left > 60)
          ctx.fillText(host.text("timeline.window", { n: i }), (left + right) / 2, top - 11);
      } else if (right - left > 5) {
        ctx.globalAlpha = 0.35;
        ctx.fillRect(left, top - 2, 1, 5);
        ctx.globalAlpha = 1;
      }
    }
  }

  function drawChosen(ctx, state, style) {
    const chosen = operation(state);
    if (!chosen) return;
    const { run, number, lane, i } = chosen;
    const moved = shift(state, number);
    const left = place(run.begin[i], moved);
    const width = Math.max(3, run.length[i] * scale);
    const top = AXIS_HIGH + number * high + TITLE + lane * LANE;
    for (const [colour, line] of [
      [style.backgroundColor, 5],
      [style.color, 2.5]
    ]) {
      ctx.strokeStyle = colour;
      ctx.lineWidth = line;
      ctx.strokeRect(left - 1.5, top - 0.5, width + 3, BAR + 1);
    }
  }

  // -- one operation ------------------------------------------------------------------------------------------
  function operation({ row, op }) {
    if (row < 0 || op < 0) return null;
    const number = Math.floor(row / data.lanes.length);
    const lane = row % data.lanes.length;
    const run = runs[number];
    const i = run.from[lane] + op;
    return i < run.from[lane + 1] ? { run, number, lane, i } : null;
  }
  function said({ run, lane, i }) {
    const [label, kind] = data.labels[run.what[i]];
    const size = data.sizes[run.size[i]];
    return host.text(size ? "timeline.operation_size" : "timeline.operation", {
      lane: laneWords[lane],
      label,
      kind: kindWords(kind),
      size: sizeWords(size),
      from: clock(run.begin[i]),
      length: long(run.length[i]),
      result: run.name
    });
  }
  /** What is under the pointer: an operation, or a lane that idles. */
  function under(event) {
    const y = event.offsetY - AXIS_HIGH;
    const number = Math.floor(y / high);
    const lane = Math.floor((y - number * high - TITLE) / LANE);
    const x = event.offsetX;
    if (x < LEFT || number < 0 || number >= runs.length || lane < 0 || lane >= rows) return null;
    const run = runs[number];
    const time = first + (x - LEFT) / scale + shift(host.state(), number);
    if (lane === data.lanes.length) return { run, number, lane, time, i: -1 };
    const i = run.after(lane, time - 1 / scale);
    const hit = i < run.from[lane + 1] && run.begin[i] <= time + 1 / scale;
    return { run, number, lane, time, i: hit ? i : -1 };
  }
  function hint(spot) {
    if (!spot) return "";
    if (spot.i >= 0) return said(spot);
    if (spot.lane < data.lanes.length)
      return host.text("timeline.idle", {
        lane: laneWords[spot.lane],
        result: spot.run.name,
        at: clock(spot.time)
      });
    const now = spot.run.waited(spot.time, spot.time + 1);
    return host.text(
      now.copy
        ? live(spot.run)
          ? "timeline.waits_none_known"
          : "timeline.waits_copy"
        : now.cpu
          ? "timeline.waits_cpu"
          : "timeline.waits_none",
      { result: spot.run.name, at: clock(spot.time) }
    );
  }
  function choose(number, lane, i) {
    const run = runs[number];
    host.set({ row: number * data.lanes.length + lane, op: i - run.from[lane] });
    const moved = shift(host.state(), number);
    const [begin, end] = [(run.begin[i] - moved) * tickUs, (run.begin[i] + run.length[i] - moved) * tickUs];
    const [start, span] = [get("start_us"), get("span_us")];
    if (begin < start || end > start + span) show(Math.max(0, (begin + end) / 2 - span / 2), span);
  }
  /** The chosen operation's neighbour in its lane, or in the next lane the one at about that time. */
  function walk(along, down) {
    const state = host.state();
    const now = operation(state);
    if (!now) {
      for (let row = 0; row < runs.length * data.lanes.length; row++) {
        const [number, lane] = [Math.floor(row / data.lanes.length), row % data.lanes.length];
        const i = runs[number].after(lane, state.start_us / tickUs + shift(state, number));
        if (i < runs[number].from[lane + 1]) return choose(number, lane, i);
      }
      return undefined;
    }
    const { run, number, lane, i } = now;
    if (along) return choose(number, lane, clamp(i + along, run.from[lane], run.from[lane + 1] - 1));
    const time = run.begin[i] - shift(state, number);
    for (
      let row = number * data.lanes.length + lane + down;
      row >= 0 && row < runs.length * data.lanes.length;
      row += down
    ) {
      const [other, below] = [runs[Math.floor(row / data.lanes.length)], row % data.lanes.length];
      if (other.from[below] === other.from[below + 1]) continue;
      const at = other.after(below, time + shift(state, runs.indexOf(other)));
      return choose(runs.indexOf(other), below, Math.min(at, other.from[below + 1] - 1));
    }
    return undefined;
  }

  // -- pointer and keys ---------------------------------------------------------------------------------------
  let drag = null;
  host.listen(canvas, "pointerdown", (event) => {
    drag = { x: event.offsetX, start: get("start_us"), moved: false };
    canvas.setPointerCapture(event.pointerId);
  });
  host.listen(canvas, "pointermove", (event) => {
    words.textContent = hint(under(event));
    if (!drag) return;
    const by = event.offsetX - drag.x;
    if (!drag.moved && Math.abs(by) < 4) return;
    drag.moved = true;
    show(clamp(drag.start - (by / scale) * tickUs, 0, toUs - get("span_us") / 2), get("span_us"));
  });
  host.listen(canvas, "pointerup", (event) => {
    const spot = !drag?.moved && under(event);
    drag = null;
    if (!spot) return;
    if (spot.i >= 0) choose(spot.number, spot.lane, spot.i);
    const step = halve(0, spot.run.count, (j) => spot.run.windows[2 * j + 1] > spot.time);
    if (step < spot.run.count && spot.run.windows[2 * step] <= spot.time) host.set({ step });
  });
  host.listen(canvas, "pointercancel", () => {
    drag = null;
  });
  host.listen(canvas, "pointerleave", () => {
    words.textContent = "";
  });
  // The page scrolls as ever: zooming takes Ctrl, or ⌘, as in a map.
  const wheel = (event) =>
    host.guard(() => {
      const wide = canvas.clientWidth;
      if (event.ctrlKey || event.metaKey)
        zoom(1.0025 ** event.deltaY, clamp((event.offsetX - LEFT) / (wide - LEFT), 0, 1));
      else if (event.shiftKey || Math.abs(event.deltaX) > Math.abs(event.deltaY))
        pan((event.deltaX || event.deltaY) / wide);
      else return;
      event.preventDefault();
    });
  canvas.addEventListener("wheel", wheel, { passive: false });
  host.closers.push(() => canvas.removeEventListener("wheel", wheel));
  host.listen(canvas, "keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const by = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
    if (!by) return;
    event.preventDefault();
    if (event.shiftKey && by[0]) pan(by[0] / 4);
    else walk(...by);
  });

  // -- Perfetto -----------------------------------------------------------------------------------------------
  function chromeTrace() {
    const traceEvents = [];
    runs.forEach((run, number) => {
      const pid = number + 1;
      traceEvents.push({
        name: "process_name",
        ph: "M",
        pid,
        args: { name: `${run.about.label}: ${run.name}` }
      });
      data.lanes.forEach((lane, tid) => {
        traceEvents.push({ name: "thread_name", ph: "M", pid, tid, args: { name: lane } });
        traceEvents.push({ name: "thread_sort_index", ph: "M", pid, tid, args: { sort_index: tid } });
        for (let i = run.from[tid]; i < run.from[tid + 1]; i++) {
          traceEvents.push({
            name: data.labels[run.what[i]][0],
            cat: lane,
            ph: "X",
            pid,
            tid,
            ts: run.begin[i] * tickUs,
            dur: run.length[i] * tickUs,
            args: { size_bytes: data.sizes[run.size[i]] }
          });
        }
      });
    });
    return { traceEvents, displayTimeUnit: "ms" };
  }
  function save() {
    const url = URL.createObjectURL(new Blob([JSON.stringify(chromeTrace())], { type: "application/json" }));
    const link = el("a", { href: url, download: "moespac-timeline.json" });
    link.click();
    setTimeout(() => URL.revokeObjectURL(url), 10_000);
    words.textContent = host.text("timeline.saved");
  }

  // -- the frame ----------------------------------------------------------------------------------------------
  const [firstShown, lastShown] = data.windows;
  host.addPlayer(
    Array.from({ length: lastShown - firstShown + 1 }, (_, i) => firstShown + i),
    host.text("timeline.window_noun")
  );
  const align = host.choice(
    "align",
    host.text("timeline.align"),
    ["start", "window"].map((value) => [value, host.text(`timeline.align_${value}`)])
  );
  const press = (key, handler) => host.button(host.text(`timeline.${key}`), handler);
  host.bar.append(
    el(
      "div",
      { class: "ms-row" },
      press("zoom_in", () => zoom(0.5)),
      press("zoom_out", () => zoom(2)),
      press("this_window", showWindow),
      press("all", showAll),
      ...(runs.length > 1 ? [align] : []),
      press("save", save)
    )
  );
  host.body.append(heads, canvas, words, legend);

  function drawHeads() {
    const own = host.text("timeline.own_costs");
    heads.replaceChildren(
      ...runs.map(({ name, about }) =>
        el(
          "p",
          {},
          el("b", {}, name),
          ` ${host.text(about.live ? "timeline.about_run" : "timeline.about", {
            ...about,
            label: host.text(`timeline.${about.label}`),
            machine: about.machine ?? own,
            model: about.model ?? own,
            tps: figure(about.tps),
            hits: percent(about.hit_rate)
          })}`
        )
      )
    );
  }
  drawHeads();
  let drawn = "";
  /** Of each result what its window took, and what of that was waiting. */
  const windows = (state) =>
    runs.flatMap((run) => {
      const window = run.window(state.step);
      return window ? [{ run, window, took: window[1] - window[0], ...run.waited(...window) }] : [];
    });

  return {
    zoom,
    pan,
    showAll,
    showWindow,
    draw(state) {
      follow(state);
      align.show(state.align);
      const style = getComputedStyle(host.root);
      const ctx = cleared(canvas, AXIS_HIGH + high * runs.length);
      const wide = canvas.clientWidth;
      first = state.start_us / tickUs;
      scale = ((wide - LEFT) * tickUs) / state.span_us;
      ctx.font = `11px ${style.fontFamily}`;
      ctx.fillStyle = style.color;
      drawAxis(ctx, wide, style);
      runs.forEach((run, number) => {
        const top = AXIS_HIGH + number * high;
        const moved = shift(state, number);
        ctx.fillStyle = style.color;
        ctx.textBaseline = "middle";
        ctx.textAlign = "center";
        drawBands(ctx, state, run, top + TITLE, wide, moved);
        ctx.textAlign = "left";
        ctx.font = `600 11px ${style.fontFamily}`;
        ctx.fillText(run.name, 2, top + TITLE - 11);
        ctx.font = `11px ${style.fontFamily}`;
        [...laneWords, host.text("lanes.waits")].forEach((name, lane) => {
          ctx.fillText(name, 2, top + TITLE + lane * LANE + BAR / 2);
        });
      });
      ctx.drawImage(drawnLanes(state, style, wide), 0, 0, wide, AXIS_HIGH + high * runs.length);
      drawChosen(ctx, state, style);
      const chosen = operation(state);
      if (!canvas.matches(":hover"))
        words.textContent = chosen ? said(chosen) : host.text("timeline.nothing");
      const theme = style.color + style.backgroundColor;
      if (drawn === theme) return;
      drawn = theme;
      legend.replaceChildren(
        ...workLegend(
          style,
          ["draft", "plan", "dense", "experts", "cpu", "copy"].map((kind) => [kind, kindWords(kind)])
        ),
        el("span", {}, host.text("timeline.legend_waits")),
        ...(runs.some(live) ? [el("span", {}, host.text("timeline.legend_live"))] : [])
      );
    },
    sentence(state) {
      const each = windows(state).map(({ run, took, copy, cpu }) =>
        host.text(live(run) ? "timeline.took_live" : "timeline.took", {
          result: run.name,
          label: host.text(`timeline.${run.about.label}`),
          took: long(took),
          copy: long(copy),
          cpu: long(cpu)
        })
      );
      const chosen = operation(state);
      return [
        host.text("timeline.sentence", { n: state.step, each: each.join("; ") }),
        ...(chosen ? [said(chosen)] : [])
      ].join(" ");
    },
    origin: () =>
      ["modelled", "measured"]
        .map((label) => [label, runs.filter((run) => run.about.label === label).map((run) => run.name)])
        .filter(([, some]) => some.length)
        .map(([label, some]) => host.text(`timeline.origin_${label}`, { result: some.join(", ") }))
        .join(" "),
    table(state) {
      const shown = [];
      runs.forEach((run, number) => {
        const begin = state.start_us / tickUs + shift(state, number);
        const end = begin + state.span_us / tickUs;
        data.lanes.forEach((_, lane) => {
          for (let i = run.after(lane, begin); i < run.from[lane + 1] && run.begin[i] < end; i++) {
            const ms = (ticks) => (ticks * tickUs) / 1e3;
            shown.push([
              run.name,
              laneWords[lane],
              data.labels[run.what[i]][0],
              ms(run.begin[i]).toFixed(3),
              ms(run.length[i]).toFixed(3),
              data.sizes[run.size[i]]
            ]);
          }
        });
      });
      return {
        columns: ["result", "lane", "what", "from", "length", "bytes"].map((name) =>
          host.text(`timeline.column_${name}`)
        ),
        rows: shown
      };
    }
  };
}

export default widget({
  name: "timeline",
  build,
  help: ["timeline.help"],
  keys: {
    "+": (host) => host.view.zoom(0.5),
    "=": (host) => host.view.zoom(0.5),
    "-": (host) => host.view.zoom(2),
    0: (host) => host.view.showAll(),
    w: (host) => host.view.showWindow(),
    "[": (host) => host.view.pan(-0.5),
    "]": (host) => host.view.pan(0.5),
    Escape: (host) => host.set({ row: -1, op: -1 })
  }
});
