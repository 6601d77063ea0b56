// The alarm list: priority as shape and digit, what is wrong, what to do, since when.
import { duration } from "./format.js";
import { html, Shape } from "./ui.js";

/** Raised alarms whose condition names one of these tags or loops. */
export function alarmsOn(live, names) {
  return live.alarms.filter((alarm) => !(alarm.state in ASIDE)
    && (alarm.when.match(/[A-Za-z_][\w.]*/g) ?? []).some((word) => names.some((name) => word === name || word.startsWith(`${name}.`))));
}

const WAITING = new Set(["unack", "rtn_unack", "latched_unack"]);
const ASIDE = { shelved: "shelved", suppressed: "suppressed by design", out_of_service: "out of service" };

export function Alarms({ live, clock }) {
  const shown = live.alarms.filter((alarm) => !(alarm.state in ASIDE));
  const aside = Object.entries(ASIDE)
    .map(([state, words]) => [live.alarms.filter((alarm) => alarm.state === state).length, words])
    .filter(([count]) => count > 0)
    .map(([count, words]) => `${count} ${words}`)
    .join(", ");
  return html`<section class=${`panel alarms ${live.old ? "old" : ""}`} aria-label="Alarms" aria-live="assertive">
    <h2>Alarms<small>${shown.length ? `${shown.length} to look at` : "none active"}${aside && ` · ${aside}`}${live.old && " · old list ?"}</small></h2>
    ${shown.length > 0 && html`<ol>${shown.map((alarm) => html`<${Row} key=${alarm.name} alarm=${alarm} live=${live} clock=${clock} />`)}</ol>`}
  </section>`;
}

function Row({ alarm, live, clock }) {
  const waiting = WAITING.has(alarm.state);
  return html`<li class=${waiting ? "waiting" : "seen"} data-alarm=${alarm.name}>
    <${Shape} priority=${alarm.priority} waiting=${waiting} />
    <span class="priority">${alarm.priority}</span>
    <span class="what"><b>${alarm.text}</b>${" "}<small>${alarm.state_text.replace(/^active, /, "")}</small></span>
    <span class="do">${alarm.response || "–"}</span>
    <span class="since">${alarm.since !== null && html`since <b>${clock.time(alarm.since)}</b> (${duration(live.utc - alarm.since)})`}</span>
  </li>`;
}
