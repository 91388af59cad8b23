// Decoding stepper: the text so far, the window token by token, its demand, and who asked for whom.
import { brief, el, roving, share, starts, unpack } from "../../front/dom.js";
import { Grid } from "../../front/heatmap.js";
import { widget } from "../../front/host.js";

const SIGNS = {
  context: "●",
  accepted: "✓",
  rejected: "✗",
  unjudged: "–",
  bonus: "★",
  resampled: "↻",
  corrected: "↻",
  plain: "■"
};

/** A token as it is read in a row: quoted, with its line breaks and spaces seen. */
const visible = (piece) => piece.replace(/\n/g, "↵").replace(/\t/g, "⇥").replace(/^ | $/g, "␣");

function build(host) {
  const packed = host.data;
  const d = Object.fromEntries(
    Object.entries(packed)
      .filter(([, value]) => value?.bytes)
      .map(([name, value]) => [name, unpack(value)])
  );
  const { layers, experts_per_layer: experts, pieces } = packed;
  const rounds = d.gamma.length;
  const topK = d.experts.shape[2];
  const read = (id) => pieces[id] ?? `⟨${id}⟩`;
  const quoted = (id) => `“${visible(read(id))}”`;
  const emittedAt = starts(d.emitted);
  const gammas = Array.from(d.kept, (step) => d.gamma[step]);
  const verifiedAt = starts(gammas, 1);
  const draftedAt = starts(gammas);

  // -- a round as the parts below need it ------------------------------------------------------------------
  const cached = { place: -1 };
  function round(step) {
    const place = host.player.place(step);
    if (cached.place === place) return cached.round;
    const n = d.kept[place];
    const gamma = d.gamma[n];
    const accepted = d.accepted[n];
    const at = verifiedAt[place];
    const emitted = d.emitted_ids.subarray(emittedAt[n], emittedAt[n + 1]);
    const sampled = packed.modes[d.text_of[n]] === "sample";
    const stopped = packed.stops[d.text_of[n]].includes(emitted.at(-1));
    const ends =
      emitted.length <= accepted
        ? stopped
          ? "cut"
          : "short"
        : !gamma
          ? "plain"
          : accepted === gamma
            ? "bonus"
            : sampled
              ? "resampled"
              : "corrected";
    const positions = Array.from({ length: gamma + 1 }, (_, i) => {
      const drafted = draftedAt[place] + i - 1;
      const verdict = !i
        ? "context"
        : i <= accepted
          ? "accepted"
          : i === accepted + 1 && emitted.length > accepted
            ? "rejected"
            : "unjudged";
      return {
        i,
        id: d.window[at + i],
        row: at + i,
        verdict,
        choice: d.target_ids[at + i],
        ...(i
          ? {
              q: d.draft_probs[drafted],
              p: d.target_probs[drafted],
              u: d.uniforms[drafted],
              judged: d.target_ids[at + i - 1]
            }
          : {})
      };
    });
    const counts = new Uint16Array(layers * experts);
    for (let row = at; row <= at + gamma; row++)
      each(row, (layer, expert) => {
        counts[layer * experts + expert]++;
      });
    cached.place = place;
    cached.round = {
      n,
      place,
      gamma,
      accepted,
      emitted,
      ends,
      sampled,
      positions,
      counts,
      ms: d.ms.subarray(2 * place, 2 * place + 2),
      distinct: counts.reduce((sum, count) => sum + (count > 0), 0) / layers
    };
    return cached.round;
  }
  /** call(layer, expert, weight) for all that the router chose for one verified position. */
  function each(row, call) {
    for (let i = row * layers * topK, end = i + layers * topK, j = 0; i < end; i++, j++) {
      call(Math.floor(j / topK), d.experts[i], d.weights[i] * packed.weight_unit);
    }
  }
  function asking(now, layer, expert) {
    const found = [];
    if (layer < 0 || expert < 0) return found;
    for (const position of now.positions) {
      for (let i = (position.row * layers + layer) * topK, end = i + topK; i < end; i++) {
        if (d.experts[i] === expert) found.push({ ...position, weight: d.weights[i] * packed.weight_unit });
      }
    }
    return found;
  }

  // -- the text: every round's is made once, and shown once its round has come --------------------------------
  const text = el("div", {
    class: "ms-text",
    tabindex: "0",
    role: "group",
    "aria-label": host.text("stepper.text")
  });
  const texts = packed.prompts.map((prompt) => {
    const whole = el(
      "div",
      { hidden: true },
      el("span", { class: "ms-prompt" }, prompt ?? host.text("stepper.prompt_hidden"))
    );
    text.append(whole);
    return whole;
  });
  const said = Array.from({ length: rounds }, (_, n) => {
    const own = d.emitted[n] > d.accepted[n] ? d.emitted[n] - 1 : d.emitted[n];
    // Of a dense trace a round may show fewer than it accepted; the last of a round is the target's own.
    const tokens = Array.from(d.emitted_ids.subarray(emittedAt[n], emittedAt[n + 1]), read);
    const runs = [
      ["", tokens.slice(0, own)],
      ["own", tokens.slice(own)]
    ].filter(([, run]) => run.length);
    const part = el(
      "span",
      { hidden: true, "data-n": String(n) },
      ...runs.map(([name, run]) => el("b", { class: name }, run.join("")))
    );
    texts[d.text_of[n]].append(part);
    return part;
  });
  host.listen(text, "click", (event) => {
    const part = event.target.closest("[data-n]");
    if (part) host.set({ step: Number(part.dataset.n) });
  });
  let until = -1;
  function drawText(n) {
    for (; until < n; until++) said[until + 1].hidden = false;
    for (; until > n; until--) said[until].hidden = true;
    for (const token of text.querySelectorAll(".now")) token.classList.remove("now");
    for (const token of said[n].children) token.classList.add("now");
    texts.forEach((whole, i) => {
      whole.hidden = i !== d.text_of[n];
    });
  }

  // -- the window -------------------------------------------------------------------------------------------
  const cards = el("div", { class: "ms-cards", role: "group", "aria-label": host.text("stepper.window") });
  host.listen(cards, "click", (event) => {
    const card = event.target.closest("button");
    if (!card) return;
    const i = Number(card.dataset.i);
    host.set({ token: host.model.get("token") === i ? -1 : i });
  });
  roving(host, cards, (i) => host.set({ token: i }));
  function drawCards(now, state, askers) {
    const held = cards.contains(document.activeElement) ? Number(document.activeElement.dataset.i) : -1;
    const made = now.positions.map((position) => card(now, position, state.token, askers));
    if (SIGNS[now.ends]) {
      made.push(
        el(
          "div",
          { class: "ms-card own" },
          el("code", {}, visible(read(now.emitted.at(-1)))),
          el("span", { class: "verdict" }, `${SIGNS[now.ends]} ${host.text(`stepper.${now.ends}`)}`)
        )
      );
    }
    cards.replaceChildren(...made);
    const stop = Math.max(0, Math.min(held >= 0 ? held : state.token, now.gamma));
    cards.children[stop].tabIndex = 0;
    if (held >= 0) cards.children[stop].focus({ preventScroll: true });
  }
  function card(now, { i, id, verdict, q, p, u, judged }, chosen, askers) {
    const asks = askers.some((asker) => asker.i === i);
    const words = [`${SIGNS[verdict]} ${host.text(`stepper.${verdict}`)}`];
    const lines = i ? [host.text("stepper.chances", { q: share(q), p: share(p) })] : [];
    if (i && now.sampled) lines.push(host.text("stepper.uniform", { u: share(u) }));
    if (i) lines.push(host.text("stepper.choice", { token: visible(read(judged)) }));
    if (asks) lines.push(`◆ ${host.text("stepper.asks")}`);
    const label = [host.text("stepper.card", { i, token: quoted(id), verdict: words[0] }), ...lines].join(
      ", "
    );
    return el(
      "button",
      {
        type: "button",
        class: `ms-card ${verdict}${asks ? " asks" : ""}`,
        "data-i": String(i),
        tabIndex: -1,
        "aria-pressed": String(i === chosen),
        "aria-label": label,
        title: label
      },
      el("code", {}, visible(read(id))),
      el("span", { class: "verdict" }, words[0]),
      ...lines.map((line) => el("span", {}, line.replace(/^◆.*/, "◆")))
    );
  }

  // -- demand and details -----------------------------------------------------------------------------------
  const grid = new Grid(host, {
    label: host.text("grid.label", { rows: host.text("grid.layer"), columns: host.text("grid.expert") }),
    rowLabel: host.text("grid.layer"),
    columnLabel: host.text("grid.expert"),
    pick: (layer, expert) => host.set({ layer, expert }),
    hint(layer, expert) {
      const now = round(host.model.get("step"));
      const askers = asking(now, layer, expert);
      const values = { layer, expert, count: askers.length, positions: now.gamma + 1 };
      return askers.length
        ? host.text("stepper.cell_tokens", {
            ...values,
            tokens: askers.map(({ id }) => quoted(id)).join(" ")
          })
        : host.text("stepper.cell", values);
    }
  });
  const detail = el("div", {
    class: "ms-detail",
    tabindex: "0",
    role: "group",
    "aria-label": host.text("stepper.detail")
  });
  // By mouse also what is named here can be chosen: a token, or an expert.
  host.listen(detail, "click", (event) => {
    const { token, layer, expert } = event.target.closest("[data-pick]")?.dataset ?? {};
    if (token) host.set({ token: Number(token) });
    if (layer) host.set({ layer: Number(layer), expert: Number(expert) });
  });
  const clear = host.button(host.text("stepper.clear"), () => host.set(CLEARED));
  function drawDetail(now, state, askers) {
    const parts = [];
    const position = now.positions[state.token];
    if (position) {
      const by = Array.from({ length: layers }, () => []);
      each(position.row, (layer, expert, weight) =>
        by[layer].push(
          el(
            "span",
            { "data-pick": "", "data-layer": String(layer), "data-expert": String(expert) },
            packed.weight_unit ? `${expert} (${share(weight)})` : String(expert)
          ),
          "  "
        )
      );
      const likeliest = Array.from(
        { length: d.top_ids.shape[1] },
        (_, i) => position.row * d.top_ids.shape[1] + i
      ).map((i) => `${quoted(d.top_ids[i])} ${share(d.top_probs[i])}`);
      parts.push(
        el(
          "p",
          { class: "ms-caption" },
          packed.weight_unit
            ? host.text("stepper.token_title", { token: quoted(position.id), i: position.i })
            : host.text("stepper.token_title_bare", { token: quoted(position.id), i: position.i })
        ),
        el(
          "table",
          {},
          ...by.map((chosen, layer) =>
            el("tr", {}, el("th", { scope: "row" }, String(layer)), el("td", {}, ...chosen))
          )
        ),
        ...(likeliest.length
          ? [el("p", {}, host.text("stepper.token_likeliest", { list: likeliest.join(", ") }))]
          : [])
      );
    }
    if (state.layer >= 0 && state.expert >= 0) {
      const words = askers.length
        ? host.text("stepper.expert_now", { count: askers.length, positions: now.gamma + 1 })
        : host.text("stepper.expert_none");
      parts.unshift(
        el("p", { class: "ms-caption" }, `◆ ${host.text("stepper.expert_title", state)}`),
        el("p", {}, words),
        el(
          "table",
          {},
          ...askers.map(({ i, id, weight }) =>
            el(
              "tr",
              { "data-pick": "", "data-token": String(i) },
              el("td", {}, String(i)),
              el("td", {}, quoted(id)),
              el("td", {}, packed.weight_unit ? share(weight) : "")
            )
          )
        ),
        el(
          "p",
          {},
          host.text("stepper.expert_rounds", { asked: d.asked[state.layer * experts + state.expert], rounds })
        )
      );
    }
    clear.hidden = !parts.length;
    detail.replaceChildren(
      ...(parts.length ? parts : [el("p", { class: "ms-hint" }, host.text("stepper.nothing"))]),
      clear
    );
  }

  host.addPlayer(d.kept, host.text("stepper.round"));
  const legend = el("p", { class: "ms-hint" });
  host.body.append(
    el("p", { class: "ms-caption" }, host.text("stepper.text")),
    text,
    el("p", { class: "ms-caption" }, host.text("stepper.window")),
    cards,
    legend,
    el(
      "div",
      { class: "ms-columns" },
      el("div", {}, el("p", { class: "ms-caption" }, host.text("stepper.demand")), grid.element),
      detail
    )
  );

  return {
    draw(state) {
      const now = round(state.step);
      const askers = asking(now, state.layer, state.expert);
      drawText(now.n);
      drawCards(now, state, askers);
      const marked = new Set();
      if (now.positions[state.token])
        each(now.positions[state.token].row, (layer, expert) => marked.add(layer * experts + expert));
      grid.draw({
        values: now.counts,
        rows: layers,
        columns: experts,
        top: Math.max(...gammas) + 1,
        marked,
        chosen: state.layer >= 0 && state.expert >= 0 ? [state.layer, state.expert] : null
      });
      drawDetail(now, state, askers);
      const words = [
        host.text("stepper.legend_chances"),
        host.text(now.sampled ? "stepper.legend_uniform" : "stepper.legend_greedy")
      ];
      if (!Number.isNaN(now.ms[0]))
        words.push(host.text("stepper.times", { draft: brief(now.ms[0]), verify: brief(now.ms[1]) }));
      legend.textContent = words.join(" ");
      text.scrollTop = text.scrollHeight; // last, as it makes the browser lay out what has changed
    },
    sentence(state) {
      const now = round(state.step);
      const values = {
        n: now.n,
        gamma: now.gamma,
        accepted: now.accepted,
        grown: now.emitted.length,
        distinct: now.distinct.toFixed(1),
        text: `“${visible(Array.from(now.emitted, read).join(""))}”`
      };
      if (!now.gamma) return host.text("stepper.sentence_plain", values);
      const own = quoted(now.emitted.at(-1));
      const end =
        now.emitted.length <= now.accepted
          ? host.text(`stepper.end_${now.ends}`)
          : now.ends === "bonus"
            ? host.text("stepper.end_bonus", { own })
            : host.text("stepper.end_rejected", {
                own,
                rejected: quoted(now.positions[now.accepted + 1].id),
                how: host.text(`stepper.how_${now.ends}`)
              });
      return host.text("stepper.sentence", { ...values, end });
    },
    origin: () => host.text("stepper.origin"),
    table(state) {
      const now = round(state.step);
      const rows = now.positions.map(({ i, id, verdict, q = NaN, p = NaN, u = NaN, judged, row }) => {
        const by = Array.from({ length: layers }, () => []);
        each(row, (layer, expert) => by[layer].push(expert));
        return [
          i,
          quoted(id),
          host.text(`stepper.${verdict}`),
          q,
          p,
          ...(now.sampled ? [u] : []),
          i ? quoted(judged) : "",
          by.map((some) => some.join(" ")).join(" | ")
        ];
      });
      const names = ["position", "token", "verdict", "choice", "experts"].map((name) =>
        host.text(`stepper.column_${name}`)
      );
      return {
        columns: [...names.slice(0, 3), "q", "p", ...(now.sampled ? ["u"] : []), ...names.slice(3)],
        rows
      };
    }
  };
}

const CLEARED = { token: -1, layer: -1, expert: -1 };
export default widget({
  name: "stepper",
  build,
  help: ["stepper.help"],
  keys: { Escape: (host) => host.set(CLEARED) }
});
