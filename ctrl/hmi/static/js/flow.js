// The site's energy flow: sources above the site's bus, loads below it.
import { direction, number } from "./format.js";
import { html, Panel, read } from "./ui.js";

const WIDTH = 400, BOX_H = 82, TOP = 4, BUS = 139, BOTTOM = 192, HEIGHT = 278;

export function Flow({ live, flows }) {
  const above = flows.filter((flow) => flow.kind !== "load");
  const below = flows.filter((flow) => flow.kind === "load");
  const most = Math.max(50, ...flows.map((flow) => Math.abs(read(live, flow.tag).value ?? 0)));
  const row = (list, top) => list.map((flow, i) => {
    const step = WIDTH / list.length;
    return html`<${Box} key=${flow.name} live=${live} flow=${flow} x=${i * step + 4} w=${step - 8} top=${top} most=${most} />`;
  });
  return html`<${Panel} title="Energy now" name="flow">
    <svg viewBox=${`0 0 ${WIDTH} ${HEIGHT}`} class="picture">
      <defs>
        <pattern id="hatch" width="6" height="6" patternUnits="userSpaceOnUse" patternTransform="rotate(45)">
          <rect width="2" height="6" class="hatch" />
        </pattern>
      </defs>
      <path class="bus" d=${`M8 ${BUS}H${WIDTH - 8}`} />
      ${row(above, TOP)}${row(below, BOTTOM)}
    </svg></${Panel}>`;
}

function Box({ live, flow, x, w, top, most }) {
  const now = read(live, flow.tag);
  const middle = x + w / 2;
  const words = direction(flow.kind, now.value);
  return html`<g class=${`box ${now.quality}`} data-flow=${flow.name}>
    <${Arrow} flow=${flow} value=${now.value} x=${middle} above=${top === TOP} most=${most} />
    <rect class="body" x=${x} y=${top} width=${w} height=${BOX_H} />
    ${now.quality !== "good" && html`<rect class="cover" x=${x} y=${top} width=${w} height=${BOX_H} fill="url(#hatch)" />`}
    <text class="label" x=${middle} y=${top + 17}>${flow.label}</text>
    <text class="power" x=${middle} y=${top + 41}>
      <title>${`${flow.tag}: ${now.why}`}</title>
      ${number(now.value === null ? null : Math.abs(now.value), "kW")} kW${now.quality !== "good" ? " ?" : ""}
    </text>
    <text class="words" x=${middle} y=${top + 58}>${words}</text>
    ${flow.soc && html`<${Charge} live=${live} tag=${flow.soc} x=${x + 8} y=${top + 65} w=${w - 16} />`}
  </g>`;
}

/** The line to the bus; its arrow points where the energy goes, its width grows with the power. */
function Arrow({ flow, value, x, above, most }) {
  const [from, to] = above ? [TOP + BOX_H, BUS] : [BUS, BOTTOM];
  if (value === null || Math.abs(value) <= 0.5) return html`<path class="line idle" d=${`M${x} ${from}V${to}`} />`;
  const intoBus = flow.kind === "load" ? value < 0 : value > 0;
  const down = above === intoBus;
  const width = 2 + (6 * Math.abs(value)) / most;
  const [tail, tip] = down ? [from, to - 2] : [to, from + 2];
  const back = down ? -1 : 1;
  const half = 5 + width;
  return html`<g>
    <path class="line" stroke-width=${width} d=${`M${x} ${tail}V${tip + back * 12}`} />
    <path class="tip" d=${`M${x} ${tip}l${-half} ${back * 14}h${2 * half}z`} />
  </g>`;
}

function Charge({ live, tag, x, y, w }) {
  const now = read(live, tag);
  const part = Math.min(Math.max((now.value ?? 0) / 100, 0), 1);
  const bar = w - 44;
  return html`<g class=${`charge ${now.quality}`}>
    <rect class="range" x=${x} y=${y} width=${bar} height="9" />
    <rect class="fill" x=${x} y=${y} width=${bar * part} height="9" />
    <text class="soc" x=${x + w} y=${y + 9}>${now.value === null ? "–" : now.value.toFixed(0)} %${now.quality !== "good" ? " ?" : ""}</text>
  </g>`;
}
