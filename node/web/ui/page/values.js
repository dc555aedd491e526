// Values as people read them: text, JSON, msgpack, bytes.

export const encode = (text) => new TextEncoder().encode(text);

export function fromBase64(text) {
  return Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
}

export function toBase64(bytes) {
  let s = "";
  for (const b of bytes) s += String.fromCharCode(b);
  return btoa(s);
}

// bytesOf are the bytes of the part `name` of an item: of value or value_base64.
export const bytesOf = (item, name) => (item[name + "_base64"] != null ? fromBase64(item[name + "_base64"]) : encode(item[name] ?? ""));

// utf8 is the text that bytes are, or null where they are none.
export function utf8(bytes) {
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    return null;
  }
}

// json is the bytes as JSON with indents, or null.
export function json(bytes) {
  const text = utf8(bytes);
  if (text == null || !/^\s*[[{"\dtfn-]/.test(text)) return null;
  try {
    JSON.parse(text);
  } catch {
    return null;
  }
  return indent(text);
}

// indent lays out JSON as it stands: by tokens, since numbers beyond 2^53 and doubled
// names would not survive a parse.
function indent(text) {
  let out = "";
  let depth = 0;
  const tokens = text.match(/"(?:\\.|[^"\\])*"|[[\]{}:,]|[^\s[\]{}:,"]+/g) || [];
  const line = () => "\n" + "  ".repeat(depth);
  tokens.forEach((t, i) => {
    const empty = (t === "{" && tokens[i + 1] === "}") || (t === "[" && tokens[i + 1] === "]");
    if (t === "{" || t === "[") {
      depth++;
      out += empty ? t : t + line();
    } else if (t === "}" || t === "]") {
      depth--;
      out += /[{[]$/.test(out) ? t : line() + t;
    } else if (t === ",") out += t + line();
    else if (t === ":") out += ": ";
    else out += t;
  });
  return out;
}

const rowBytes = 16;

// hex is a dump with offsets and what is printable, of at most max bytes.
export function hex(bytes, max = 16_384) {
  const lines = [];
  for (let at = 0; at < Math.min(bytes.length, max); at += rowBytes) {
    const row = [...bytes.subarray(at, at + rowBytes)];
    const digits = row.map((b) => b.toString(16).padStart(2, "0")).join(" ");
    const text = row.map((b) => (b >= 32 && b < 127 ? String.fromCharCode(b) : ".")).join("");
    lines.push(`${at.toString(16).padStart(6, "0")}  ${digits.padEnd(rowBytes * 3 - 1)}  ${text}`);
  }
  if (bytes.length > max) lines.push(`… ${bytes.length - max} bytes more`);
  return lines.join("\n");
}

const depthMax = 64;

// msgpack is the bytes as msgpack, written like JSON, or null where they are none. A
// single small number is not taken for msgpack: any text of one letter would be.
export function msgpack(bytes) {
  if (!bytes.length || bytes[0] < 0x80) return null;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  let at = 0;
  const take = (n) => {
    if (at + n > bytes.length) throw new Error("cut off");
    at += n;
    return at - n;
  };
  const text = (n) => {
    const from = take(n);
    const s = utf8(bytes.subarray(from, at));
    if (s == null) throw new Error("not UTF-8");
    return JSON.stringify(s);
  };
  const binary = (n) => {
    const from = take(n);
    return "h'" + [...bytes.subarray(from, at)].map((b) => b.toString(16).padStart(2, "0")).join("") + "'";
  };
  const size = (n) => (n === 1 ? view.getUint8(take(1)) : n === 2 ? view.getUint16(take(2)) : view.getUint32(take(4)));
  const pad = (d) => "  ".repeat(d);
  const list = (n, d) => {
    if (n > bytes.length - at) throw new Error("cut off");
    if (!n) return "[]";
    const all = [];
    for (let i = 0; i < n; i++) all.push(pad(d + 1) + one(d + 1));
    return "[\n" + all.join(",\n") + "\n" + pad(d) + "]";
  };
  const map = (n, d) => {
    if (n > bytes.length - at) throw new Error("cut off");
    if (!n) return "{}";
    const all = [];
    for (let i = 0; i < n; i++) all.push(pad(d + 1) + one(d + 1) + ": " + one(d + 1));
    return "{\n" + all.join(",\n") + "\n" + pad(d) + "}";
  };
  const extension = (n) => `ext(${view.getInt8(take(1))}, ${binary(n)})`;
  function one(d) {
    if (d > depthMax) throw new Error("too deep");
    const t = bytes[take(1)];
    if (t < 0x80) return String(t);
    if (t < 0x90) return map(t & 15, d);
    if (t < 0xa0) return list(t & 15, d);
    if (t < 0xc0) return text(t & 31);
    if (t >= 0xe0) return String(t - 256);
    switch (t) {
      case 0xc0: return "null";
      case 0xc2: return "false";
      case 0xc3: return "true";
      case 0xc4: case 0xc5: case 0xc6: return binary(size(1 << (t - 0xc4)));
      case 0xc7: case 0xc8: case 0xc9: return extension(size(1 << (t - 0xc7)));
      case 0xca: return String(view.getFloat32(take(4)));
      case 0xcb: return String(view.getFloat64(take(8)));
      case 0xcc: return String(view.getUint8(take(1)));
      case 0xcd: return String(view.getUint16(take(2)));
      case 0xce: return String(view.getUint32(take(4)));
      case 0xcf: return String(view.getBigUint64(take(8)));
      case 0xd0: return String(view.getInt8(take(1)));
      case 0xd1: return String(view.getInt16(take(2)));
      case 0xd2: return String(view.getInt32(take(4)));
      case 0xd3: return String(view.getBigInt64(take(8)));
      case 0xd4: case 0xd5: case 0xd6: case 0xd7: case 0xd8: return extension(1 << (t - 0xd4));
      case 0xd9: case 0xda: case 0xdb: return text(size(1 << (t - 0xd9)));
      case 0xdc: case 0xdd: return list(size(2 << (t - 0xdc)), d);
      case 0xde: case 0xdf: return map(size(2 << (t - 0xde)), d);
    }
    throw new Error("not msgpack");
  }
  try {
    const s = one(0);
    return at === bytes.length ? s : null;
  } catch {
    return null;
  }
}
