// Utility inspector: evidence, what the rule looks at between its boundaries, s, and why it moved.
import { brief, el, unpack } from "../../front/dom.js";
import { Grid } from "../../front/heatmap.js";
import { widget } from "../../front/host.js";
import { Lines } from "../../front/line_chart.js";
import PALETTE from "../../front/palette.json" with { type: "json" };

function build(host) {
  const { layers, experts_per_layer: experts, rules, K, sensor, blocks: packed } = host.data;
  const kept = unpack(host.data.kept);
  const steps = kept.length;
  const blocks = new Map();
  const open = (key, block) =>
    blocks.set(
      key,
      Object.fromEntries(Object.entries(block).map(([name, values]) => [name, unpack(values)]))
    );
  const asked = new Set();

  /** All experts of a layer under a rule, or nothing yet: then the kernel is asked, once. */
  function block(rule, layer) {
    const key = `${rule}/${layer}`;
    if (blocks.has(key)) return blocks.get(key);
    if (packed[key]) {
      open(key, packed[key]);
      return blocks.get(key);
    }
    if (!asked.has(key)) {
      asked.add(key);
      host
        .ask("block", { rule, layer })
        .then((answer) => {
          open(key, answer);
          host.frame();
        })
        .catch((problem) => {
          asked.delete(key);
          host.say(problem);
        });
    }
    return null;
  }
  /** One expert at one step, as plain values. */
  function at(state, place = host.player.place(state.step), expert = state.expert) {
    const held = block(state.rule, state.layer);
    return (
      held &&
      Object.fromEntries(
        Object.entries(held).map(([name, values]) => [name, values[place * experts + expert]])
      )
    );
  }
  const column = (held, name, expert, sign = 1) =>
    Float32Array.from(kept, (_, t) => sign * held[name][t * experts + expert]);
  const extent = (...rows) => rows.flatMap((row) => [...row].filter((value) => !Number.isNaN(value)));

  const words = (name) => host.text(`grid.${name}`);
  const pick = (place) => host.set({ step: kept[place] });
  const map = new Grid(host, {
    label: host.text("grid.label", { rows: words("expert"), columns: words("step") }),
    rowLabel: words("expert"),
    columnLabel: words("step"),
    height: 260,
    pick: (expert, place) => host.set({ expert, step: kept[place] }),
    hint(expert, place) {
      const seen = at(host.state(), place, expert);
      return seen
        ? host.text("inspector.cell", { step: kept[place], expert, s: seen.s, f: brief(seen.f) })
        : "";
    }
  });
  const captions = Array.from({ length: 4 }, () => el("p", { class: "ms-caption" }));
  const [evidence, change, utility] = ["f", "delta", "s"].map(
    (name) =>
      new Lines(host, { label: host.text(`inspector.${name}`), pick, height: name === "delta" ? 130 : 76 })
  );
  const waiting = el("p", { class: "ms-hint" });
  const changes = el("div", {}, captions[2], change.element);
  const charts = el(
    "div",
    {},
    captions[0],
    map.element,
    captions[1],
    evidence.element,
    changes,
    captions[3],
    utility.element
  );

  host.addPlayer(kept, words("step"));
  const count = (n) => Array.from({ length: n }, (_, i) => [i, String(i)]);
  const choices = {
    rule: host.choice(
      "rule",
      host.text("inspector.rule"),
      rules.map((rule) => [rule, rule])
    ),
    layer: host.choice("layer", words("layer"), count(layers)),
    expert: host.choice("expert", words("expert"), count(experts))
  };
  host.bar.append(...Object.values(choices));
  host.body.append(waiting, charts);

  function why(state, seen) {
    const values = Object.fromEntries(Object.entries(seen).map(([name, value]) => [name, brief(value)]));
    const told = host.text("inspector.seen", {
      step: kept[host.player.place(state.step)],
      layer: state.layer,
      expert: state.expert,
      f: values.f
    });
    if (Number.isNaN(seen.up))
      return told + host.text("inspector.why_value", { ...values, K }) + host.text("inspector.label");
    const ended =
      seen.branch > 0
        ? seen.s > seen.before
          ? "up"
          : "top"
        : seen.branch < 0
          ? seen.s < seen.before
            ? "down"
            : "bottom"
          : "stay";
    const moves = seen.next_up !== seen.up || seen.next_down !== seen.down;
    return (
      told +
      host.text(`inspector.why_${ended}`, values) +
      (moves ? host.text("inspector.next", values) : "") +
      host.text("inspector.label")
    );
  }

  return {
    draw(state) {
      const held = block(state.rule, state.layer);
      for (const [name, choice] of Object.entries(choices)) choice.show(state[name]);
      waiting.textContent = held ? "" : host.text("inspector.waiting", state);
      waiting.hidden = Boolean(held);
      charts.hidden = !held;
      if (!held) return;
      const { layer, expert, rule } = state;
      const place = host.player.place(state.step);
      const turned = new Uint8Array(experts * steps);
      for (let t = 0; t < steps; t++)
        for (let e = 0; e < experts; e++) turned[e * steps + t] = held.s[t * experts + e];
      captions[0].textContent = host.text("inspector.map", { layer, rule, sensor });
      map.draw({
        values: turned,
        rows: experts,
        columns: steps,
        top: K,
        chosen: [expert, place],
        columnName: (i) => String(kept[i]),
        line: place,
        figures: false
      });
      const [f, delta, up, down, s, value, branch] = ["f", "delta", "up", "down", "s", "value", "branch"].map(
        (name) => column(held, name, expert, name === "down" ? -1 : 1)
      );
      const common = { columns: steps, line: place };
      const bounded = !Number.isNaN(up[0]);
      captions[1].textContent = host.text("inspector.evidence", { layer, expert });
      const made = bounded
        ? []
        : [
            {
              values: value,
              style: "steps",
              colour: PALETTE.kinds.rejected,
              dash: [2, 3],
              words: host.text("inspector.value")
            }
          ];
      evidence.draw({
        ...common,
        low: 0,
        high: Math.max(1, ...f),
        series: [
          { values: f, style: "bars", colour: PALETTE.kinds.own, words: host.text("inspector.f") },
          ...made
        ]
      });
      changes.hidden = !bounded;
      if (bounded) {
        const all = extent(delta, up, down);
        captions[2].textContent = host.text("inspector.change", {
          delta: host.text(rule === "level" ? "inspector.delta_level" : "inspector.delta_change")
        });
        change.draw({
          ...common,
          low: Math.min(0, ...all),
          high: Math.max(0, ...all),
          series: [
            {
              values: up,
              style: "steps",
              colour: PALETTE.kinds.accepted,
              dash: [7, 4],
              words: host.text("inspector.up")
            },
            {
              values: down,
              style: "steps",
              colour: PALETTE.kinds.rejected,
              dash: [2, 3],
              words: host.text("inspector.down")
            },
            { values: delta, style: "steps", words: host.text("inspector.delta") }
          ]
        });
      }
      const moved = (way) =>
        s.map((level, t) => (branch[t] === way && level !== held.before[t * experts + expert] ? level : NaN));
      captions[3].textContent = host.text("inspector.utility", { K });
      utility.draw({
        ...common,
        low: 0,
        high: K,
        series: [
          { values: s, style: "steps", words: host.text("inspector.s") },
          { values: moved(1), style: "signs", sign: "▲", words: host.text("inspector.moved_up") },
          { values: moved(-1), style: "signs", sign: "▼", words: host.text("inspector.moved_down") }
        ]
      });
    },
    sentence(state) {
      const seen = at(state);
      return seen ? why(state, seen) : host.text("inspector.waiting", state);
    },
    origin: () => host.text("inspector.origin", { sensor }),
    table(state) {
      const held = block(state.rule, state.layer);
      const names = ["f", "delta", "up", "down", "s"];
      const rows = held
        ? Array.from(kept, (step, place) => {
            const seen = at(state, place);
            return [step, ...names.map((name) => seen[name]), host.text(`inspector.branch_${seen.branch}`)];
          })
        : [];
      return {
        columns: [
          words("step"),
          ...names.map((name) => host.text(`inspector.${name}`)),
          host.text("inspector.column_branch")
        ],
        rows
      };
    }
  };
}

export default widget({ name: "utility_inspector", build });
