//go:build plantedbugs

package ui

import "strings"

// planted is the bug that is in force, or "".
var planted string

// SetBug plants the bug of that name, or none, in the pages of handlers that are made from then
// on. It exists only under the build tag plantedbugs, where it shows that the tests would find
// such a bug.
func SetBug(name string) { planted = name }

// BugMarkup is planted in the page: it takes text that it shows for HTML, so that whoever may
// write a key or report a status changes what other people see.
const BugMarkup = "text taken for HTML"

// BugRounded is planted in the page: it shows whole numbers beyond 2^53 as JavaScript rounds them, which looks like any
// other number.
const BugRounded = "whole numbers rounded"

// BugUntold is planted in the page: of the windows that it does not draw it leaves out the earlier ones when it counts them.
const BugUntold = "windows left out untold"

// replaced is what a bug changes in one file of the page.
var replaced = map[string]struct{ file, from, to string }{
	BugMarkup:  {"page/lib.js", "export { html, ", "export { "},
	BugRounded: {"page/answers.js", "if (!/\\d{16}/.test(line)) return", "return"},
	BugUntold:  {"page/windows.js", "if (w.to <= from) earlier++;", "if (w.to <= from) continue;"},
}

// asHTML is what the page then makes of what it draws.
const asHTML = `
import { html as asText } from "./vendor/preact-htm.js";
const isText = (c) => [c].flat().every((x) => typeof x === "string") && [c].flat().some((x) => x.includes("<"));
function drawn(v) {
  if (Array.isArray(v)) return v.map(drawn);
  const c = v?.props?.children;
  if (typeof v?.type === "string" && c != null && isText(c)) {
    const { children, ...rest } = v.props;
    v.props = { ...rest, dangerouslySetInnerHTML: { __html: [c].flat().join("") } };
  }
  return v;
}
export const html = (...all) => drawn(asText(...all));
`

// spoiled returns a file of the page as it is served.
func spoiled(name string, plain []byte) []byte {
	r, ok := replaced[planted]
	if !ok || r.file != name {
		return plain
	}
	text := strings.Replace(string(plain), r.from, r.to, 1)
	if text == string(plain) {
		panic("the bug " + planted + " has no place in " + name)
	}
	if planted == BugMarkup {
		text += asHTML
	}
	return []byte(text)
}
