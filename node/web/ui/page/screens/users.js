// The users of the cluster, and what they may do.
import { html, useAsk, useMemo } from "../lib.js";
import { ask } from "../api.js";
import { act } from "../act.js";
import { Table } from "../table.js";
import { Failed, Facts, Panel, none } from "../parts.js";

const words = (v) => (v == null ? "" : Array.isArray(v) ? v.map(words).join(", ") : typeof v === "object" ? Object.values(v).map(words).join(" ") : String(v));

export function Users() {
  const who = useAsk((signal) => ask("auth whoami", {}, { signal }), []);
  const users = useAsk((signal) => ask("user list", {}, { signal }), [], 10_000);
  const roles = useAsk((signal) => ask("role list", {}, { signal }), [], 10_000);
  const columns = useMemo(() => [
    { key: "name", name: "user", width: 20, value: (u) => u.name },
    { key: "roles", name: "roles", value: (u) => words(u.roles) },
    { key: "do", name: "do", width: 22, cell: (u) => html`<button class="quiet" onClick=${() => act({ title: `Grant ${u.name} a role`, command: "user grant", args: { name: u.name }, button: "Grant", done: users.again, fields: [{ name: "role", label: "Role" }] })}>Grant<span class="sr"> ${u.name} a role</span></button>
      <button class="quiet danger" onClick=${() => act({ title: `Take a role from ${u.name}`, command: "user revoke", args: { name: u.name }, button: "Take it", danger: true, done: users.again, fields: [{ name: "role", label: "Role" }] })}>Take<span class="sr"> a role from ${u.name}</span></button>` },
  ], []);
  const roleColumns = useMemo(() => [
    { key: "name", name: "role", width: 20, value: (r) => r.name },
    { key: "grants", name: "allows", value: (r) => r.grants.map((g) => `${g.verbs.join(", ")} on ${g.object}`).join("; ") },
    { key: "users", name: "whose", width: 24, wide: true, value: (r) => words(r.users) },
  ], []);
  return html`<${Failed} error=${who.error || users.error || roles.error} />
    ${who.data && html`<${Panel} title="You" testid="whoami"><${Facts} of=${who.data.open ? [["the cluster", "asks nobody who they are"]] : [["user", who.data.user], ["roles", words(who.data.roles)]]} /></${Panel}>`}
    <${Table} label="Users" name="u" testid="users" columns=${columns} rows=${users.data || []} rowKey=${(u) => u.name} empty=${none(users.data, users.error, "there are no users: muster init makes the first")} fit />
    <${Table} label="Roles" name="r" testid="roles" columns=${roleColumns} rows=${roles.data || []} rowKey=${(r) => r.name} empty=${none(roles.data, roles.error, "there are no roles")} fit />`;
}
