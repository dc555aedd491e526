package wire

import (
	"fmt"

	"muster/raft"
	"muster/shardmap"
	"muster/shardmap/pack"
)

// TxnAnswer answers a Write whose command is a transaction:
//
//	[group, term, index, version, succeeded, [result …]]
//
// with a result for each operation of the branch that was carried out, in its order: nil of
// a set, and of a get that found nothing; true or false of a del, whether the key was there;
// [version, bin] of a get; and of an incr the number that the key now has. A repeated command
// gets the same answer as the first, values included.
//
// The answering side hands the detail of the command's result to [TxnAnswer.SetDetail]. The
// asking side calls Read, then Next for each result.
type TxnAnswer struct {
	Group     raft.GroupID
	ID        raft.LogID
	Version   uint64 // of all keys that it wrote; 0: it wrote none
	Succeeded bool   // all compares held: the results are of Then, else of Else
	Count     int    // results, at most TxnResultsMax
	Results   []byte // Count of them, back to back
}

const (
	txnAnswerFields = 6
	txnDetailFields = 2
	txnValueFields  = 2 // of a ResultValue
	// TxnResultsMax bounds the results of one transaction: a branch has no more operations.
	TxnResultsMax = shardmap.TxnOpsMax
)

// TxnResult is what one operation of a transaction answered.
type TxnResult struct {
	Kind    TxnResultKind
	Deleted bool   // of ResultDeleted
	Version uint64 // of ResultValue
	Value   []byte // of ResultValue; aliases what was read
	Number  int64  // of ResultNumber
}

// TxnResultKind is the kind of a result, as far as its bytes tell: only the sender of the
// transaction knows which operation it answers.
type TxnResultKind uint8

const (
	ResultNone    TxnResultKind = 0 // of a set, and of a get that found no key
	ResultDeleted TxnResultKind = 1 // of a del
	ResultValue   TxnResultKind = 2 // of a get that found the key
	ResultNumber  TxnResultKind = 3 // of an incr
)

// AppendTxnResult appends one result.
func AppendTxnResult(b []byte, r *TxnResult) []byte {
	switch r.Kind {
	case ResultDeleted:
		return pack.AppendBool(b, r.Deleted)
	case ResultValue:
		return pack.AppendBytes(pack.AppendUint(pack.AppendArray(b, txnValueFields), r.Version), r.Value)
	case ResultNumber:
		return pack.AppendInt(b, r.Number)
	}
	return pack.AppendNil(b)
}

// SetDetail takes Succeeded and Results from the detail of the command's result,
// [succeeded, [result …]], which the answer aliases.
func (a *TxnAnswer) SetDetail(detail []byte) error {
	r := pack.NewReader(detail)
	r.ArrayLen(txnDetailFields)
	a.Succeeded = r.Bool()
	a.readResults(&r)
	return r.Done()
}

// Append appends the body.
func (a *TxnAnswer) Append(b []byte) []byte {
	b = pack.AppendArray(b, txnAnswerFields)
	b = appendLogID(b, a.Group, a.ID)
	b = pack.AppendUint(b, a.Version)
	b = pack.AppendBool(b, a.Succeeded)
	b = pack.AppendArray(b, a.Count)
	return append(b, a.Results...)
}

// Read reads the body, which Results aliases. It has walked all results when it returns.
func (a *TxnAnswer) Read(body []byte) error {
	r := pack.NewReader(body)
	n := r.Array()
	a.Group, a.ID = readLogID(&r)
	a.Version = r.Uint()
	a.Succeeded = r.Bool()
	a.readResults(&r)
	r.Trailing(n, txnAnswerFields)
	return r.Done()
}

func (a *TxnAnswer) readResults(r *pack.Reader) {
	a.Count, a.Results = r.Array(), nil
	if a.Count > TxnResultsMax {
		r.Fail(fmt.Sprintf("%d results, want %d at most", a.Count, TxnResultsMax))
	}
	rows, from := r.Rest(), r.Offset()
	for range a.Count {
		if readTxnResult(r); r.Err() != nil {
			return
		}
	}
	a.Results = rows[:r.Offset()-from]
}

// Next returns the next result; ok is false after the last. Its value aliases the body.
func (a *TxnAnswer) Next() (result TxnResult, ok bool) {
	if a.Count == 0 {
		return TxnResult{}, false
	}
	r := pack.NewReader(a.Results)
	result = readTxnResult(&r)
	a.Count--
	a.Results = r.Rest()
	return result, r.Err() == nil
}

// readTxnResult tells the kinds of results apart by their first bytes.
func readTxnResult(r *pack.Reader) (t TxnResult) {
	switch {
	case r.Nil():
	case r.AtArray():
		t.Kind = ResultValue
		n := r.Array()
		t.Version, t.Value = r.Uint(), r.Bytes()
		r.Trailing(n, txnValueFields)
	case r.AtBool():
		t.Kind, t.Deleted = ResultDeleted, r.Bool()
	default:
		t.Kind, t.Number = ResultNumber, r.Int()
	}
	return t
}

func (a *TxnAnswer) lines() []string {
	lines := []string{fmt.Sprintf("at %s version %d succeeded %t", raft.FormatLogID(a.Group, a.ID), a.Version, a.Succeeded)}
	for rows := *a; ; {
		r, ok := rows.Next()
		if !ok {
			return lines
		}
		switch r.Kind {
		case ResultDeleted:
			lines = append(lines, fmt.Sprintf("deleted %t", r.Deleted))
		case ResultValue:
			lines = append(lines, fmt.Sprintf("version %d value %s", r.Version, quoted(r.Value)))
		case ResultNumber:
			lines = append(lines, fmt.Sprintf("number %d", r.Number))
		default:
			lines = append(lines, "nothing")
		}
	}
}
