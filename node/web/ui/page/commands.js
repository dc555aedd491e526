// The commands that the page uses. One row is a command of the command line and a route
// of the API at once: `muster NOUN VERB` is /api/v1/NOUN/VERB. So what a screen does, and
// the command that it shows for it, can't differ.

// Each row: the method, and what the arguments that stand without an option are called.
const rows = {
  "doctor": ["GET"],
  "check": ["POST"],
  "kv get": ["GET", "key"],
  "kv list": ["GET", "prefix"],
  "kv watch": ["GET", "prefix"],
  "kv set": ["POST", "key", "value"],
  "kv del": ["POST", "key"],
  "node add": ["POST", "addr"],
  "node remove": ["POST", "node"],
  "node drain": ["POST", "node"],
  "node undrain": ["POST", "node"],
  "node label": ["POST", "node", "label"],
  "node weight": ["POST", "node", "weight"],
  "group list": ["GET"],
  "group create": ["POST", "id"],
  "group remove": ["POST", "id"],
  "group add": ["POST", "group", "node"],
  "group del": ["POST", "group", "node"],
  "group promote": ["POST", "group", "node"],
  "slot list": ["GET"],
  "slot move": ["POST", "slots", "group"],
  "slot rebalance": ["POST"],
  "job list": ["GET"],
  "job pause": ["POST", "id"],
  "job resume": ["POST", "id"],
  "job cancel": ["POST", "id"],
  "db list": ["GET"],
  "db create": ["POST", "database"],
  "db drop": ["POST", "database"],
  "policy list": ["GET", "database"],
  "policy create": ["POST", "database", "policy"],
  "policy alter": ["POST", "database", "policy"],
  "policy default": ["POST", "database", "policy"],
  "policy drop": ["POST", "database", "policy"],
  "window list": ["GET", "database"],
  "window truncate": ["POST", "database"],
  "hint list": ["GET"],
  "hint retry": ["POST"],
  "hint purge": ["POST"],
  "service list": ["GET"],
  "service get": ["GET", "name"],
  "service pick": ["GET", "name"],
  "service set": ["POST", "name"],
  "service del": ["POST", "name", "instance"],
  "service maintain": ["POST", "name", "instance", "state"],
  "setting list": ["GET"],
  "setting set": ["POST", "name", "value"],
  "token create": ["POST"],
  "user list": ["GET"],
  "user grant": ["POST", "name", "role"],
  "user revoke": ["POST", "name", "role"],
  "role list": ["GET"],
  "auth whoami": ["GET"],
  "audit tail": ["GET"],
  "log diff": ["GET", "left", "right"],
};

// These a person has to agree to: with --yes, where nobody can be asked.
const agreed = new Set(["node remove", "node drain", "group remove", "group add", "group del", "group promote", "slot rebalance", "setting set", "check", "db drop", "policy alter", "policy drop", "window truncate", "hint purge"]);

// shell quotes a word for a POSIX shell where it needs that.
export function shell(word) {
  word = String(word);
  if (word !== "" && !/[^\w@%+=:,./-]/.test(word)) return word;
  return "'" + word.replaceAll("'", `'\\''`) + "'";
}

// line is a command as a person types it, who has seen its plan or has not.
export function line(command, args = {}, seen = false) {
  if (seen && agreed.has(command)) args = { ...args, yes: true };
  const [, ...positions] = rows[command];
  const words = ["muster", ...command.split(" ")];
  const plain = [];
  for (const name of positions) {
    if (args[name] == null) continue;
    for (const a of [args[name]].flat()) plain.push(String(a));
  }
  // An argument that a command can do without needs no empty word in its place.
  if (rows[command][0] === "GET" && plain.at(-1) === "") plain.pop();
  // After "--" a word is an argument, whatever it begins with.
  if (plain.some((w) => w.startsWith("-"))) plain.unshift("--");
  const options = [];
  for (const [name, value] of Object.entries(args)) {
    if (positions.includes(name) || value == null || value === "" || value === false) continue;
    const option = "--" + name.replaceAll("_", "-");
    for (const v of [value].flat()) options.push(v === true ? option : `${option} ${shell(v)}`);
  }
  return [...words, ...options, ...plain.map(shell)].join(" ");
}

// route is where a command is asked: its method, its path, and its arguments as the
// method carries them.
export function route(command, args = {}, { plan = false } = {}) {
  const [method] = rows[command];
  const query = new URLSearchParams();
  let body;
  if (method === "GET") {
    for (const [name, value] of Object.entries(args)) {
      if (value == null || value === "" || value === false) continue;
      for (const v of [value].flat()) query.append(name, v === true ? "true" : v);
    }
  } else {
    body = JSON.stringify(args);
  }
  if (plan) query.set("plan", "1");
  const q = query.toString();
  return { method, path: "/api/v1/" + command.replace(" ", "/") + (q ? "?" + q : ""), body };
}
