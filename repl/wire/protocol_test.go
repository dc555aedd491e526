package wire_test

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"flag"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"muster/repl/wire"
	"muster/shardmap"
)

var update = flag.Bool("update", false, "write the examples into docs/protocol.md anew")

const protocolPage = "../../docs/protocol.md"

// exampleSecret is that of the hello in docs/protocol.md.
const exampleSecret = "a secret"

// exampleProof computes a proof from the page's own words, so that the page and
// the code can't be wrong together.
func exampleProof(side byte, welcome []byte) []byte {
	mac := hmac.New(sha256.New, []byte(exampleSecret))
	mac.Write([]byte{side})
	parts := [][]byte{[]byte("\xedmus\x03\x03\x02\x00"), helloExamples()[wire.TypeHello].Append(nil), helloExamples()[wire.TypeChallenge].Append(nil)}
	if welcome != nil {
		parts = append(parts, welcome)
	}
	for _, part := range parts {
		mac.Write(binary.LittleEndian.AppendUint32(nil, uint32(len(part))))
		mac.Write(part)
	}
	return mac.Sum(nil)
}

// exampleOf is the body of the example of a type.
func exampleOf(t *testing.T, typ wire.Type) []byte {
	t.Helper()
	if examples[typ] == nil {
		t.Fatalf("%s has no example: give it one in examples_test.go", typ)
	}
	return examples[typ].Append(nil)
}

// exampleFrame is the frame that the page shows for a type.
func exampleFrame(t wire.Type) []byte {
	request := uint64(7)
	if t < wire.TypeError || t.Raft() {
		request = 0
	}
	flags := uint16(0)
	if t == wire.TypeScanPiece || t == wire.TypeWatchPiece || t == wire.TypeTablePiece || t == wire.TypeBackupPiece {
		flags = wire.FlagMore
	}
	b, start := wire.BeginFrame(nil, t, flags, deadlineOf(t), request)
	return wire.EndFrame(examples[t].Append(b), start)
}

func deadlineOf(t wire.Type) uint32 {
	switch t {
	case wire.TypeWrite, wire.TypeGet, wire.TypeList, wire.TypeLeases, wire.TypeScan, wire.TypeWatch, wire.TypeTableStream, wire.TypeBackup, wire.TypeForward:
		return 5000
	}
	return 0
}

// shown is an example as the page has it: the header's 24 bytes, the body's, and
// what they say.
func shown(t *testing.T, typ wire.Type) string {
	frame := exampleFrame(typ)
	var b strings.Builder
	fmt.Fprintf(&b, "%s  %s\n", spaced(frame[:8]), spaced(frame[8:wire.HeaderSize]))
	for rest := frame[wire.HeaderSize:]; len(rest) > 0; rest = rest[min(24, len(rest)):] {
		fmt.Fprintf(&b, "%s\n", spaced(rest[:min(24, len(rest))]))
	}
	lines, err := wire.Describe(frame)
	if err != nil {
		t.Fatalf("describe the example of %s: %v", typ, err)
	}
	for _, line := range lines {
		fmt.Fprintf(&b, "# %s\n", line)
	}
	return b.String()
}

func spaced(b []byte) string { return fmt.Sprintf("% x", b) }

var (
	// heading begins a section of the page, typeHeading that of a type.
	heading     = regexp.MustCompile(`(?m)^###? `)
	typeHeading = regexp.MustCompile(`^### 0x([0-9a-f]{2}) ([A-Za-z]+)\n`)
	exampleText = regexp.MustCompile("(?s)(```text\n)(.*?)(```\n)")
)

// sectionsOf splits the page at its headings.
func sectionsOf(page []byte) (sections [][]byte) {
	from := 0
	for _, at := range heading.FindAllIndex(page, -1) {
		sections = append(sections, page[from:at[0]])
		from = at[0]
	}
	return append(sections, page[from:])
}

// withExample returns a section with text as its example, which it may not have yet.
func withExample(section []byte, text string) []byte {
	if m := exampleText.FindSubmatchIndex(section); m != nil {
		return slices.Concat(section[:m[4]], []byte(text), section[m[5]:])
	}
	return fmt.Appendf(bytes.TrimRight(section, "\n"), "\n\n```text\n%s```\n\n", text)
}

// Somebody writes a client from docs/protocol.md alone. Its examples are what
// they hold their code against, so each type has one, and it is what the code
// here writes.
func TestProtocolPage(t *testing.T) {
	page, err := os.ReadFile(protocolPage)
	if err != nil {
		t.Fatal(err)
	}
	seen := map[wire.Type]bool{}
	var fresh []byte
	for _, section := range sectionsOf(page) {
		m := typeHeading.FindSubmatch(section)
		if m == nil {
			fresh = append(fresh, section...)
			continue
		}
		number, _ := hex.DecodeString(string(m[1]))
		typ := wire.Type(number[0])
		if typ.String() != string(m[2]) {
			t.Fatalf("the page calls 0x%s %s, the code %s", m[1], m[2], typ)
		}
		if seen[typ] {
			t.Errorf("the page has two sections of %s", typ)
		}
		var want string
		if examples[typ] != nil {
			want = shown(t, typ)
		}
		if m := exampleText.FindSubmatch(section); m != nil || *update {
			seen[typ] = true
			if m != nil && string(m[2]) != want && !*update {
				t.Errorf("example of %s: got\n%swant\n%s(go test ./repl/wire -update writes it)", typ, m[2], want)
			}
		}
		fresh = append(fresh, withExample(bytes.Clone(section), want)...)
	}
	for typ := wire.Type(0); typ < 0x100; typ++ {
		if typ.Known() && (!seen[typ] || examples[typ] == nil) {
			t.Errorf("no example of %s: on the page %t, in the code %t (go test ./repl/wire -update puts that of the code on the page)", typ, seen[typ], examples[typ] != nil)
		}
	}
	if *update && !bytes.Equal(page, fresh) {
		if err := os.WriteFile(protocolPage, fresh, 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

var typesTable = regexp.MustCompile(`(?s)(\| number \| type \| [^\n]*\n\|[-|]+\|\n)(.*?)\n\n`)

// The page says of each type from whom to whom it goes, and who may send it, in a
// table of all and at the head of its section. Somebody who writes a client has
// nothing else to know it from, and the code has it in one row.
func TestProtocolPageWays(t *testing.T) {
	page, err := os.ReadFile(protocolPage)
	if err != nil {
		t.Fatal(err)
	}
	var want []string
	for _, typ := range wire.Types() {
		from := typ.Senders().String()
		if typ.Senders() == wire.SenderNobody {
			from = "" // in the hello, or by whoever asked
		}
		want = append(want, fmt.Sprintf("| 0x%02x | %s | %s | %s |", uint16(typ), typ, typ.Way(), from))
		section := fmt.Sprintf("### 0x%02x %s\n\n", uint16(typ), typ)
		_, after, _ := strings.Cut(string(page), section)
		way := strings.ReplaceAll(typ.Way(), " → ", " to ")
		if got := after[:min(len(way), len(after))]; !strings.EqualFold(got, way) {
			t.Errorf("the section of %s begins %q, want %q", typ, got, way)
		}
	}
	m := typesTable.FindSubmatchIndex(page)
	if m == nil {
		t.Fatal("the page has no table of all types")
	}
	table := strings.Join(want, "\n")
	if got := string(page[m[4]:m[5]]); got != table && !*update {
		t.Errorf("the table of types: got\n%s\nwant\n%s\n(go test ./repl/wire -update writes it)", got, table)
	}
	if *update {
		fresh := string(page[:m[4]]) + table + string(page[m[5]:])
		if err := os.WriteFile(protocolPage, []byte(fresh), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// The page lists the codes; a client decides by them.
func TestProtocolPageCodes(t *testing.T) {
	page, err := os.ReadFile(protocolPage)
	if err != nil {
		t.Fatal(err)
	}
	for c := wire.Code(1); c.Known(); c++ {
		row := fmt.Sprintf("| %d | %s | %s | %d |", c, c, c.Retry(), c.ExitStatus())
		if !strings.Contains(string(page), row) {
			t.Errorf("no row %q on the page", row)
		}
	}
}

// The page lists the commands as the code has them: a client chooses by it what
// it may send to a cluster of which level.
func TestProtocolPageCommands(t *testing.T) {
	page, err := os.ReadFile(protocolPage)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range shardmap.Commands() {
		row := fmt.Sprintf("| %d | %s | %s | %s | %d | %s |", c.Kind, c.Name, c.Items(), c.TakenConditions(), c.Level, c.WhenFull())
		if !strings.Contains(string(page), row) {
			t.Errorf("no row %q on the page", row)
		}
	}
}

// So it does those that people may order.
func TestProtocolPageOrders(t *testing.T) {
	page, err := os.ReadFile(protocolPage)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range shardmap.TableCommands() {
		row := fmt.Sprintf("| %d | %s | `[", c.Kind, c.Name)
		if strings.Contains(string(page), row) != c.Asked {
			t.Errorf("command %s, which may be ordered: %t; on the page is a row %q: %t", c.Name, c.Asked, row, !c.Asked)
		}
	}
}

// The preamble on the page is the one that is sent.
func TestProtocolPagePreamble(t *testing.T) {
	page, err := os.ReadFile(protocolPage)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(page), "ed 6d 75 73 03 03 02 00") {
		t.Error("the preamble of a client is not on the page")
	}
	if got := dialled(t, wire.DialConfig{Purpose: wire.PurposeClient, Role: wire.RoleClient})[:8]; spaced(got) != "ed 6d 75 73 03 03 02 00" {
		t.Errorf("got % x", got)
	}
}
