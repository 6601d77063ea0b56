// Numbers, units, times and statuses as people read them. No state.

const UNITS = { degC: "°C", bar_g: "bar(g)", "m3/min": "m³/min", "m3/h": "m³/h", degF: "°F" };
const DECIMALS = { degC: 1, K: 1, kW: 1, "t/h": 2, t: 1, bar_g: 2, bar: 2, "%": 1, "m3/min": 1, "EUR/MWh": 1, "": 0 };

export const unitText = (unit) => UNITS[unit] ?? unit;

/** A number with the decimals its unit deserves; a true minus sign; a dash when there is none. */
export function number(value, unit) {
  if (value === null || value === undefined) return "–";
  const text = value.toFixed(DECIMALS[unit] ?? 1);
  return (Number(text) === 0 ? text.replace("-", "") : text).replace("-", "−");
}

export const quality = (status) => (status >= 0x80 ? "good" : status >= 0x40 ? "uncertain" : "bad");

/** Formatters of one site's local time. */
export function clockOf(timezone) {
  const make = (options) => new Intl.DateTimeFormat("en-GB", { timeZone: timezone, hourCycle: "h23", ...options });
  const time = make({ hour: "2-digit", minute: "2-digit", second: "2-digit" });
  const short = make({ hour: "2-digit", minute: "2-digit" });
  const day = make({ weekday: "short", day: "2-digit", month: "short", year: "numeric" });
  const dayShort = make({ weekday: "short", day: "2-digit" });
  const zone = make({ timeZoneName: "short", hour: "2-digit" });
  const date = (utc) => new Date(utc * 1000);
  return {
    time: (utc) => time.format(date(utc)),
    short: (utc) => short.format(date(utc)),
    day: (utc) => day.format(date(utc)),
    dayShort: (utc) => dayShort.format(date(utc)),
    zone: (utc) => zone.formatToParts(date(utc)).find((part) => part.type === "timeZoneName").value,
  };
}

/** 41 -> "41 s", 130 -> "2 min", 7300 -> "2 h 1 min". */
export function duration(seconds) {
  const s = Math.max(0, Math.round(seconds));
  if (s < 90) return `${s} s`;
  const min = Math.floor(s / 60);
  if (min < 60) return `${min} min`;
  const h = Math.floor(min / 60);
  return h < 48 ? `${h} h ${min % 60} min` : `${Math.floor(h / 24)} d ${h % 24} h`;
}

/** Direction of a power in words, by what it flows through. */
export function direction(kind, power) {
  if (power === null || power === undefined) return "unknown";
  if (kind === "load") return power > 0.5 ? "consuming" : power < -0.5 ? "feeding back" : "off";
  if (Math.abs(power) <= 0.5) return kind === "pv" ? "no sun" : "idle";
  if (kind === "grid") return power > 0 ? "importing" : "exporting";
  if (kind === "battery") return power > 0 ? "discharging" : "charging";
  return power > 0 ? "generating" : "consuming";
}
