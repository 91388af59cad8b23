// Balancer explorer: candidates of every layer, what forbids them, and who chooses which, under changed times.
import { el, svg, unpack } from "../../front/dom.js";
import { Grid, GUTTER } from "../../front/heatmap.js";
import { widget } from "../../front/host.js";
import { Dial } from "../../front/slider.js";
import { Candidates } from "./candidates.js";

const FORMULATIONS = ["joint", "per-layer", "per-layer-difference"];
const SIGNS = { joint: "●", "per-layer": "▲", "per-layer-difference": "■" };
const INKS = { joint: "--ms-own", "per-layer": "--ms-accepted", "per-layer-difference": "--ms-rejected" };
const PERCENTS = [
  10, 15, 20, 25, 35, 50, 60, 70, 80, 90, 100, 110, 125, 140, 160, 200, 280, 400, 560, 800, 1000
];
const DEGREES = 9;
const REST_MS = 300;
const PATIENCE_MS = 2000;

/** Milliseconds, three digits. */
const ms = (seconds) => {
  const value = seconds * 1e3;
  return Math.abs(value) >= 100 ? String(Math.round(value)) : String(Number(value.toPrecision(3)));
};

/** The map of thresholds by layers, with what is forbidden hatched and what is chosen marked. */
class Choices extends Grid {
  draw(map) {
    super.draw(map);
    const ctx = this.canvas.getContext("2d");
    const style = getComputedStyle(this.host.root);
    ctx.strokeStyle = style.color;
    for (const [i, { slots, link }] of map.broken) {
      this.hatch(
        ctx,
        GUTTER + (i % this.columns) * this.width,
        Math.floor(i / this.columns) * this.tall,
        slots,
        link
      );
    }
    const wide = this.width >= this.tall;
    ctx.font = `${Math.min(15, (wide ? this.width : this.tall) / 3)}px sans-serif`;
    ctx.textAlign = "center";
    ctx.textBaseline = "middle";
    ctx.lineWidth = 3;
    ctx.strokeStyle = style.backgroundColor;
    for (let layer = 0; layer < this.columns; layer++) {
      FORMULATIONS.forEach((name, n) => {
        const part = 0.2 + 0.3 * n;
        const x = GUTTER + (layer + (wide ? part : 0.5)) * this.width;
        const y = (map.taus[name][layer] - 1 + (wide ? 0.5 : part)) * this.tall;
        // Signs tell the formulations apart, colours only help; a rim of the page's colour sets them off.
        ctx.strokeText(SIGNS[name], x, y);
        ctx.fillStyle = style.getPropertyValue(INKS[name]);
        ctx.fillText(SIGNS[name], x, y);
      });
    }
  }

  /** Rising lines: the slots; falling ones: the link. */
  hatch(ctx, x, y, slots, link) {
    ctx.save();
    ctx.beginPath();
    ctx.rect(x, y, this.width - 1, this.tall - 1);
    ctx.clip();
    ctx.globalAlpha = 0.75;
    ctx.lineWidth = 1;
    ctx.beginPath();
    for (let i = -this.tall; i < this.width; i += 6) {
      if (slots) {
        ctx.moveTo(x + i, y + this.tall);
        ctx.lineTo(x + i + this.tall, y);
      }
      if (link) {
        ctx.moveTo(x + i, y);
        ctx.lineTo(x + i + this.tall, y + this.tall);
      }
    }
    ctx.stroke();
    ctx.restore();
  }
}

/** The joint program's thresholds: asked of the kernel, or on a page those nearest of what was solved. */
class Solver {
  constructor(host, layers) {
    const { first, solved } = host.data;
    Object.assign(this, { host, layers, known: { ...first, tau: Array.from(unpack(first.tau)) }, until: 0 });
    if (solved) this.solved = { ...solved, tau: unpack(solved.tau), feasible: unpack(solved.feasible) };
    host.closers.push(() => clearTimeout(this.rest));
    host.listen(host.body, "pointerdown", (event) => {
      this.held = event.target.matches("input[type=range]");
    });
    for (const type of ["pointerup", "pointercancel"])
      host.listen(window, type, () => {
        if (!this.held) return;
        this.held = false;
        this.settle(0);
      });
  }

  /** asked: step, slots and percents. */
  of(asked, place) {
    const key = JSON.stringify(asked);
    if (this.host.model.get("_kernel")) {
      this.want(asked, key);
    } else if (key !== JSON.stringify(this.known.asked)) {
      return this.nearest(asked, place);
    }
    return { ...this.known, fresh: JSON.stringify(this.known.asked) === key };
  }

  want(asked, key) {
    const knows = JSON.stringify(this.known.asked) === key;
    if (knows && this.known.how !== "lagrangian") return;
    if (key !== this.wanted) {
      Object.assign(this, { wanted: key, asked });
      this.settle(REST_MS);
    }
    // One at a time: what was dragged over meanwhile is never asked for.
    if (!knows && Date.now() >= this.until) this.ask("lagrangian", asked);
  }

  /** PuLP is asked once nothing changes, and not while a slider is held: then when it is let go. */
  settle(ms) {
    clearTimeout(this.rest);
    if (this.held || !this.asked) return;
    this.rest = setTimeout(() => {
      this.ask("pulp", this.asked);
      this.asked = null;
    }, ms);
  }

  ask(how, asked) {
    this.until = Date.now() + PATIENCE_MS;
    this.host.ask("solve", { how, ...asked }).then(
      (answer) => {
        this.until = 0;
        const taken = how === "pulp" && answer.how === "lagrangian" ? "stopped" : answer.how;
        this.known = { ...answer, how: taken, asked, tau: Array.from(unpack(answer.tau)) };
        this.host.frame();
      },
      (problem) => this.host.say(problem)
    );
  }

  nearest(asked, place) {
    const { slots, settings, tau, feasible } = this.solved;
    const closest = (far) => far.indexOf(Math.min(...far));
    const setting = closest(
      settings.map((percents) =>
        this.host.data.units.reduce((sum, unit, i) => sum + Math.abs(Math.log(percents[i] / asked[unit])), 0)
      )
    );
    const count = closest(slots.map((each) => Math.abs(each - asked.slots)));
    const i = (place * settings.length + setting) * slots.length + count;
    const at = Object.fromEntries(this.host.data.units.map((unit, n) => [unit, settings[setting][n]]));
    const fresh =
      slots[count] === asked.slots && this.host.data.units.every((unit) => at[unit] === asked[unit]);
    return {
      how: "page",
      fresh,
      feasible: feasible[i] === 1,
      at: { slots: slots[count], ...at },
      tau: Array.from(tau.subarray(i * this.layers, (i + 1) * this.layers))
    };
  }
}

function build(host) {
  const { data } = host;
  const tell = (key, values) => host.text(`balancer.${key}`, values);
  const d = Object.fromEntries(
    Object.entries(data)
      .filter(([, value]) => value?.bytes)
      .map(([name, value]) => [name, unpack(value)])
  );
  const [, layers, levels] = d.hot.shape;
  const size = layers * levels;
  const units = Object.fromEntries(data.units.map((unit) => [unit, tell(`unit_${unit}`)]));
  const named = Object.fromEntries(FORMULATIONS.map((name) => [name, tell(`${name}`)]));
  const solver = new Solver(host, layers);
  const placeOf = (step) => (host.player ? host.player.place(step) : 0);

  // -- the window of the moment -----------------------------------------------------------------------------
  let cached = {};
  function now(state) {
    const place = placeOf(state.step);
    const asked = {
      step: d.kept[place],
      slots: state.slots,
      ...Object.fromEntries(data.units.map((unit) => [unit, state[unit]]))
    };
    const joint = solver.of(asked, place);
    const key = JSON.stringify([asked, joint.tau, joint.how]);
    if (cached.key === key) return cached;
    const part = (name) => d[name].subarray(place * size, (place + 1) * size);
    const table = new Candidates({
      layers,
      levels,
      hot: part("hot"),
      loads: part("loads"),
      slots: state.slots,
      residents: d.hot_residents.subarray(place * levels, (place + 1) * levels),
      cpu: Array.from(part("cpu_s"), (seconds) => (seconds * state.cpu) / 100),
      gpu: Array.from(part("gpu_s"), (seconds) => (seconds * state.gpu) / 100),
      copy: (data.copy_s * state.copy) / 100,
      draft: (d.draft_window_s[place] * state.draft) / 100,
      dense: (data.dense_s * state.dense) / 100
    });
    const taus = {
      joint: joint.tau,
      "per-layer": table.byMax(),
      "per-layer-difference": table.byDifference()
    };
    const totals = Object.fromEntries(FORMULATIONS.map((name) => [name, table.jointly(taus[name])]));
    cached = { key, window: asked.step, table, joint, taus, totals, binding: table.binding(joint.tau) };
    return cached;
  }
  const broken = ({ table, taus }, formulation, layer, tau) =>
    formulation === "joint" ? table.switched(taus.joint, layer, tau) : table.alone(layer, tau);
  const breaks = ({ slots, link }) => [...(slots ? [tell("slots")] : []), ...(link ? [tell("link")] : [])];

  // -- controls ---------------------------------------------------------------------------------------------
  if (d.kept.length > 1) host.addPlayer(d.kept, tell("window"));
  const formulation = host.choice(
    "formulation",
    tell("formulation"),
    FORMULATIONS.map((name) => [name, `${SIGNS[name]} ${named[name]}`])
  );
  host.bar.append(formulation);
  const [, most] = host.model.get("_limits").slots;
  const dials = [
    new Dial(
      host,
      "slots",
      tell("slots"),
      Array.from({ length: most }, (_, i) => i + 1),
      (slots) => tell("of_slots", { slots, given: data.slots })
    ),
    ...data.units.map(
      (unit) => new Dial(host, unit, units[unit], PERCENTS, (percent) => tell("percent", { percent }))
    )
  ];

  // -- parts ------------------------------------------------------------------------------------------------
  const map = new Choices(host, {
    label: host.text("grid.label", { rows: "τ", columns: host.text("grid.layer") }),
    rowLabel: "τ",
    columnLabel: host.text("grid.layer"),
    height: 42 * levels,
    tallest: 42,
    pick: (row, layer) => host.set({ tau: row + 1, layer }),
    hint: (row, layer) => candidate(now(host.state()), layer, row + 1)
  });
  const [hints, how, key] = Array.from("123", () => el("p", { class: "ms-hint" }));
  key.textContent = tell("lanes");
  const summary = el("table", { class: "ms-summary" });
  const chart = el("div", { class: "ms-chart" });
  const layerCaption = el("p", { class: "ms-caption" });

  /** One candidate in words: what it takes and what it breaks, alone and among the others. */
  function candidate(window, layer, tau) {
    const { table, taus } = window;
    const i = table.at(layer, tau);
    const values = {
      layer,
      tau,
      cpu: ms(table.cpu[i]),
      gpu: ms(table.gpu[i]),
      hot: table.hot[i],
      loads: table.loads[i],
      copies: ms(table.loads[i] * table.copy)
    };
    const alone = breaks(table.alone(layer, tau));
    const among = breaks(table.switched(taus.joint, layer, tau));
    const words = (key, some) =>
      some.length ? tell(`${key}_breaks`, { some: some.join(", ") }) : tell(`${key}_keeps`);
    return [tell("candidate", values), words("alone", alone), words("joint", among)].join(" ");
  }

  function drawSummary(window) {
    const { table, taus, totals } = window;
    const rows = FORMULATIONS.map((name) => {
      const found = totals[name];
      const slots = tell("slots_taken", { hot: found.hot, slots: table.slots });
      const link =
        found.late >= 0
          ? `✗ ${tell("late", { layer: found.late, late: ms(-found.slack[found.late]) })}`
          : `✓ ${tell("in_time", { layer: found.tightest, left: ms(found.slack[found.tightest]) })}`;
      return el(
        "tr",
        {},
        el(
          "th",
          { scope: "row" },
          el("span", { style: `color: var(${INKS[name]})` }, SIGNS[name]),
          ` ${named[name]}`
        ),
        el("td", { class: "ms-figure" }, ms(found.seconds)),
        el("td", {}, `${found.slots ? "✗" : "✓"} ${slots}`),
        el("td", {}, link),
        el("td", {}, taus[name].length > 24 ? spread(taus[name]) : taus[name].join(" "))
      );
    });
    const names = ["formulation", "column_seconds", "slots", "column_link", "column_taus"].map((key) =>
      el("th", { scope: "col" }, tell(`${key}`))
    );
    summary.replaceChildren(el("thead", {}, el("tr", {}, ...names)), el("tbody", {}, ...rows));
    how.textContent = tell("how", { how: told(window.joint) });
  }
  /** How many layers stand at each threshold. */
  const spread = (taus) =>
    Array.from({ length: levels }, (_, i) => [i + 1, taus.filter((tau) => tau === i + 1).length])
      .filter(([, count]) => count)
      .map(([tau, count]) => tell("spread", { tau, count }))
      .join(", ");
  function told(joint) {
    const page =
      joint.how === "page" &&
      Object.entries(joint.at)
        .map(([unit, value]) =>
          unit === "slots"
            ? `${tell("slots")} ${value}`
            : `${units[unit]} ${tell("percent", { percent: value })}`
        )
        .join(", ");
    const words = page
      ? tell("how_page", { at: page })
      : tell(`how_${joint.how}`, { took: ms(joint.seconds) });
    return joint.fresh || page ? words : tell("waiting");
  }

  // -- one layer's lanes against its thresholds: lines of its own shape, forbidden thresholds hatched ---------
  function drawChart(window, state) {
    const { table, taus } = window;
    const [wide, high, left, foot, head] = [340, 220, 46, 40, 24];
    const step = (wide - left - 8) / levels;
    const x = (tau) => left + (tau - 0.5) * step;
    const top =
      Math.max(...Array.from({ length: levels }, (_, i) => table.total[state.layer * levels + i])) || 1e-9;
    const y = (seconds) => high - foot - (seconds / top) * (high - foot - head);
    const parts = [];
    const text = (words, where) => svg("text", { "font-size": "11", fill: "currentColor", ...where }, words);
    for (let tau = 1; tau <= levels; tau++) {
      const what = broken(window, state.formulation, state.layer, tau);
      const forbidden = breaks(what);
      const box = { x: x(tau) - step / 2 + 1, y: head, width: step - 2, height: high - foot - head };
      parts.push(svg("rect", { ...box, class: forbidden.length ? "ms-forbidden" : "ms-feasible" }));
      if (forbidden.length) {
        for (let i = -box.height; i < box.width; i += 14) {
          const [from, to] = [Math.max(0, i), Math.min(box.width, i + box.height)];
          parts.push(
            svg("line", {
              x1: box.x + from,
              y1: box.y + from - i,
              x2: box.x + to,
              y2: box.y + to - i,
              class: "ms-hatch"
            })
          );
        }
        parts.push(text(`✗ ${forbidden.join(", ")}`, { x: x(tau), y: high - 3, "text-anchor": "middle" }));
      } else parts.push(text(`✓ ${tell("feasible")}`, { x: x(tau), y: high - 3, "text-anchor": "middle" }));
      if (tau === state.tau)
        parts.push(svg("rect", { ...box, fill: "none", stroke: "currentColor", "stroke-width": "2" }));
      parts.push(text(`τ = ${tau}`, { x: x(tau), y: high - foot + 16, "text-anchor": "middle" }));
      const signs = FORMULATIONS.filter((name) => taus[name][state.layer] === tau);
      parts.push(
        svg(
          "text",
          { x: x(tau), y: 16, "text-anchor": "middle", "font-size": "15" },
          ...signs.map((name) => svg("tspan", { fill: `var(${INKS[name]})` }, SIGNS[name]))
        )
      );
    }
    for (const part of [0, 0.5, 1]) {
      parts.push(text(ms(part * top), { x: left - 5, y: y(part * top) + 4, "text-anchor": "end" }));
    }
    for (const [lane, dash, shape] of [
      ["cpu", "5 3", "rect"],
      ["gpu", "", "circle"]
    ]) {
      const at = Array.from({ length: levels }, (_, i) => [
        x(i + 1),
        y(table[lane][state.layer * levels + i])
      ]);
      parts.push(
        svg("polyline", {
          points: at.map((point) => point.join(",")).join(" "),
          class: `ms-lane ms-${lane}`,
          "stroke-dasharray": dash
        })
      );
      for (const [cx, cy] of at) {
        parts.push(
          shape === "rect"
            ? svg("rect", { x: cx - 4, y: cy - 4, width: 8, height: 8, class: `ms-point ms-${lane}` })
            : svg("circle", { cx, cy, r: 4.5, class: `ms-point ms-${lane}` })
        );
      }
    }
    chart.replaceChildren(
      svg(
        "svg",
        { viewBox: `0 0 ${wide} ${high}`, role: "img", "aria-label": tell("chart", state) },
        ...parts
      )
    );
  }

  host.body.append(
    el("div", { class: "ms-dials" }, ...dials.map((dial) => dial.element)),
    el("p", { class: "ms-caption" }, tell("summary")),
    host.scroll(tell("summary"), summary),
    how,
    el(
      "div",
      { class: "ms-columns" },
      el("div", {}, el("p", { class: "ms-caption" }, tell("map")), map.element, hints),
      el("div", {}, layerCaption, chart, key)
    )
  );

  return {
    draw(state) {
      const window = now(state);
      const { table, taus } = window;
      formulation.show(state.formulation);
      for (const dial of dials) dial.draw(state);
      // Against the layer's fastest threshold, in degrees of the largest difference of all layers.
      const over = Array.from({ length: layers }, (_, layer) => {
        const own = table.total.slice(layer * levels, (layer + 1) * levels);
        return own.map((seconds) => seconds - Math.min(...own));
      });
      const largest = Math.max(...over.flat());
      const values = new Uint8Array(size);
      const forbidden = [];
      for (let tau = 1; tau <= levels; tau++) {
        for (let layer = 0; layer < layers; layer++) {
          const i = (tau - 1) * layers + layer;
          values[i] = largest ? Math.ceil((DEGREES * over[layer][tau - 1]) / largest) : 0;
          const what = broken(window, state.formulation, layer, tau);
          if (what.slots || what.link) forbidden.push([i, what]);
        }
      }
      map.draw({
        values,
        rows: levels,
        columns: layers,
        top: DEGREES,
        figures: false,
        chosen: [state.tau - 1, state.layer],
        rowName: (row) => `τ ${row + 1}`,
        taus,
        broken: forbidden
      });
      hints.textContent = tell("map_hint", { largest: ms(largest), formulation: named[state.formulation] });
      drawSummary(window);
      layerCaption.textContent = tell("layer", { layer: state.layer });
      drawChart(window, state);
    },
    sentence(state) {
      const window = now(state);
      const tau = (name) => window.taus[name][state.layer];
      const seconds = (name) => ms(window.totals[name].seconds);
      const keeps = breaks(window.binding);
      const values = {
        window: window.window,
        layer: state.layer,
        joint: tau("joint"),
        max: tau("per-layer"),
        difference: tau("per-layer-difference"),
        joint_ms: seconds("joint"),
        max_ms: seconds("per-layer"),
        difference_ms: seconds("per-layer-difference")
      };
      const why = keeps.length ? tell("binds", { some: keeps.join(", ") }) : tell("binds_nothing");
      const { fresh, feasible } = window.joint;
      return `${tell("sentence", values)} ${fresh ? (feasible ? why : tell("infeasible")) : tell("stale")}`;
    },
    origin: () => tell("origin"),
    table(state) {
      const window = now(state);
      const { table, taus } = window;
      const rows = [];
      for (let layer = 0; layer < layers; layer++) {
        for (let tau = 1; tau <= levels; tau++) {
          const i = table.at(layer, tau);
          const chosen = FORMULATIONS.filter((name) => taus[name][layer] === tau)
            .map((name) => `${SIGNS[name]} ${named[name]}`)
            .join(", ");
          rows.push([
            layer,
            tau,
            table.cpu[i] * 1e3,
            table.gpu[i] * 1e3,
            table.hot[i],
            table.loads[i],
            breaks(table.alone(layer, tau)).join(", ") || "–",
            breaks(table.switched(taus.joint, layer, tau)).join(", ") || "–",
            chosen
          ]);
        }
      }
      const names = ["cpu", "gpu", "hot", "loads", "alone", "joint", "chosen"].map((name) =>
        tell(`column_${name}`)
      );
      return { columns: [host.text("grid.layer"), "τ", ...names], rows };
    }
  };
}

export default widget({ name: "balancer_explorer", build, help: ["balancer.help"] });
