// Loops: what each measures, wants and does, in which mode and why.
import { alarmsOn } from "./alarms.js";
import { Bar, html, Panel, read, Shape, Value } from "./ui.js";

export function Loops({ live, loops }) {
  return html`<${Panel} title="Loops" name="loops">
    <table>
      <thead><tr><th>Loop</th><th class="num">PV measured</th><th>▲ SP</th><th class="num">OP output</th><th></th>
        <th>Mode, and why</th><th>Setpoint from</th></tr></thead>
      <tbody>${loops.map((loop) => html`<${Row} key=${loop.name} live=${live} loop=${loop} />`)}</tbody>
    </table></${Panel}>`;
}

function Row({ live, loop }) {
  const rung = live.rungs[loop.name];
  const alarm = alarmsOn(live, loop.pv ? [loop.name, loop.pv.tag] : [loop.name])[0]; // the list is sorted by urgency
  return html`<tr data-loop=${loop.name}>
    <th scope="row">${alarm && html`<${Shape} priority=${alarm.priority} />`}<b>${loop.tag || loop.name}</b><small>${loop.text}</small></th>
    <td class="num"><${Value} live=${live} pin=${loop.pv} />
      ${loop.sp && html`<small>SP <${Value} live=${live} pin=${loop.sp} /></small>`}</td>
    <td class="graph"><${Bar} live=${live} pin=${loop.pv} mark=${loop.sp} /></td>
    <td class="num"><${Value} live=${live} pin=${loop.op} /></td>
    <td class="graph"><${Bar} live=${live} pin=${loop.op} /></td>
    <td><${Mode} live=${live} loop=${loop} /></td>
    <td>${rung && html`<${Source} rung=${rung} old=${live.old} />`}</td>
  </tr>`;
}

const NOT_NORMAL = new Set(["off", "initialising", "local", "manual"]);

function Mode({ live, loop }) {
  if (!loop.mode) return null;
  const mode = read(live, loop.mode), why = loop.reason ? read(live, loop.reason) : null;
  if (mode.value === null || mode.quality === "bad") {
    return html`<span class="value bad"><b>${live.words.modes[mode.value] ?? "–"}</b>${" "}<span class="doubt">?</span></span>`;
  }
  const word = live.words.modes[mode.value] ?? `mode ${mode.value}`;
  const reason = why && why.value ? live.words.reasons[why.value] : "";
  const odd = NOT_NORMAL.has(word);
  return html`<span class=${odd ? "odd" : "mode"}>${odd && "◆ "}${word}</span>${reason && html`<small>${reason}</small>`}`;
}

const Source = ({ rung, old }) => html`<span class=${old ? "value bad wrap" : rung.normal ? "usual" : "odd"}>
    ${!rung.normal && "◆ "}${rung.source}${old && html`${" "}<span class="doubt">?</span>`}</span>
  ${rung.why && html`<small>${rung.why}</small>`}`;
