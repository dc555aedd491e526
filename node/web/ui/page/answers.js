// Answers to queries: read as InfluxDB writes them, and made into tables and lines.

// The most that is kept of an answer. More is not read: nobody looks at more rows than these.
export const rowsMax = 10_000;
const valuesMax = 200_000;
const seriesMax = 2_000;
// How many lines a chart has, and how many tables are shown.
export const linesMax = 24;
export const tablesMax = 20;

// Big is a whole number beyond those that JavaScript keeps exactly, as it was written.
export class Big {
  constructor(text) {
    this.text = text;
  }
  toString() {
    return this.text;
  }
  toJSON() {
    return this.text;
  }
  valueOf() {
    return Number(this.text);
  }
}

// exact parses a line. Whole numbers of 16 digits and more become lists of one text each, since no value is a list.
function exact(line) {
  if (!/\d{16}/.test(line)) return JSON.parse(line);
  return JSON.parse(line.replace(/"(?:\\.|[^"\\])*"|-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?/g, (m) => (/^-?\d{16,}$/.test(m) ? `["${m}"]` : m)));
}

const value = (v) => (Array.isArray(v) ? (Number.isSafeInteger(Number(v[0])) ? Number(v[0]) : new Big(v[0])) : v);

// nothing is an answer of which nothing has come yet.
export const nothing = () => ({ series: [], errors: [], messages: [], statements: 0, rows: 0, values: 0 });

// take adds a line to an answer. It returns why no more is wanted, or "".
export function take(answer, line) {
  const { error, results = [] } = exact(line);
  if (error) answer.errors.push({ code: "error", message: error });
  for (const r of results) {
    const statement = (r.statement_id ?? 0) + 1;
    answer.statements = Math.max(answer.statements, statement);
    if (r.error) answer.errors.push({ code: `statement ${statement}`, message: r.error });
    for (const m of r.messages || []) answer.messages.push(m.text);
    for (const s of r.series || []) {
      const key = JSON.stringify([statement, s.name, s.tags, s.columns]);
      let to = answer.series.at(-1);
      if (to?.key !== key) {
        if (answer.series.length === seriesMax) return `the first ${seriesMax.toLocaleString("en-US")} series are shown; SLIMIT or WHERE make them fewer`;
        to = { key, statement, name: s.name || "", tags: s.tags || {}, columns: s.columns || [], rows: [] };
        answer.series.push(to);
      }
      for (const row of s.values || []) {
        if (answer.rows === rowsMax || answer.values + row.length > valuesMax) return `the first ${answer.rows.toLocaleString("en-US")} rows are shown; LIMIT, a shorter time or GROUP BY time(…) make them fewer`;
        to.rows.push(row.map(value));
        answer.rows++;
        answer.values += row.length;
      }
    }
  }
  return "";
}

class Row {
  constructor(at, names, cells) {
    Object.assign(this, { at, names, cells });
  }
  toJSON() {
    return Object.fromEntries(this.names.map((n, i) => [n, this.cells[i]]));
  }
}

// tables are the series of an answer, those with the same columns of one statement together: {statement, names, rows}.
export function tables(answer) {
  const all = new Map();
  for (const s of answer.series) {
    const tags = Object.keys(s.tags);
    const key = JSON.stringify([s.statement, tags, s.columns]);
    let t = all.get(key);
    if (!t) all.set(key, (t = { key, statement: s.statement, names: [...(s.name ? ["name"] : []), ...tags, ...s.columns], named: !!s.name, rows: [] }));
    for (const row of s.rows) t.rows.push(new Row(t.rows.length, t.names, [...(t.named ? [s.name] : []), ...tags.map((k) => s.tags[k]), ...row]));
  }
  return [...all.values()];
}

// csv is a table as comma-separated values.
export function csv(table) {
  const cell = (v) => {
    const text = v == null ? "" : String(v);
    return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
  };
  return [table.names, ...table.rows.map((r) => r.cells)].map((r) => r.map(cell).join(",") + "\r\n").join("");
}

const numeric = (v) => typeof v === "number" || v instanceof Big;

// seconds is a moment as an answer writes it, in s since 1970. Date knows no more than ms of it.
export function seconds(text) {
  const [, fraction = ""] = /\.(\d+)/.exec(text) || [];
  return Date.parse(String(text).replace(/\.\d+/, "")) / 1000 + (fraction ? Number("0." + fraction) : 0);
}

// lines are what a chart shows: {times, lines: [{name, values}], more}. A line is a column with numbers of a series
// with times. more is how many there are beyond linesMax. With a single time there is nothing to draw.
export function lines(answer) {
  const all = [];
  const times = new Set();
  let more = 0;
  for (const s of answer.series) {
    if (s.columns[0] !== "time" || s.rows.some((r) => typeof r[0] !== "string")) continue;
    const at = s.rows.map((r) => seconds(r[0]));
    for (let c = 1; c < s.columns.length; c++) {
      if (!s.rows.some((r) => numeric(r[c])) || !s.rows.every((r) => r[c] == null || numeric(r[c]))) continue;
      if (all.length === linesMax) {
        more++;
        continue;
      }
      for (const t of at) times.add(t);
      all.push({ name: [s.name, s.columns[c], ...Object.entries(s.tags).map(([k, v]) => `${k}=${v}`)].join(" "), at, of: s.rows.map((r) => (r[c] == null ? null : Number(r[c]))) });
    }
  }
  const sorted = [...times].sort((a, b) => a - b);
  if (sorted.length < 2) return { times: [], lines: [], more: 0 };
  const place = new Map(sorted.map((t, i) => [t, i]));
  // A time that only other lines have leaves no gap in this one: it is undefined, not null.
  const spread = (l) => {
    const values = new Array(sorted.length).fill(undefined);
    l.at.forEach((t, i) => (values[place.get(t)] = l.of[i]));
    return values;
  };
  return { times: sorted, lines: all.map((l) => ({ name: l.name, values: spread(l) })), more };
}
