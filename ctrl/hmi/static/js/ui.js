// Small pieces that every panel uses.
import { h } from "../vendor/preact-11.2.0/preact.mjs";
import htm from "../vendor/htm-3.1.1/htm.mjs";
import { number, quality, unitText } from "./format.js";

export const html = htm.bind(h);

const SHAPES = {
  critical: ["1", "M2 2h20v20H2z"],
  high: ["2", "M12 1 23 22H1z"],
  medium: ["3", "M12 23 1 2h22z"],
  low: ["4", "M12 1a11 11 0 1 0 0 22 11 11 0 0 0 0-22z"],
};
const DIGIT_Y = { critical: 17.5, high: 19, medium: 13.5, low: 17 };

/** Priority as shape, digit and colour; filled while unacknowledged. */
export function Shape({ priority, waiting = true }) {
  const [digit, path] = SHAPES[priority];
  return html`<svg class=${`shape ${priority} ${waiting ? "waiting" : "seen"}`} viewBox="0 0 24 24" role="img"
      aria-label=${`priority ${digit}, ${priority}`} data-shape=${priority}>
    <path d=${path} /><text x="12" y=${DIGIT_Y[priority]}>${digit}</text></svg>`;
}

/** What the page knows of one tag now: value, quality, and why it is not good. */
export function read(live, tag) {
  const [value, status] = live.tags[tag] ?? [null, 0];
  const word = live.old ? "bad" : quality(status);
  const why = live.old ? "old: no data arrives" : live.words.statuses[status & 0xfc];
  return { value, quality: value === null ? "bad" : word, why };
}

/** A live number with its unit; not good: hatched, "?" and the reason on hover. */
export function Value({ live, pin }) {
  if (!pin) return html`<span class="none"> </span>`;
  const now = read(live, pin.tag);
  return html`<span class=${`value ${now.quality}`} data-tag=${pin.tag} title=${`${pin.tag}: ${now.why}`}>
    <b>${pin.words?.[now.value] ?? number(now.value, pin.unit)}</b>${" "}<i>${unitText(pin.unit)}</i>
    ${now.quality !== "good" && html`<span class="doubt" aria-label=${now.why}>?</span>`}</span>`;
}

/** A bar over the pin's range, from zero when zero is inside; a mark shows the setpoint. */
export function Bar({ live, pin, mark }) {
  if (!pin || pin.low === null || pin.high === null) return null;
  const width = 84;
  const place = (v) => (width * (Math.min(Math.max(v, pin.low), pin.high) - pin.low)) / (pin.high - pin.low);
  const now = read(live, pin.tag);
  const from = place(Math.max(0, pin.low));
  const to = now.value === null ? from : place(now.value);
  const target = mark ? read(live, mark.tag).value : null;
  const at = target === null ? null : place(target);
  return html`<svg class=${`bar ${now.quality}`} viewBox=${`-4 0 ${width + 8} 16`} width=${width + 8} height="16" aria-hidden="true">
    <rect class="range" x="0" y="3" width=${width} height="8" />
    <rect class="fill" x=${Math.min(from, to)} y="3" width=${Math.abs(to - from)} height="8" />
    ${from > 0 && html`<path class="zero" d=${`M${from} 1v12`} />`}
    ${at !== null && html`<path class="mark" d=${`M${at} 9l-4 7h8z`} />`}
  </svg>`;
}

export const Panel = ({ title, note, name, children }) => html`<section class=${`panel ${name}`} aria-label=${title}>
  <h2>${title}${note && html`<small>${note}</small>`}</h2>${children}</section>`;
