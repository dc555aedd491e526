package wire_test

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"hash/crc32"
	"math"
	"os"
	"reflect"
	"strconv"
	"strings"
	"testing"

	"github.com/vmihailenco/msgpack/v5"

	"muster/repl/wire"
	"muster/shardmap"
	"muster/shardmap/pack"
)

const vectorsFile = "../../docs/examples/vectors.json"

// vectors are what docs/examples/vectors.json has: a section has a line for each vector.
type vectors struct {
	out strings.Builder
}

func (v *vectors) section(name string, rows ...any) {
	fmt.Fprintf(&v.out, ",\n%q: [", name)
	for i, row := range rows {
		var line bytes.Buffer
		e := json.NewEncoder(&line)
		e.SetEscapeHTML(false)
		if err := e.Encode(row); err != nil {
			panic(err)
		}
		if i > 0 {
			v.out.WriteString(",")
		}
		fmt.Fprintf(&v.out, "\n  %s", bytes.TrimSpace(line.Bytes()))
	}
	v.out.WriteString("\n]")
}

// The rows of the sections. Bytes are in hexadecimal.
type (
	sumVector struct {
		Bytes  string `json:"bytes"`
		CRC32C uint32 `json:"crc32c"`
	}
	slotVector struct {
		Key   string `json:"key,omitempty"` // for people, if it is text
		Bytes string `json:"bytes"`
		Slot  int    `json:"slot"`
	}
	valueVector struct {
		Bytes string `json:"bytes"`
		Value any    `json:"value"`
	}
	badVector struct {
		Bytes string `json:"bytes"`
		Why   string `json:"why"`
	}
	frameVector struct {
		Type     uint16 `json:"type"`
		Name     string `json:"name"`
		Flags    uint16 `json:"flags"`
		Deadline uint32 `json:"deadline_ms"`
		Request  uint64 `json:"request"`
		Bytes    string `json:"bytes"`
		Body     any    `json:"body"`
	}
	writeVector struct {
		About   string `json:"about"`
		Bytes   string `json:"bytes"`
		Command any    `json:"command"`
		Item    any    `json:"item,omitempty"`
	}
	codeVector struct {
		Code  uint16 `json:"code"`
		Name  string `json:"name"`
		Retry string `json:"retry"`
	}
	proofVector struct {
		Secret string   `json:"secret"`
		Side   int      `json:"side"`
		Parts  []string `json:"parts"`
		Proof  string   `json:"proof"`
	}
)

// meant is one msgpack value as the file writes it, read by a library that shares nothing with ours.
func meant(t *testing.T, b []byte) any {
	t.Helper()
	v, err := msgpack.NewDecoder(bytes.NewReader(b)).DecodeInterface()
	if err == nil {
		err = pack.Check(b, 1000) // nothing stands behind it
	}
	if err != nil {
		t.Fatalf("% x: %v", b, err)
	}
	return plainly(v)
}

// plainly writes numbers, of which JSON's have no 64 bits everywhere, and bytes so that they can be told from texts.
func plainly(v any) any {
	switch v := v.(type) {
	case []any:
		all := make([]any, len(v))
		for i := range v {
			all[i] = plainly(v[i])
		}
		return all
	case []byte:
		return map[string]string{"bin": hex.EncodeToString(v)}
	case nil, bool, string:
		return v
	}
	n := reflect.ValueOf(v)
	if n.CanInt() {
		return map[string]string{"int": strconv.FormatInt(n.Int(), 10)}
	}
	return map[string]string{"int": strconv.FormatUint(n.Uint(), 10)}
}

func hexOf(b []byte) string { return hex.EncodeToString(b) }

// makeVectors makes the file from what the code here writes and refuses.
func makeVectors(t *testing.T) []byte {
	v := new(vectors)
	v.out.WriteString(`{
"about": ["What docs/clients.md and docs/protocol.md say, for a program that checks a client. Bytes are in hexadecimal.",
  "Of values, a text is a str, a list an array, {\"int\":\"7\"} a number, {\"bin\":\"00ff\"} a bin.",
  "checksums: the CRC32C of bytes. slots: the slot of a key. values: what is written in its shortest form, and read. longer_values: what is read, too.",
  "no_values, no_frames: what is refused. frames: a header and a body. writes: the body of a Write, its command, and of a txn, lease or del prefix what its only item holds.",
  "codes: whether a retry can help. proofs: of the hello, with a secret."]`)
	var sums []any
	for _, s := range []string{"", "123456789", strings.Repeat("\x00", 32), strings.Repeat("\xff", 32)} {
		sums = append(sums, sumVector{hexOf([]byte(s)), crc32.Checksum([]byte(s), crc32.MakeTable(crc32.Castagnoli))})
	}
	v.section("checksums", sums...)
	v.section("slots", slotVectors()...)
	values, longer, none := valueVectors(t)
	v.section("values", values...)
	v.section("longer_values", longer...)
	v.section("no_values", none...)
	frames, bad := frameVectors(t)
	v.section("frames", frames...)
	v.section("no_frames", bad...)
	v.section("writes", writeVectors(t)...)
	var codes []any
	for c := wire.Code(1); c.Known(); c++ {
		codes = append(codes, codeVector{uint16(c), c.String(), c.Retry().String()})
	}
	v.section("codes", codes...)
	v.section("proofs", proofVectors()...)
	v.out.WriteString("\n}\n")
	return []byte(v.out.String())
}

func slotVectors() (all []any) {
	for _, key := range []string{"greeting", "{u}name", "u", "a", "{}a", "{a", "a}", "}a{", "{a}{b}", "x{a}y", "a{{b}}c", "ключ", "\x00", "\xff\xfe",
		"123", "1234", "1234567", "12345678", strings.Repeat("k", 31), strings.Repeat("k", 32), strings.Repeat("k", 33), strings.Repeat("0123456789abcdef", 256)} {
		row := slotVector{Bytes: hexOf([]byte(key)), Slot: int(shardmap.SlotOf([]byte(key)))}
		if len(key) < 64 && key[0] >= ' ' && key[0] != '\xff' {
			row.Key = key
		}
		all = append(all, row)
	}
	return all
}

// valueVectors are values as they are written here; longer forms of them, which are read too; and what must be refused.
func valueVectors(t *testing.T) (values, longer, none []any) {
	add := func(b []byte) { values = append(values, valueVector{hexOf(b), meant(t, b)}) }
	add(pack.AppendNil(nil))
	add(pack.AppendBool(nil, false))
	add(pack.AppendBool(nil, true))
	for _, n := range []uint64{0, 1, 127, 128, 255, 256, 65535, 65536, math.MaxUint32, math.MaxUint32 + 1, 1 << 53, 1<<53 + 1, math.MaxInt64, math.MaxUint64} {
		add(pack.AppendUint(nil, n))
	}
	for _, n := range []int64{-1, -32, -33, -128, -129, -32768, -32769, math.MinInt32, math.MinInt32 - 1, math.MinInt64} {
		add(pack.AppendInt(nil, n))
	}
	for _, n := range []int{0, 1, 255, 256} {
		add(pack.AppendBytes(nil, bytes.Repeat([]byte{0xa5}, n)))
	}
	for _, s := range []string{"", "muster", strings.Repeat("s", 31), strings.Repeat("s", 32), strings.Repeat("s", 255), strings.Repeat("s", 256), "grüße"} {
		add(pack.AppendString(nil, s))
	}
	for _, n := range []int{0, 1, 15, 16} {
		b := pack.AppendArray(nil, n)
		for i := range n {
			b = pack.AppendUint(b, uint64(i))
		}
		add(b)
	}
	deep := func(n int) (b []byte) {
		for range n {
			b = pack.AppendArray(b, 1)
		}
		return pack.AppendNil(b)
	}
	add(deep(pack.DepthMax))
	for _, b := range []string{"\xcc\x07", "\xcd\x00\x07", "\xce\x00\x00\x00\x07", "\xcf\x00\x00\x00\x00\x00\x00\x00\x07", "\xd0\x07", "\xd1\xff\xff", "\xd2\xff\xff\xff\xff",
		"\xd3\xff\xff\xff\xff\xff\xff\xff\xff", "\xc5\x00\x01\xa5", "\xc6\x00\x00\x00\x01\xa5", "\xd9\x01s", "\xda\x00\x01s", "\xdb\x00\x00\x00\x01s", "\xdc\x00\x01\x07", "\xdd\x00\x00\x00\x01\x07"} {
		if err := pack.Check([]byte(b), 10); err != nil {
			t.Errorf("% x: %v", b, err)
		}
		longer = append(longer, valueVector{hexOf([]byte(b)), meant(t, []byte(b))})
	}
	for _, bad := range []struct{ bytes, why string }{
		{"", "nothing"},
		{"\xcd\x01", "a number is cut off"},
		{"\xc4\x02\xa5", "a bin is longer than what is left"},
		{"\xc6\xff\xff\xff\xff", "a bin claims 4 GiB"},
		{"\xa2s", "a text is longer than what is left"},
		{"\x92\x01", "an array has more elements than are left"},
		{"\xdd\xff\xff\xff\xff", "an array claims four billion elements"},
		{"\xc1", "no value begins with this byte"},
		{"\xd4\x01\x00", "an extension"},
		{"\x01\x02", "a byte stands behind the value"},
		{string(deep(pack.DepthMax + 1)), "33 arrays stand in each other"},
	} {
		if pack.Check([]byte(bad.bytes), 1000) == nil {
			t.Errorf("% x, %s: it is not refused", bad.bytes, bad.why)
		}
		none = append(none, badVector{hexOf([]byte(bad.bytes)), bad.why})
	}
	return values, longer, none
}

// forClients reports whether a client may see frames of a type.
func forClients(typ wire.Type) bool {
	moves := typ == wire.TypeStep || typ == wire.TypeStepAnswer
	return typ.Known() && !moves && (typ <= wire.TypePong || typ >= wire.TypeWrite && typ <= wire.TypeStatus)
}

func frameVectors(t *testing.T) (frames, bad []any) {
	for typ := range wire.TypeStatus {
		if !forClients(typ) {
			continue
		}
		frame := exampleFrame(typ)
		frames = append(frames, frameVector{Type: uint16(typ), Name: typ.String(), Flags: binary.LittleEndian.Uint16(frame[10:]), Deadline: deadlineOf(typ),
			Request: binary.LittleEndian.Uint64(frame[16:]), Bytes: hexOf(frame), Body: meant(t, frame[wire.HeaderSize:])})
	}
	whole := exampleFrame(wire.TypeGet)
	flipped := func(at int) []byte {
		b := bytes.Clone(whole)
		b[at] ^= 1
		return b
	}
	behind, start := wire.BeginFrame(nil, wire.TypePing, 0, 0, 7)
	behind = wire.EndFrame(append(behind, 0x90, 0x90), start)
	for _, b := range []struct {
		bytes []byte
		why   string
	}{
		{flipped(4), "a bit of the checksum"},
		{flipped(8), "a bit of the type"},
		{flipped(10), "a bit of the flags"},
		{flipped(12), "a bit of the deadline"},
		{flipped(16), "a bit of the request number"},
		{flipped(len(whole) - 1), "a bit of the body"},
		{flipped(0), "the header claims a longer or shorter body"},
		{whole[:len(whole)-1], "the body is cut off"},
		{behind, "a second value stands behind the body, under a good checksum"},
	} {
		if _, err := wire.Describe(b.bytes); err == nil {
			t.Errorf("%s: it is not refused", b.why)
		}
		bad = append(bad, badVector{hexOf(b.bytes), b.why})
	}
	return frames, bad
}

// writeVectors are bodies of the Writes that clients send.
func writeVectors(t *testing.T) (all []any) {
	const slot, session = 2032, 0x0123456789abcdef
	items := func(texts ...string) (all [][]byte) {
		for _, s := range texts {
			all = append(all, []byte(s))
		}
		return all
	}
	add := func(about string, c shardmap.Command) {
		c.Session, c.Sequence, c.Floor = session, 42, 40
		if err := c.Validate(shardmap.Limits{ValueMax: shardmap.ValueMaxDefault, Level: shardmap.Level}); err != nil {
			t.Errorf("%s: %v", about, err)
		}
		b := wire.AppendWrite(nil, &c)
		command, err := wire.CheckWrite(b)
		if err != nil {
			t.Errorf("%s: %v", about, err)
		}
		row := writeVector{About: about, Bytes: hexOf(b), Command: meant(t, command)}
		if c.Kind == shardmap.CommandTxn || c.Kind == shardmap.CommandLease || c.Kind == shardmap.CommandDelPrefix {
			row.Item = meant(t, c.Items[0])
		}
		all = append(all, row)
	}
	add("set of two keys", shardmap.Command{Kind: shardmap.CommandSet, Slot: slot, Items: items("{u}a", "1", "{u}b", "")})
	add("set, the slot computed by the node", shardmap.Command{Kind: shardmap.CommandSet, Slot: shardmap.SlotByServer, Items: items("greeting", "hello")})
	add("set if absent", shardmap.Command{Kind: shardmap.CommandSet, Slot: slot, Condition: shardmap.ConditionAbsent, Items: items("{u}a", "1")})
	add("set if at version 17", shardmap.Command{Kind: shardmap.CommandSet, Slot: slot, Condition: shardmap.ConditionVersion, Version: 17, Items: items("{u}a", "1")})
	add("del", shardmap.Command{Kind: shardmap.CommandDel, Slot: slot, Items: items("{u}a", "{u}b")})
	add("del prefix, since level 9", shardmap.DelPrefixCommand(slot, []byte("{u}"), shardmap.DelPrefixMax))
	key := []byte("{u}a")
	add("txn: a counter", shardmap.TxnCommand(slot, &shardmap.Txn{Then: []shardmap.Op{{Kind: shardmap.OpIncr, Key: key, By: -3}}}))
	add("txn: if the key has a version and another a value, set with a ttl and del, else get", shardmap.TxnCommand(slot, &shardmap.Txn{
		If:   []shardmap.Compare{{Kind: shardmap.CompareVersion, Key: key, Version: 17}, {Kind: shardmap.CompareValue, Key: []byte("{u}b"), Value: []byte("v")}, {Kind: shardmap.CompareAbsent, Key: []byte("{u}c")}},
		Then: []shardmap.Op{{Kind: shardmap.OpSet, Key: key, Value: []byte("1"), TTL: 60000}, {Kind: shardmap.OpDel, Key: []byte("{u}b")}},
		Else: []shardmap.Op{{Kind: shardmap.OpGet, Key: key}}}))
	lease := shardmap.MakeLeaseID(slot, 17)
	add("txn: a lock is taken", shardmap.TxnCommand(slot, &shardmap.Txn{If: []shardmap.Compare{{Kind: shardmap.CompareAbsent, Key: []byte("{u}lock")}},
		Then: []shardmap.Op{{Kind: shardmap.OpSet, Key: []byte("{u}lock"), Value: []byte("muster-lock/1 000102030405060708090a0b0c0d0e0f\nme"), Lease: lease}},
		Else: []shardmap.Op{{Kind: shardmap.OpGet, Key: []byte("{u}lock")}}}))
	add("lease: grant", shardmap.LeaseCommand(slot, shardmap.LeaseGrant, 0, 10000))
	add("lease: keepalive", shardmap.LeaseCommand(slot, shardmap.LeaseKeepalive, lease, 0))
	add("lease: revoke", shardmap.LeaseCommand(slot, shardmap.LeaseRevoke, lease, 0))
	return all
}

func proofVectors() []any {
	hello, challenge := exampleFrame(wire.TypeHello)[wire.HeaderSize:], exampleFrame(wire.TypeChallenge)[wire.HeaderSize:]
	parts := []string{hexOf([]byte("\xedmus\x03\x03\x02\x00")), hexOf(hello), hexOf(challenge)}
	welcome := exampleFrame(wire.TypeWelcome)[wire.HeaderSize:]
	unsigned := bytes.Clone(welcome)
	clear(unsigned[3:35])
	return []any{
		proofVector{exampleSecret, 1, parts, hexOf(exampleFrame(wire.TypeProof)[wire.HeaderSize+3:])},
		proofVector{exampleSecret, 2, append(parts[:3:3], hexOf(unsigned)), hexOf(welcome[3:35])},
	}
}

// A client in another language is held against this file, so each vector is what the code here writes, reads or refuses, and the
// file has no other.
func TestVectors(t *testing.T) {
	fresh := makeVectors(t)
	if t.Failed() {
		return
	}
	if *update {
		if err := os.WriteFile(vectorsFile, fresh, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if b, err := os.ReadFile(vectorsFile); err != nil || !bytes.Equal(b, fresh) {
		t.Errorf("%s is not what the code says (%v); go test ./repl/wire -run TestVectors -update writes it anew", vectorsFile, err)
	}
}

const clientsPage = "../../docs/clients.md"

// The page for those who write a client says of each code what a client does, in one row.
func TestClientsPageCodes(t *testing.T) {
	page, err := os.ReadFile(clientsPage)
	if err != nil {
		t.Fatal(err)
	}
	_, table, _ := strings.Cut(string(page), "| code | what a client does |\n|---|---|\n")
	table, _, _ = strings.Cut(table, "\n\n")
	rows := map[string]int{}
	for line := range strings.Lines(table) {
		first, _, _ := strings.Cut(strings.TrimPrefix(line, "| "), " | ")
		for name := range strings.SplitSeq(first, ", ") {
			rows[strings.Trim(name, "`")]++
		}
	}
	for c := wire.Code(1); c.Known(); c++ {
		if rows[c.String()] != 1 {
			t.Errorf("%s stands in %d rows of %s, want one", c, rows[c.String()], clientsPage)
		}
		delete(rows, c.String())
	}
	if delete(rows, "any other"); len(rows) > 0 {
		t.Errorf("%s has rows of codes that there are not: %v", clientsPage, rows)
	}
}
