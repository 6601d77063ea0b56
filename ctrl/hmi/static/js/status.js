// Devices and the plan: who may write, who answers, how old the plan is and why it is so.
import { duration } from "./format.js";
import { html, Panel } from "./ui.js";

const STATES = { armed: "●", shadow: "◐", disarmed: "○" };

export function Devices({ live, devices }) {
  return html`<${Panel} title="Devices" note="● armed  ◐ shadow: writes nothing  ○ disarmed" name="devices">
    <table><tbody>${devices.map((device) => {
      const now = live.devices[device.name];
      if (!now) return html`<tr key=${device.name}><th>${device.name}</th><td colspan="3">no state yet ?</td></tr>`;
      const lost = now.link === "lost";
      return html`<tr key=${device.name} class=${live.old ? "old" : ""} data-device=${device.name} title=${`${device.type} ${device.address}, contract: ${device.contract}`}>
        <th scope="row">${device.name}</th>
        <td>${STATES[now.state]} ${now.state}</td>
        <td><span class=${now.link === "ok" ? "usual" : "odd"}>${lost ? "✖ " : now.link === "late" ? "◆ " : ""}link ${now.link}${live.old ? " ?" : ""}</span>
          ${lost && html`<small>for ${duration(now.age_s)}</small>`}</td>
        <td>heartbeat ${now.heartbeat}${now.heartbeat === "beating" ? html` <small class="beats">${now.beats}</small>` : ""}
          ${now.text && html`<small>${now.text}</small>`}</td>
      </tr>`;
    })}</tbody></table></${Panel}>`;
}

export function Plan({ live, plan, clock, currency }) {
  if (!plan) return html`<${Panel} title="Plan" name="plan"><p class="odd">◆ no plan yet: the loops follow local rules</p></${Panel}>`;
  const late = live.utc > plan.valid_until;
  const cost = Object.entries(plan.cost).map(([name, amount]) => `${name.replace(/_(eur|[a-z]{3})$/, "").replaceAll("_", " ")} ${amount.toFixed(0)}`);
  return html`<${Panel} title="Plan" name="plan" note=${plan.name}>
    <p><span class=${plan.status === "optimal" ? "usual" : "odd"}>${plan.status !== "optimal" && "◆ "}${plan.status}</span>, made ${clock.short(plan.issued_at)} (${duration(live.utc - plan.issued_at)} ago), ${" "}
      <span class=${late ? "odd" : ""}>${late ? "◆ expired at" : "valid until"} ${clock.short(plan.valid_until)}${live.old && " ?"}</span></p>
    ${plan.relaxed.map((text) => html`<p class="odd" key=${text}>◆ relaxed: ${text}</p>`)}
    <ul>${plan.reasons.map((text) => html`<li key=${text}>${text}</li>`)}</ul>
    ${cost.length > 0 && html`<p class="cost">Expected cost, ${currency}: ${cost.join(" · ")}</p>`}
  </${Panel}>`;
}
