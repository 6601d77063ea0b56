// Plan against actual over the past hours and the next day: one small chart a quantity, one time axis.
import { Component, createRef } from "../vendor/preact-11.2.0/preact.mjs";
import uPlot from "../vendor/uplot-1.6.32/uPlot.esm.js";
import { number, unitText } from "./format.js";
import { html, Panel } from "./ui.js";

export const PAST_S = 4 * 3600;
const AHEAD_S = 24 * 3600;
const AXIS_W = 44, AXIS_H = 22;

export function Charts({ live, layout, trend, plan, prices, clock }) {
  const first = prices.length > 0 && {
    name: "prices", label: "Price", unit: prices[0].unit,
    lines: prices.map((price, i) => ({ label: price.label + (price.stale ? " (old ?)" : ""), kind: i ? "second" : "price", steps: price.steps, until: price.valid_until })),
  };
  const charts = first ? [first, ...layout.charts] : layout.charts;
  return html`<${Panel} title="Plan and actual" name="charts" note="past 4 h and next 24 h, local time; move the pointer to read values">
    ${charts.map((chart, i) => html`<${Chart} key=${chart.name} chart=${chart} last=${i === charts.length - 1} now=${live.utc}
      columns=${columns(chart, trend, plan, live.utc)} clock=${clock} timezone=${layout.timezone} />`)}
  </${Panel}>`;
}

/** [times, values] of each line. A planned line shows in the past what the plan then was, if that was recorded. */
function columns(chart, trend, plan, now) {
  return chart.lines.map((line) => {
    if (line.steps) return stepsOf(line.steps, line.until);
    const past = line.tag && trend.tags[line.tag] ? [trend.utc, trend.tags[line.tag]] : [[], []];
    if (!line.plan || !plan) return past;
    const ahead = stepsOf(plan.steps.map((step) => [step.utc, Number(step[line.plan])]), plan.steps.at(-1)?.utc + 900);
    if (!line.tag) return ahead;
    const from = ahead[0].findIndex((t) => t > now);
    const held = ahead[1][Math.max(0, from - 1)];
    return from < 0 ? past : [[...past[0], now, ...ahead[0].slice(from)], [...past[1], held, ...ahead[1].slice(from)]];
  });
}

function stepsOf(steps, until) {
  const times = steps.map(([t]) => t), values = steps.map(([, v]) => v);
  if (times.length > 0 && until > times.at(-1)) { times.push(until); values.push(values.at(-1)); }
  return [times, values];
}

const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const STROKE = { actual: "--line-actual", planned: "--line-plan", average: "--line-average", limit: "--line-limit", price: "--line-actual", second: "--line-second" };
const DASH = { planned: [6, 4], limit: [2, 3] };
const STEPPED = new Set(["planned", "limit", "price", "second"]);

class Chart extends Component {
  box = createRef();
  scheme = matchMedia("(prefers-color-scheme: dark)");
  rebuild = () => { this.plot?.destroy(); this.build(); };
  state = { at: null };

  componentDidMount() {
    this.build();
    this.observer = new ResizeObserver(() => this.plot.setSize(this.size()));
    this.observer.observe(this.box.current);
    this.scheme.addEventListener("change", this.rebuild);
  }

  componentDidUpdate() {
    this.plot.setData(uPlot.join(this.props.columns), false);
    this.range();
  }

  componentWillUnmount() {
    this.observer.disconnect();
    this.scheme.removeEventListener("change", this.rebuild);
    this.plot.destroy();
  }

  size() {
    const box = this.box.current;
    return { width: Math.max(200, box.clientWidth), height: Math.max(40, box.clientHeight) };
  }

  range() {
    const { now, columns: lines } = this.props;
    const [min, max] = [now - PAST_S, now + AHEAD_S];
    let low = Infinity, high = -Infinity;
    for (const [times, values] of lines) for (let i = 0; i < times.length; i++) {
      const v = values[i];
      if (v === null || times[i] < min || times[i] > max) continue;
      if (v < low) low = v;
      if (v > high) high = v;
    }
    if (low > high) [low, high] = [0, 1];
    low = Math.min(low, 0);
    high = Math.max(high, 0);
    const room = 0.08 * (high - low || 1);
    this.plot.batch(() => {
      this.plot.setScale("x", { min, max });
      this.plot.setScale("y", { min: low < 0 ? low - room : 0, max: high + room });
    });
  }

  build() {
    const { chart, last, timezone, clock } = this.props;
    const axis = { stroke: colour("--text-soft"), grid: { stroke: colour("--grid"), width: 1 }, ticks: { show: false }, font: "10px system-ui, sans-serif" };
    const label = (u, splits) => splits.map((t) => (clock.short(t) === "00:00" ? clock.dayShort(t) : clock.short(t)));
    this.plot = new uPlot({
      ...this.size(),
      tzDate: (t) => uPlot.tzDate(new Date(t * 1000), timezone),
      legend: { show: false },
      cursor: { sync: { key: "plan" }, drag: { x: false, y: false }, y: false, points: { show: false } },
      scales: { x: { auto: false }, y: { auto: false } },
      axes: [
        { ...axis, size: last ? AXIS_H : 4, values: last ? label : () => [], incrs: [3600, 7200, 10800, 14400, 21600, 43200], space: 60 },
        { ...axis, size: AXIS_W, space: 13, values: (u, splits) => splits.map((v) => String(Number(v.toFixed(2))).replace("-", "−")) },
      ],
      series: [{}, ...chart.lines.map((line) => ({
        stroke: colour(STROKE[line.kind]),
        width: line.kind === "actual" || line.kind === "price" ? 1.75 : 1.5,
        dash: DASH[line.kind],
        paths: STEPPED.has(line.kind) ? uPlot.paths.stepped({ align: 1 }) : undefined,
        spanGaps: STEPPED.has(line.kind),
        points: { show: false },
      }))],
      hooks: { draw: [(u) => this.nowLine(u)], setCursor: [(u) => this.point(u)] },
      padding: [4, 8, 0, 0],
    }, uPlot.join(this.props.columns), this.box.current);
    this.range();
  }

  nowLine(u) {
    const x = Math.round(u.valToPos(this.props.now, "x", true)) + 0.5;
    const { ctx, bbox } = u;
    ctx.save();
    ctx.fillStyle = colour("--past");
    ctx.globalCompositeOperation = "destination-over";
    ctx.fillRect(bbox.left, bbox.top, x - bbox.left, bbox.height);
    ctx.globalCompositeOperation = "source-over";
    ctx.strokeStyle = colour("--text");
    ctx.lineWidth = devicePixelRatio;
    ctx.setLineDash([]);
    ctx.beginPath();
    ctx.moveTo(x, bbox.top);
    ctx.lineTo(x, bbox.top + bbox.height);
    ctx.stroke();
    ctx.restore();
  }

  point(u) {
    const at = u.cursor.left >= 0 ? u.posToVal(u.cursor.left, "x") : null;
    if (at !== this.state.at) this.setState({ at });
  }

  render({ chart, now, columns: lines, clock }, { at }) {
    const t = at ?? now;
    return html`<figure class="chart" data-chart=${chart.name}>
      <figcaption><b>${chart.label}</b> ${unitText(chart.unit)}
        ${chart.lines.map((line, i) => html`<span class="key" key=${line.label}>
          <svg width="22" height="8" aria-hidden="true"><path class=${line.kind} d="M0 4h22" /></svg>${line.label}${" "}
          <b>${number(valueAt(lines[i], t, STEPPED.has(line.kind)), chart.unit)}</b></span>`)}
        <span class="at">${at === null ? "now" : clock.short(at)}</span></figcaption>
      <div class="plot" ref=${this.box}></div></figure>`;
  }
}

/** The value that holds at t; none after the end of what was recorded. */
function valueAt([times, values], t, stepped) {
  let lo = 0, hi = times.length;
  if (hi === 0 || t < times[0] || (!stepped && t > times[hi - 1] + 120)) return null;
  while (hi - lo > 1) {
    const mid = (lo + hi) >> 1;
    if (times[mid] <= t) lo = mid; else hi = mid;
  }
  return values[lo];
}
