package wire_test

import (
	"bytes"
	"testing"

	"muster/repl/wire"
)

// While a cluster is upgraded, its nodes of the older build answer without the fields that
// were added since, and a command of the newer one must still show what they say.
func TestGrownAnswer(t *testing.T) {
	full := (&wire.StatusAnswer{Cluster: "prod", Level: 2}).Append(nil)
	const fields, emptyArray = 13, 0x90
	if full[0] != emptyArray|fields || full[len(full)-1] != emptyArray {
		t.Fatalf("the answer is not of %d fields with an empty list at its end: % x", fields, full)
	}
	cut := func(n int) []byte {
		b := bytes.Clone(full[:len(full)-n])
		b[0] -= byte(n)
		return b
	}
	var a wire.StatusAnswer
	if err := a.Read(cut(1)); err != nil || a.Cluster != "prod" || a.Level != 2 || a.Notes != nil {
		t.Errorf("without notes: %+v, %v", a, err)
	}
	if err := a.Read(cut(2)); err == nil {
		t.Error("without level: no error")
	}
	newer := append(bytes.Clone(full), 7)
	newer[0]++
	if err := a.Read(newer); err != nil || a.Level != 2 {
		t.Errorf("with a further field: %+v, %v", a, err)
	}
}

// An answer of the doctor has grown twice, and each of the three builds must read those of the
// other two.
func TestAnswerThatHasGrownTwice(t *testing.T) {
	full := (&wire.DoctorAnswer{Name: "n1", DoubtRemedy: "r"}).Append(nil)
	const fields, shortArray = 17, 0xdc // of more than 15 fields
	if full[0] != shortArray || full[2] != fields || !bytes.Equal(full[len(full)-4:], []byte{0x90, 0, 0x90, 0x90}) {
		t.Fatalf("the answer is not of %d fields with what was added at its end: % x", fields, full)
	}
	cut := func(n int) []byte {
		b := bytes.Clone(full[:len(full)-n])
		b[2] -= byte(n)
		return b
	}
	for n, ok := range []bool{0: true, 1: true, 2: true, 3: true, 4: true, 5: false} {
		var a wire.DoctorAnswer
		if err := a.Read(cut(n)); (err == nil) != ok || ok && (a.Name != "n1" || a.DoubtRemedy != "r") {
			t.Errorf("without %d fields: %+v, %v", n, a, err)
		}
	}
	newer := append(bytes.Clone(full), 7)
	newer[2]++
	if err := new(wire.DoctorAnswer).Read(newer); err != nil {
		t.Errorf("with a further field: %v", err)
	}
}

// An answer about services also names the nodes that check. Answers of older nodes lack that, and
// those of newer ones may have further fields.
func TestServicesAnswerThatHasGrown(t *testing.T) {
	full := (&wire.ServicesAnswer{Rows: []wire.ServiceRow{{Name: []byte("db"), Version: 3, Value: []byte{0}}}, Checkers: []wire.ServiceChecker{}}).Append(nil)
	const fields, emptyArray = 6, 0x90
	if full[0] != emptyArray|fields || full[len(full)-1] != emptyArray {
		t.Fatalf("the answer is not of %d fields with an empty list at its end: % x", fields, full)
	}
	older := bytes.Clone(full[:len(full)-1])
	older[0]--
	a := wire.ServicesAnswer{Checkers: []wire.ServiceChecker{{Instance: "of another answer"}}}
	if err := a.Read(older); err != nil || len(a.Rows) != 1 || a.Checkers != nil {
		t.Errorf("without checkers: %+v, %v", a, err)
	}
	newer := append(bytes.Clone(full), 7)
	newer[0]++
	if err := a.Read(newer); err != nil || len(a.Rows) != 1 {
		t.Errorf("with a further field: %+v, %v", a, err)
	}
	older[0]--
	if err := a.Read(older); err == nil {
		t.Error("of four fields: no error")
	}
}
