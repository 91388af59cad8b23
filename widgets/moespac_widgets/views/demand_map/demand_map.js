// Demand map: amounts over time and layers with a line for one expert; a window against one token; two domains.
import { el, share, unpack } from "../../front/dom.js";
import { Grid } from "../../front/heatmap.js";
import { widget } from "../../front/host.js";
import { Lines } from "../../front/line_chart.js";

const LEVELS = 10; // shares are shown in tenths of the largest one
const largest = (values) => values.reduce((most, value) => Math.max(most, value), 0);

function build(host) {
  const { layers, experts_per_layer: experts, domains } = host.data;
  const kept = unpack(host.data.kept);
  const size = layers * experts;
  const amounts = Object.fromEntries(
    Object.entries(host.data.amounts).map(([name, packed]) => [name, unpack(packed)])
  );
  const tops = Object.fromEntries(
    Object.entries(amounts).map(([name, values]) => [name, Math.max(1, largest(values))])
  );
  const first = unpack(host.data.first); // (steps, layers, k): the experts of the window's first token
  const topK = first.shape[2];
  const named = (name) => host.model.get("_texts")[`demand.amount_${name}`] ?? name;

  const bits = new Uint8Array(size);
  function drawBits(place) {
    bits.fill(0);
    for (let layer = 0; layer < layers; layer++) {
      for (let j = 0; j < topK; j++) bits[layer * experts + first[(place * layers + layer) * topK + j]] = 1;
    }
  }
  const usedBy = (place, layer, expert) => {
    const at = (place * layers + layer) * topK;
    return first.subarray(at, at + topK).includes(expert);
  };
  const state = () => host.state();
  const at = (name, place, layer, expert) => amounts[name][place * size + layer * experts + expert];
  const words = (name) => host.text(`grid.${name}`);
  const over = (rows, columns) => host.text("grid.label", { rows: words(rows), columns: words(columns) });
  const choose = (layer, expert) => host.set({ layer, expert });

  function map(label, hint, options = {}) {
    const grid = new Grid(host, {
      label: `${label}. ${over("layer", "expert")}`,
      rowLabel: words("layer"),
      columnLabel: words("expert"),
      pick: choose,
      hint,
      ...options
    });
    const caption = el("p", { class: "ms-caption" }, label);
    return { grid, caption, element: el("div", {}, caption, grid.element) };
  }
  const cellWords = (layer, expert) => {
    const { amount, step } = state();
    return host.text("demand.cell", {
      layer,
      expert,
      amount: named(amount),
      value: at(amount, host.player.place(step), layer, expert)
    });
  };
  const now = map(host.text("demand.now"), cellWords);
  const counted = map(host.text("demand.window"), (layer, expert) =>
    host.text("demand.cell", {
      layer,
      expert,
      amount: named("counts"),
      value: at("counts", host.player.place(state().step), layer, expert)
    })
  );
  const token = map(host.text("demand.token"), (layer, expert) =>
    host.text(
      usedBy(host.player.place(state().step), layer, expert) ? "demand.bit_used" : "demand.bit_unused",
      { layer, expert }
    )
  );
  const time = new Grid(host, {
    label: over("expert", "step"),
    rowLabel: words("expert"),
    columnLabel: words("step"),
    legend: false,
    height: 320,
    pick: (expert, place) => host.set({ expert, step: kept[place] }),
    hint: (expert, place) =>
      host.text("demand.cell_time", {
        layer: state().layer,
        expert,
        step: kept[place],
        amount: named(state().amount),
        value: at(state().amount, place, state().layer, expert)
      })
  });
  const timeCaption = el("p", { class: "ms-caption" });
  const lineCaption = el("p", { class: "ms-caption" });
  const lines = new Lines(host, {
    label: host.text("demand.line"),
    pick: (place) => host.set({ step: kept[place] })
  });

  const pair = domains
    ? domains.names.map((name, i) => {
        const shares = unpack(domains.shares[i]);
        return {
          name,
          shares,
          ...map(
            host.text("demand.domain", { name }),
            (layer, expert) =>
              host.text("demand.cell_share", {
                layer,
                expert,
                name,
                share: (100 * shares[layer * experts + expert]).toFixed(1)
              }),
            { legend: false }
          )
        };
      })
    : [];
  const bitsApart = domains ? unpack(domains.bits) : [];
  const highest = pair.length ? Math.max(...pair.map(({ shares }) => largest(shares))) : 1;
  const bars = el("table", {});
  const far = largest(bitsApart) || 1;
  bars.append(
    ...Array.from(bitsApart, (bit, layer) =>
      el(
        "tr",
        {},
        el("th", { scope: "row" }, `${words("layer")} ${layer}`),
        el("td", { class: "ms-figure" }, bit.toFixed(3)),
        el("td", {}, el("i", { class: "ms-bit", style: `width:${(220 * bit) / far}px` }))
      )
    )
  );

  host.addPlayer(kept, host.text("demand.step"));
  const names = Object.keys(amounts);
  const shows = ["time", "bit", ...(domains ? ["domains"] : [])];
  const show = host.choice(
    "show",
    host.text("demand.show"),
    shows.map((value) => [value, host.text(`demand.show_${value}`)])
  );
  const amount = host.choice(
    "amount",
    host.text("demand.amount"),
    names.map((value) => [value, named(value)])
  );
  const layer = host.choice(
    "layer",
    words("layer"),
    Array.from({ length: layers }, (_, i) => [i, String(i)])
  );
  host.bar.append(show, amount, layer);
  const parts = {
    time: el("div", {}, now.element, timeCaption, time.element, lineCaption, lines.element),
    bit: el("div", {}, counted.element, token.element),
    domains: el(
      "div",
      {},
      ...pair.map(({ element }) => element),
      el("p", { class: "ms-caption" }, host.text("demand.apart")),
      host.scroll(host.text("demand.apart"), bars)
    )
  };
  host.body.append(...Object.values(parts));

  const series = (name, layer, expert) =>
    Float32Array.from(kept, (_, place) => at(name, place, layer, expert));
  const slice = (name, place) => amounts[name].subarray(place * size, (place + 1) * size);
  function drawTime({ amount, layer, expert }, place, chosen) {
    now.caption.textContent = host.text("demand.now_of", { amount: named(amount), step: kept[place] });
    now.grid.draw({
      values: slice(amount, place),
      rows: layers,
      columns: experts,
      top: tops[amount],
      chosen
    });
    const values = new Float32Array(experts * kept.length);
    for (let e = 0; e < experts; e++)
      for (let t = 0; t < kept.length; t++) values[e * kept.length + t] = at(amount, t, layer, e);
    timeCaption.textContent = host.text("demand.time_of", { amount: named(amount), layer });
    time.draw({
      values,
      rows: experts,
      columns: kept.length,
      top: tops[amount],
      chosen: [expert, place],
      columnName: (i) => String(kept[i]),
      line: place
    });
    const used = Float32Array.from(kept, (_, t) => (usedBy(t, layer, expert) ? 0 : NaN));
    lineCaption.textContent = host.text("demand.line_of", { layer, expert });
    lines.draw({
      columns: kept.length,
      low: 0,
      high: tops[amount],
      line: place,
      series: [
        { values: series(amount, layer, expert), style: "steps", words: named(amount) },
        { values: used, style: "signs", sign: "▲", words: host.text("demand.bit_line") }
      ]
    });
  }

  return {
    draw(state) {
      const place = host.player.place(state.step);
      const chosen = [state.layer, state.expert];
      for (const [name, part] of Object.entries(parts)) part.hidden = name !== state.show;
      for (const [choice, value] of [
        [show, state.show],
        [amount, state.amount],
        [layer, state.layer]
      ])
        choice.show(value);
      amount.hidden = state.show !== "time" || names.length === 1;
      if (state.show === "time") drawTime(state, place, chosen);
      if (state.show === "bit") {
        drawBits(place);
        counted.grid.draw({
          values: slice("counts", place),
          rows: layers,
          columns: experts,
          top: tops.counts,
          chosen
        });
        token.grid.draw({ values: bits, rows: layers, columns: experts, top: 1, chosen });
      }
      if (state.show === "domains") {
        for (const { shares, grid } of pair) {
          grid.draw({
            values: shares.map((value) => (value ? Math.max(1, Math.ceil((LEVELS * value) / highest)) : 0)),
            rows: layers,
            columns: experts,
            top: LEVELS,
            chosen,
            figures: false
          });
        }
      }
    },
    sentence(state) {
      const place = host.player.place(state.step);
      const { layer, expert } = state;
      if (state.show === "domains") {
        const [a, b] = pair;
        const i = layer * experts + expert;
        return host.text("demand.sentence_domains", {
          a: a.name,
          b: b.name,
          layer,
          expert,
          mean: (bitsApart.reduce((sum, bit) => sum + bit, 0) / layers).toFixed(3),
          here: bitsApart[layer].toFixed(3),
          share_a: (100 * a.shares[i]).toFixed(1),
          share_b: (100 * b.shares[i]).toFixed(1)
        });
      }
      const values = slice(state.show === "bit" ? "counts" : state.amount, place).subarray(
        layer * experts,
        (layer + 1) * experts
      );
      const distinct = values.reduce((sum, value) => sum + (value > 0), 0);
      if (state.show === "bit")
        return host.text("demand.sentence_bit", {
          step: kept[place],
          layer,
          distinct,
          k: topK,
          most: largest(values),
          busiest: values.indexOf(largest(values))
        });
      return host.text("demand.sentence", {
        step: kept[place],
        layer,
        distinct,
        experts,
        expert,
        amount: named(state.amount),
        value: values[expert],
        label: host.text(`demand.label_${host.data.labels[state.amount]}`),
        mean: share(series(state.amount, layer, expert).reduce((sum, value) => sum + value, 0) / kept.length)
      });
    },
    origin: ({ show, amount }) =>
      host.text(`demand.origin_${show === "time" ? host.data.labels[amount] : "measured"}`, {
        amount: named(amount)
      }),
    table(state) {
      const place = host.player.place(state.step);
      const column = (name) => host.text(`demand.column_${name}`);
      const every = Array.from({ length: experts }, (_, expert) => expert);
      if (state.show === "domains") {
        return {
          columns: [words("expert"), ...pair.map(({ name }) => `${name} %`)],
          rows: every.map((expert) => [
            expert,
            ...pair.map(({ shares }) => 100 * shares[state.layer * experts + expert])
          ])
        };
      }
      return {
        columns: [words("expert"), ...names.map(named), column("bit")],
        rows: every.map((expert) => [
          expert,
          ...names.map((name) => at(name, place, state.layer, expert)),
          Number(usedBy(place, state.layer, expert))
        ])
      };
    }
  };
}

export default widget({ name: "demand_map", build });
