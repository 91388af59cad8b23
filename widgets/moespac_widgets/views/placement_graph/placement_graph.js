// Placement graph: experts by layer, slots and lanes; who is where, who asks, what moves and why one had to go.

import { cleared } from "../../front/canvas.js";
import { brief, clamp, el, reducedMotion, unpack } from "../../front/dom.js";
import { widget } from "../../front/host.js";
import { Dial } from "../../front/slider.js";
import { Slots } from "./slot_replay.js";

const LANES = ["link", "gpu", "cpu", "draft"];
const [READY, LATE, LOADED, CPU] = [1, 2, 3, 4];
const HIGH = 456;
const EDGE = 8; // above the first layer and below the last
const MOVE_MS = 420;
const DRAWN_MOVES = 600; // more at once are no help to anyone
const DOTTED = 150; // of more lines at once nobody sees the dots, and they take most of a frame's time
const MARKS = ["absent", "resident", "loading", "slot", "awaited", "cpu"];
const [ABSENT, RESIDENT, LOADING, USED, AWAITED, ON_CPU] = MARKS.keys();
const INKS = ["", "--ms-own", "--ms-chosen", "--ms-accepted", "--ms-chosen", "--ms-rejected"];

const unpacked = (packed) =>
  Object.fromEntries(
    Object.entries(packed)
      .filter(([, value]) => value?.bytes)
      .map(([name, value]) => [name, unpack(value)])
  );

/** A cell as its mark: full, half, with a dot, or crossed; shapes say what colours say. */
function drawMark(ctx, kind, x, y, wide, tall, inks, paper) {
  ctx.fillStyle = ctx.strokeStyle = inks[kind];
  if (kind === RESIDENT || kind === USED) ctx.fillRect(x, y, wide, tall);
  if (kind === LOADING || kind === AWAITED) ctx.fillRect(x, y + tall / 2, wide, tall / 2);
  if (kind === USED || kind === AWAITED) {
    const radius = clamp(Math.min(wide, tall) / 4, 1.1, 4);
    ctx.fillStyle = kind === USED ? paper : inks[kind];
    ctx.beginPath();
    ctx.arc(x + wide / 2, y + tall * (kind === USED ? 0.5 : 0.25), radius, 0, 2 * Math.PI);
    ctx.fill();
  }
  if (kind === ON_CPU) {
    ctx.lineWidth = clamp(Math.min(wide, tall) / 5, 1.3, 3);
    ctx.beginPath();
    ctx.moveTo(x, y);
    ctx.lineTo(x + wide, y + tall);
    ctx.moveTo(x + wide, y);
    ctx.lineTo(x, y + tall);
    ctx.stroke();
  }
}

function build(host) {
  const { data } = host;
  const d = unpacked(data);
  const [windows, layers, experts] = d.asked.shape;
  const cells = layers * experts;
  const slots = new Slots(unpacked(data.moves), data.slots, cells);
  const { moves } = slots;
  const split = (key) => ({ layer: Math.floor(key / experts), expert: key % experts });

  // -- the moment -------------------------------------------------------------------------------------------
  let frame = {};
  /** Who is where and who asks, of a step and moment: kinds by key, and what is counted of it. */
  function now({ step, moment }) {
    const until = slots.until(step, moment);
    if (frame.step === step && frame.moment === moment) return frame;
    slots.go(until);
    const asked = d.asked.subarray(step * cells, (step + 1) * cells);
    const kinds = new Uint8Array(cells);
    const counted = { [READY]: 0, [LATE]: 0, [LOADED]: 0, [CPU]: 0 };
    const demand = [];
    for (let key = 0; key < cells; key++) {
      const slot = slots.where[key];
      kinds[key] = slot < 0 ? ABSENT : slots.loading[slot] ? LOADING : RESIDENT;
      const how = asked[key] & 7;
      if (!how || (moment && Math.floor(key / experts) !== moment - 1)) continue;
      kinds[key] = how === READY ? USED : how === CPU ? ON_CPU : AWAITED;
      counted[how]++;
      demand.push(key);
    }
    // What has moved in this moment; of the window as a whole, since the last one's draft stood.
    const since = moment ? slots.until(step, moment - 1) : step ? slots.until(step - 1, 0) : 0;
    let copies = 0;
    let gone = 0;
    for (let i = since; i < until; i++) {
      if (moves.came[i]) continue;
      copies++;
      gone += moves.old[i] >= 0;
    }
    frame = {
      step,
      moment,
      until,
      since,
      kinds,
      asked,
      counted,
      demand,
      copies,
      gone,
      copying: slots.loading.reduce((a, b) => a + b, 0),
      held: slots.owner.reduce((sum, key) => sum + (key >= 0), 0)
    };
    return frame;
  }
  const total = ({ counted }) => counted[READY] + counted[LATE] + counted[LOADED] + counted[CPU];
  const momentWords = (window, moment) =>
    host.text(moment > layers ? "placement.at_end" : moment ? "placement.at_layer" : "placement.at_draft", {
      window,
      layer: moment - 1
    });

  // -- words for one expert ---------------------------------------------------------------------------------
  const score = (value) => brief(value);
  function standing(state, key) {
    const { step } = state;
    const layer = Math.floor(key / experts);
    const values = { score: score(d.scores[step * cells + key]) };
    if (!d.tau)
      return host.text(d.asked[step * cells + key] & 8 ? "placement.wanted" : "placement.unwanted", values);
    const tau = d.tau[step * layers + layer];
    return host.text(d.scores[step * cells + key] >= tau ? "placement.above" : "placement.below", {
      ...values,
      tau: score(tau)
    });
  }
  /** Why an expert is where it is, with the numbers behind it. */
  function why(state) {
    const { until, asked } = now(state);
    const key = state.layer * experts + state.expert;
    const parts = [];
    const came = slots.last("key", key, until);
    const went = slots.last("old", key, until);
    const slot = slots.where[key];
    if (went > came) parts.push(gone(went));
    else if (came < 0) parts.push(host.text("placement.never"));
    if (slot >= 0) {
      const words = slots.loading[slot] ? "placement.is_loading" : "placement.is_resident";
      parts.push(
        host.text(words, {
          slot,
          since: momentWords(moves.window[came], moves.moment[came]),
          score: score(moves.score[came])
        })
      );
      if (went >= 0) parts.push(`${host.text("placement.earlier")} ${gone(went)}`);
    }
    parts.push(standing(state, key));
    const positions = asked[key] >> 4;
    if (positions) parts.push(host.text(`placement.served_${asked[key] & 7}`, { positions }));
    return `${host.text("placement.expert", state)} ${parts.join(" ")}`;
  }
  function gone(i) {
    const by = split(moves.key[i]);
    const values = {
      when: momentWords(moves.window[i], moves.moment[i]),
      slot: moves.slot[i],
      old_score: score(moves.old_score[i]),
      score: score(moves.score[i]),
      by_layer: by.layer,
      by_expert: by.expert
    };
    if (moves.demand[i]) return host.text("placement.gone_demand", values);
    const tau = d.tau?.[moves.window[i] * layers + by.layer];
    return host.text(tau === undefined ? "placement.gone" : "placement.gone_tau", {
      ...values,
      tau: score(tau)
    });
  }

  // -- places on the canvas ---------------------------------------------------------------------------------
  const canvas = el("canvas", {
    tabindex: "0",
    role: "application",
    "aria-label": host.text("placement.canvas")
  });
  const over = el("canvas", { class: "ms-over", "aria-hidden": "true" });
  const hint = el("div", { class: "ms-hint" });
  let wide = 0;
  const down = (part) => EDGE + part * (HIGH - 2 * EDGE);
  const at = (places, i) => [places[2 * i] * wide, down(places[2 * i + 1])];
  const layerTall = (HIGH - 2 * EDGE) / layers;
  const cellWide = () => Math.max(1.5, (d.expert_places[2] - d.expert_places[0] || 0.5) * wide * 0.84);
  const cellTall = () => Math.max(1.5, Math.min(26, layerTall * 0.84));
  const expertAt = (key) => [
    d.expert_places[2 * (key % experts)] * wide,
    down(d.layer_places[2 * Math.floor(key / experts) + 1])
  ];
  const slotAt = (slot) => at(d.slot_places, slot);
  const slotSize = () => {
    const next = d.slot_places.findIndex((y, i) => i % 2 && y !== d.slot_places[1]);
    const row = next < 0 ? 1 : d.slot_places[next] - d.slot_places[1];
    const column =
      data.slots > 1 && d.slot_places[3] === d.slot_places[1] ? d.slot_places[2] - d.slot_places[0] : 0.1;
    return [Math.min(26, column * wide * 0.8), Math.min(26, row * (HIGH - 2 * EDGE) * 0.8)];
  };
  function colours() {
    const style = getComputedStyle(host.root);
    const inks = INKS.map((name) => (name ? style.getPropertyValue(name) : "rgba(128,128,128,0.16)"));
    return { ink: style.color, paper: style.backgroundColor, family: style.fontFamily, inks };
  }
  function outline(ctx, x, y, size, { ink }) {
    ctx.strokeStyle = ink;
    ctx.lineWidth = Math.max(1, size / 14);
    ctx.strokeRect(x + 0.5, y + 0.5, size - 1, size - 1);
  }
  function ring(ctx, x, y, width, height, { ink, paper }) {
    for (const [colour, thick] of [
      [paper, 5],
      [ink, 2.5]
    ]) {
      ctx.strokeStyle = colour;
      ctx.lineWidth = thick;
      ctx.strokeRect(x - width / 2 - 2, y - height / 2 - 2, width + 4, height + 4);
    }
  }

  // -- first view: experts, slots, lanes --------------------------------------------------------------------
  function drawPlacement(ctx, state, seen, theme) {
    const [width, tall] = [cellWide(), cellTall()];
    const { inks, paper, ink } = theme;
    ctx.fillStyle = inks[ABSENT];
    for (let key = 0; key < cells; key++) {
      if (seen.kinds[key] !== ABSENT && seen.kinds[key] !== ON_CPU) continue;
      const [x, y] = expertAt(key);
      ctx.fillRect(x - width / 2, y - tall / 2, width, tall);
    }
    drawEdges(ctx, state, seen, theme);
    for (let key = 0; key < cells; key++) {
      if (seen.kinds[key] === ABSENT) continue;
      const [x, y] = expertAt(key);
      drawMark(ctx, seen.kinds[key], x - width / 2, y - tall / 2, width, tall, inks, paper);
    }
    const [slotWide, slotTall] = slotSize();
    for (let slot = 0; slot < data.slots; slot++) {
      const [x, y] = slotAt(slot);
      const key = slots.owner[slot];
      ctx.fillStyle = inks[ABSENT];
      ctx.fillRect(x - slotWide / 2, y - slotTall / 2, slotWide, slotTall);
      const kind =
        key < 0 ? ABSENT : slots.loading[slot] ? LOADING : seen.kinds[key] === USED ? USED : RESIDENT;
      drawMark(ctx, kind, x - slotWide / 2, y - slotTall / 2, slotWide, slotTall, inks, paper);
    }
    drawLanes(ctx, seen, theme);
    ctx.fillStyle = ink;
    ctx.font = `11px ${theme.family}`;
    ctx.textAlign = "right";
    ctx.textBaseline = "middle";
    const by = Math.ceil(13 / layerTall);
    for (let layer = 0; layer < layers; layer++) {
      const [, y] = at(d.layer_places, layer);
      if (layer === state.moment - 1) ctx.fillText(`▸${layer}`, 0.035 * wide, y);
      else if (layer % by === 0 && (!state.moment || Math.abs(layer - state.moment + 1) >= by))
        ctx.fillText(layer, 0.035 * wide, y);
    }
    if (state.layer >= 0 && state.expert >= 0) {
      const key = state.layer * experts + state.expert;
      const slot = slots.where[key];
      if (slot >= 0) {
        line(ctx, [expertAt(key), slotAt(slot)], ink, 1.5);
        ring(ctx, ...slotAt(slot), slotWide, slotTall, theme);
      }
      ring(ctx, ...expertAt(key), width, tall, theme);
    }
  }
  function line(ctx, points, colour, thick, dash = []) {
    ctx.setLineDash(dash);
    ctx.strokeStyle = colour;
    ctx.lineWidth = thick;
    ctx.beginPath();
    for (const [x, y] of points) ctx.lineTo(x, y);
    ctx.stroke();
    ctx.setLineDash([]);
  }
  /** Demand: expert → slot → GPU lane in one stroke, expert → CPU lane dotted; copies: link → slot dashed. */
  function drawEdges(ctx, state, seen, { inks }) {
    const lane = (name) => at(d.lane_places, LANES.indexOf(name));
    // Of all layers at once the edges are a shade; of the chosen one they are lines.
    const one = !state.moment && state.layer >= 0;
    const some = one ? seen.demand.filter((key) => split(key).layer === state.layer) : seen.demand;
    ctx.globalAlpha = clamp(18 / Math.max(1, some.length), 0.05, 0.75);
    const dots = some.length > DOTTED ? [] : [2, 4];
    for (const key of some) {
      const thick = Math.min(3, 0.5 + 0.4 * (seen.asked[key] >> 4));
      if (seen.kinds[key] === ON_CPU) line(ctx, [expertAt(key), lane("cpu")], inks[ON_CPU], thick, dots);
      else if (slots.where[key] >= 0)
        line(ctx, [expertAt(key), slotAt(slots.where[key]), lane("gpu")], inks[USED], thick);
    }
    ctx.globalAlpha = 0.9;
    slots.loading.forEach((is, slot) => {
      if (is) line(ctx, [lane("link"), slotAt(slot)], inks[LOADING], 1.5, [6, 3]);
    });
    ctx.globalAlpha = 1;
  }
  function drawLanes(ctx, seen, { ink, paper, inks, family }) {
    const { counted } = seen;
    const words = {
      link: host.text("placement.lane_link", { n: seen.copying }),
      gpu: host.text("placement.lane_gpu", { n: total(seen) - counted[CPU] }),
      cpu: host.text("placement.lane_cpu", { n: counted[CPU] }),
      draft: host.text("placement.lane_draft", { n: d.gamma[seen.step] })
    };
    const rims = { link: inks[LOADING], gpu: inks[USED], cpu: inks[ON_CPU], draft: ink };
    const [width, tall] = [0.1 * wide, 44];
    ctx.textAlign = "center";
    ctx.textBaseline = "middle";
    LANES.forEach((name, i) => {
      const [x, y] = at(d.lane_places, i);
      ctx.fillStyle = paper;
      ctx.fillRect(x - width / 2, y - tall / 2, width, tall);
      ctx.strokeStyle = rims[name];
      ctx.lineWidth = 2;
      ctx.strokeRect(x - width / 2, y - tall / 2, width, tall);
      ctx.fillStyle = ink;
      words[name].split("\n").forEach((text, row) => {
        ctx.font = `${row ? "" : "600 "}${row ? 11 : 13}px ${family}`;
        ctx.fillText(text, x, y + (row ? 9 : -9), width - 6);
      });
    });
  }

  // -- second view: who is asked for by the same token ------------------------------------------------------
  const known = new Map(
    Object.entries(data.together).map(([layer, graph]) => [Number(layer), unpacked(graph)])
  );
  const asking = new Set();
  function ties(layer) {
    if (!known.has(layer) && !asking.has(layer)) {
      asking.add(layer);
      host
        .ask("together", { layer })
        .then(
          (graph) => {
            known.set(layer, unpacked(graph));
            host.frame();
          },
          (problem) => host.say(problem)
        )
        .finally(() => asking.delete(layer));
    }
    return known.get(layer);
  }
  const nodeAt = (graph, expert) => [
    (0.02 + 0.94 * graph.pos[2 * expert]) * wide,
    (0.05 + 0.9 * graph.pos[2 * expert + 1]) * HIGH
  ];
  const shownLayer = (state) => Math.max(0, state.moment ? state.moment - 1 : state.layer);
  function drawTogether(ctx, state, seen, theme) {
    const layer = shownLayer(state);
    const graph = ties(layer);
    if (!graph) return;
    const chosen = state.layer === layer ? state.expert : -1;
    const strongest = Math.max(...graph.weights, 1e-9);
    graph.weights.forEach((weight, i) => {
      const [a, b] = [graph.ties[2 * i], graph.ties[2 * i + 1]];
      const own = a === chosen || b === chosen;
      ctx.globalAlpha = own ? 1 : 0.15 + (0.5 * weight) / strongest;
      line(
        ctx,
        [nodeAt(graph, a), nodeAt(graph, b)],
        theme.ink,
        (own ? 1 : 0.4) + (2.6 * weight) / strongest
      );
    });
    ctx.globalAlpha = 1;
    const most = Math.max(...graph.uses, 1);
    ctx.font = `11px ${theme.family}`;
    ctx.textAlign = "left";
    ctx.textBaseline = "middle";
    for (let expert = 0; expert < experts; expert++) {
      const [x, y] = nodeAt(graph, expert);
      const size = 6 + 12 * Math.sqrt(graph.uses[expert] / most);
      ctx.fillStyle = theme.paper;
      ctx.fillRect(x - size / 2 - 1, y - size / 2 - 1, size + 2, size + 2);
      ctx.fillStyle = theme.inks[ABSENT];
      ctx.fillRect(x - size / 2, y - size / 2, size, size);
      if (seen.kinds[layer * experts + expert] === ABSENT)
        outline(ctx, x - size / 2, y - size / 2, size, theme);
      drawMark(
        ctx,
        seen.kinds[layer * experts + expert],
        x - size / 2,
        y - size / 2,
        size,
        size,
        theme.inks,
        theme.paper
      );
      if (expert === chosen) ring(ctx, x, y, size, size, theme);
      ctx.fillStyle = theme.ink;
      ctx.fillText(expert, x + size / 2 + 3, y);
    }
  }
  function companions(layer, expert) {
    const graph = ties(layer);
    if (!graph || expert < 0) return [];
    return Array.from(graph.weights, (weight, i) => [graph.ties[2 * i], graph.ties[2 * i + 1], weight])
      .filter(([a, b]) => a === expert || b === expert)
      .map(([a, b, weight]) => [a === expert ? b : a, weight])
      .sort((a, b) => b[1] - a[1]);
  }

  // -- what moves -------------------------------------------------------------------------------------------
  let last = { until: 0 };
  let running;
  host.closers.push(() => cancelAnimationFrame(running));
  /** From the frame before to this one: dots run from experts to their slots, rings from slots back. */
  function animate(state, seen) {
    const { until: from, view } = last;
    last = { until: seen.until, view: state.view };
    const many = seen.until - from;
    const steady = view !== state.view || many === 0;
    if (steady && running) return;
    cancelAnimationFrame(running);
    running = undefined;
    const ctx = cleared(over, HIGH, wide);
    if (steady || many < 0 || many > DRAWN_MOVES || reducedMotion() || state.view !== "placement") return;
    const theme = colours();
    const some = Array.from({ length: many }, (_, i) => from + i).filter((i) => !moves.came[i]);
    const start = performance.now();
    const tick = (time) =>
      host.guard(() => {
        const part = clamp((time - start) / MOVE_MS, 0, 1);
        ctx.clearRect(0, 0, wide, HIGH);
        if (part === 1) {
          running = undefined;
          return;
        }
        const between = ([ax, ay], [bx, by]) => [ax + (bx - ax) * part, ay + (by - ay) * part];
        for (const i of some) {
          const [x, y] = between(expertAt(moves.key[i]), slotAt(moves.slot[i]));
          ctx.fillStyle = theme.inks[LOADING];
          ctx.beginPath();
          ctx.arc(x, y, 4, 0, 2 * Math.PI);
          ctx.fill();
          if (moves.old[i] < 0) continue;
          ctx.strokeStyle = theme.ink;
          ctx.lineWidth = 1.5;
          ctx.beginPath();
          ctx.arc(...between(slotAt(moves.slot[i]), expertAt(moves.old[i])), 4, 0, 2 * Math.PI);
          ctx.stroke();
        }
        running = requestAnimationFrame(tick);
      });
    running = requestAnimationFrame(tick);
  }

  // -- controls ---------------------------------------------------------------------------------------------
  const kept = Int32Array.from({ length: windows }, (_, i) => i);
  host.addPlayer(kept, host.text("placement.window"));
  const view = host.choice(
    "view",
    host.text("placement.view"),
    ["placement", "together"].map((name) => [name, host.text(`placement.view_${name}`)])
  );
  host.bar.append(view);
  const moment = new Dial(
    host,
    "moment",
    host.text("placement.moment"),
    Array.from({ length: layers + 1 }, (_, i) => i),
    (value) => host.text(value ? "placement.moment_layer" : "placement.moment_whole", { layer: value - 1 })
  );
  /** What lies under the pointer, as a choice. */
  function under(event) {
    const [x, y] = [event.offsetX, event.offsetY];
    const state = host.state();
    const nearest = (count, place) => {
      let [best, far] = [-1, 400];
      for (let i = 0; i < count; i++) {
        const [px, py] = place(i);
        const now_ = (px - x) ** 2 + (py - y) ** 2;
        if (now_ < far) [best, far] = [i, now_];
      }
      return best;
    };
    if (state.view === "together") {
      const layer = shownLayer(state);
      const graph = known.get(layer);
      const expert = graph ? nearest(experts, (i) => nodeAt(graph, i)) : -1;
      return expert < 0 ? null : { layer, expert };
    }
    if (x < 0.65 * wide) {
      const layer = Math.floor((y - EDGE) / layerTall);
      const expert = nearest(experts, (i) => [d.expert_places[2 * i] * wide, y]);
      return expert < 0 || layer < 0 || layer >= layers ? null : { layer, expert };
    }
    const slot = nearest(data.slots, slotAt);
    now(state);
    return slot < 0 || slots.owner[slot] < 0 ? null : split(slots.owner[slot]);
  }
  host.listen(canvas, "click", (event) => {
    const found = under(event);
    if (found) host.set(found);
  });
  host.listen(canvas, "pointermove", (event) => {
    const found = under(event);
    hint.textContent = found ? why({ ...host.state(), ...found }) : "";
  });
  host.listen(canvas, "pointerleave", () => host.frame());
  host.listen(canvas, "keydown", (event) => {
    const by = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[event.key];
    if (!by || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    const { layer, expert } = host.state();
    if (layer < 0 || expert < 0) host.set({ layer: Math.max(0, layer), expert: Math.max(0, expert) });
    else
      host.set({ layer: clamp(layer + by[0], 0, layers - 1), expert: clamp(expert + by[1], 0, experts - 1) });
  });
  const legend = el(
    "div",
    { class: "ms-legend ms-marks" },
    ...MARKS.map((name, kind) => {
      const sample = el("canvas", { width: 28, height: 28, "aria-hidden": "true" });
      return Object.assign(el("span", {}, sample, host.text(`placement.mark_${name}`)), {
        show(theme, together) {
          const ctx = sample.getContext("2d");
          ctx.clearRect(0, 0, 28, 28);
          ctx.fillStyle = theme.inks[ABSENT];
          ctx.fillRect(3, 3, 22, 22);
          if (together && kind === ABSENT) outline(ctx, 3, 3, 22, theme);
          drawMark(ctx, kind, 3, 3, 22, 22, theme.inks, theme.paper);
        }
      });
    })
  );
  const clear = host.button(host.text("placement.clear"), () => host.set(CLEARED));
  const caption = el("p", { class: "ms-caption" });
  host.body.append(
    el("div", { class: "ms-moment" }, moment.element),
    caption,
    el("div", { class: "ms-stage" }, canvas, over),
    legend,
    hint,
    clear
  );

  return {
    draw(state) {
      const seen = now(state);
      wide = canvas.clientWidth;
      const theme = colours();
      const ctx = cleared(canvas, HIGH, wide);
      view.show(state.view);
      moment.draw(state);
      caption.textContent = host.text(`placement.caption_${state.view}`, {
        policy: data.policy,
        slots: data.slots,
        layer: shownLayer(state),
        held: seen.held
      });
      (state.view === "together" ? drawTogether : drawPlacement)(ctx, state, seen, theme);
      animate(state, seen);
      for (const part of legend.children) part.show(theme, state.view === "together");
      const chosen = state.layer >= 0 && state.expert >= 0;
      clear.hidden = !chosen;
      if (!canvas.matches(":hover")) hint.textContent = chosen ? "" : host.text("placement.nothing");
    },
    sentence(state) {
      const seen = now(state);
      const { counted } = seen;
      const values = {
        window: state.step,
        asked: total(seen),
        ready: counted[READY],
        late: counted[LATE],
        loaded: counted[LOADED],
        cpu: counted[CPU],
        copies: seen.copies,
        gone: seen.gone,
        layer: state.moment - 1
      };
      const words = host.text(state.moment ? "placement.sentence_layer" : "placement.sentence", values);
      if (state.layer < 0 || state.expert < 0) return words;
      const some =
        state.view === "together"
          ? companions(state.layer, state.expert).map(([expert, weight]) => `${expert} (${brief(weight)})`)
          : [];
      return [
        words,
        why(state),
        ...(some.length ? [host.text("placement.companions", { some: some.join(", ") })] : [])
      ].join(" ");
    },
    origin: () =>
      host.text("placement.origin", {
        machine: data.machine ?? host.text("placement.own_costs"),
        model: data.model ?? host.text("placement.own_costs")
      }),
    table(state) {
      const seen = now(state);
      const rows = seen.demand.map((key) => {
        const { layer, expert } = split(key);
        const row = state.step * cells + key;
        return [
          layer,
          expert,
          seen.asked[key] >> 4,
          host.text(`placement.how_${seen.asked[key] & 7}`),
          slots.where[key] < 0 ? "–" : String(slots.where[key]),
          d.scores[row],
          ...(d.tau ? [d.tau[state.step * layers + layer]] : [])
        ];
      });
      const names = ["positions", "how", "slot", "score"].map((name) =>
        host.text(`placement.column_${name}`)
      );
      return {
        columns: [host.text("grid.layer"), host.text("grid.expert"), ...names, ...(d.tau ? ["τ"] : [])],
        rows
      };
    }
  };
}

const CLEARED = { layer: -1, expert: -1 };
export default widget({
  name: "placement_graph",
  build,
  help: ["placement.help"],
  keys: { Escape: (host) => host.set(CLEARED) }
});
