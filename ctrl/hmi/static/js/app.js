// The page: one event stream in, one picture out. It only shows; nothing here can change the site.
import { render } from "../vendor/preact-11.2.0/preact.mjs";
import { Alarms } from "./alarms.js";
import { Charts, PAST_S } from "./charts.js";
import { Flow } from "./flow.js";
import { clockOf, duration } from "./format.js";
import { Loops } from "./loops.js";
import { Devices, Plan } from "./status.js";
import { html } from "./ui.js";

const TREND_EVERY_S = 300, PRICES_EVERY_S = 60;
const state = {
  layout: null, clock: null, snapshot: null, plan: null, prices: [], trend: { utc: [], tags: {} },
  heardAt: 0, cycleAt: 0, lagging: "", trendAt: 0, pricesAt: 0, planId: undefined,
};
const now = () => performance.now() / 1000; // monotonic: a wall-clock step must not look like lost data

async function get(path) {
  const answer = await fetch(path, { cache: "no-store" });
  if (!answer.ok) throw new Error(`${path}: ${answer.status}`);
  return answer.json();
}

/** Load a slow part of the page; a failure is shown and tried again with the next event. */
async function load(name, path, done) {
  if (state[`loading_${name}`]) return;
  state[`loading_${name}`] = true;
  try {
    done(await get(path));
    if (state.lagging === name) state.lagging = "";
  } catch {
    state.lagging = name;
  } finally {
    state[`loading_${name}`] = false;
  }
}

const chartTags = () => [...new Set(state.layout.charts.flatMap((chart) => chart.lines.map((line) => line.tag).filter(Boolean)))];

function onSnapshot(snapshot) {
  const t = now();
  if (state.snapshot?.cycle !== snapshot.cycle) state.cycleAt = t;
  state.snapshot = snapshot;
  state.heardAt = t;
  if (snapshot.plan_id !== state.planId) {
    load("plan", "/api/plan", (plan) => { state.plan = plan; state.planId = snapshot.plan_id; });
  }
  if (state.pricesAt === 0 || t - state.pricesAt > PRICES_EVERY_S) {
    load("prices", "/api/prices", (prices) => { state.prices = prices; state.pricesAt = t; });
  }
  if (chartTags().length > 0 && (state.trendAt === 0 || t - state.trendAt > TREND_EVERY_S)) {
    const tags = chartTags().map(encodeURIComponent).join(",");
    load("trend", `/api/trend?tags=${tags}&seconds=${PAST_S}`, (trend) => { state.trend = trend; state.trendAt = t; });
  } else if (state.trendAt > 0) append(snapshot);
  draw();
}

/** Grow the recorded lines by this cycle, until the next full load thins them again. */
function append({ utc, tags }) {
  const { trend } = state;
  const last = trend.utc.at(-1) ?? -Infinity;
  if (utc < last) state.trendAt = 0; // the plant's clock was set back: load what is true now
  if (utc <= last) return;
  trend.utc.push(utc);
  for (const [tag, values] of Object.entries(trend.tags)) {
    const [value, status] = tags[tag] ?? [null, 0];
    values.push(status >= 0x40 ? value : null);
  }
}

function connect() {
  const stream = new EventSource("/events");
  stream.addEventListener("snapshot", (event) => onSnapshot(JSON.parse(event.data)));
  stream.addEventListener("error", () => {
    if (stream.readyState === EventSource.CLOSED) setTimeout(connect, 5000); // refused; else it comes back by itself
    draw();
  });
}

/** What is wrong with the data as a whole, in one sentence; empty when nothing is. */
function trouble() {
  const { snapshot, clock, layout } = state;
  const silent = now() - state.heardAt, still = now() - state.cycleAt;
  const limit = Math.max(3, 3 * layout.period_s);
  if (silent > limit) return `No data since ${clock.time(snapshot.utc)} (${duration(silent)} ago). Everything below is old.`;
  if (still > limit + 2) return `Control has stopped: cycle ${snapshot.cycle} has not moved for ${duration(still)}. Everything below is old.`;
  return "";
}

function Page() {
  const { layout, snapshot, clock } = state;
  const problem = trouble();
  const live = { ...snapshot, words: layout.words, old: problem !== "" };
  return html`<div class=${`page ${live.old ? "old" : ""}`}>
    <header>
      <h1>${layout.site}${layout.simulated && html`<span class="simulated">simulation</span>`}</h1>
      <span class=${live.missed || live.overruns ? "count odd" : "count"}>cycle ${live.cycle} · ${live.missed} missed · ${live.overruns} overruns</span>
      ${state.lagging && html`<span class="odd">◆ ${state.lagging} could not be loaded</span>`}
      <span class="safety">Not a safety system</span>
      <time class=${live.old ? "value bad" : ""}><b>${clock.time(live.utc)}</b>${live.old && html`<span class="doubt">?</span>`}${" "}
        ${clock.zone(live.utc)}, ${clock.day(live.utc)}</time>
    </header>
    ${problem && html`<div class="banner" role="alert"><span aria-hidden="true">✖</span> ${problem}</div>`}
    <${Alarms} live=${live} clock=${clock} />
    <main><${Flow} live=${live} flows=${layout.flows} />
    <${Loops} live=${live} loops=${layout.loops} />
    <div class="side">
      <${Devices} live=${live} devices=${layout.devices} />
      <${Plan} live=${live} plan=${state.plan} clock=${clock} currency=${layout.currency} />
    </div>
    <${Charts} live=${live} layout=${layout} trend=${state.trend} plan=${state.plan} prices=${state.prices} clock=${clock} />
    </main>
  </div>`;
}

function draw() {
  if (state.layout && state.snapshot) render(html`<${Page} />`, document.getElementById("app"));
}

async function start() {
  try {
    state.layout = await get("/api/layout");
  } catch {
    setTimeout(start, 2000);
    return;
  }
  state.clock = clockOf(state.layout.timezone);
  document.title = state.layout.site;
  document.getElementById("app").replaceChildren();
  connect();
  setInterval(draw, 1000); // ages and the lost-connection banner move without data
}

start();
