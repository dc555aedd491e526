package pointwriter

import (
	"fmt"
	"strings"

	"muster/shardmap/points/line"
)

// Result reports what became of a write. Each point is in exactly one of the four numbers.
type Result struct {
	Lines   line.Report // which lines are points, and which are not
	Stored  int         // points that are where the request wants them
	Hinted  int         // points that a node keeps, and writes as soon as their group can take them
	Dropped []Dropped   // points that can't be stored, one for each reason
	Failed  int         // points that are not, or not surely, where the request wants them
	Why     string      // what was in the way of the first ones that failed
}

// Dropped are points that can't be stored, for one reason.
type Dropped struct {
	Reason  DropReason
	Points  int
	Example string // which point, and what would be right
}

// DropReason is why points can't be stored, though their lines are good.
type DropReason uint8

const (
	BeyondRetention DropReason = iota // older than the policy keeps
	FieldConflict                     // a field has values of another kind
	TooManySeries                     // of the database
	TooManyValues                     // of one tag
	TooManyFields                     // of one measurement
	TooFarAhead                       // later than windows are made
	KeyTooLong                        // a series and the name of a field together

	dropReasons
)

// dropWords are InfluxDB's, where it has any: telegraf looks for the first two.
var dropWords = [dropReasons]string{
	BeyondRetention: "points beyond retention policy",
	FieldConflict:   "field type conflict",
	TooManySeries:   "max-series-per-database limit exceeded",
	TooManyValues:   "max-values-per-tag limit exceeded",
	TooManyFields:   "max fields per measurement exceeded",
	TooFarAhead:     "points too far in the future",
	KeyTooLong:      "max key length exceeded",
}

func (r DropReason) String() string {
	if r >= dropReasons {
		return fmt.Sprintf("reason %d", uint8(r))
	}
	return dropWords[r]
}

// DroppedPoints returns how many points were dropped.
func (r *Result) DroppedPoints() (n int) {
	for _, d := range r.Dropped {
		n += d.Points
	}
	return n
}

// Whole reports whether each line became a point, and all points are stored or hinted.
func (r *Result) Whole() bool { return r.Lines.Refused == 0 && len(r.Dropped) == 0 && r.Failed == 0 }

// String is one line for a log: the numbers, and what was in the way.
func (r Result) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "stored %d, hinted %d, dropped %d, failed %d, lines refused %d", r.Stored, r.Hinted, r.DroppedPoints(), r.Failed, r.Lines.Refused)
	for _, d := range r.Dropped {
		fmt.Fprintf(&b, "; %s: %s", d.Reason, d.Example)
	}
	if r.Why != "" {
		fmt.Fprintf(&b, "; %s", r.Why)
	}
	for i, l := range r.Lines.Listed {
		if i == 0 {
			b.WriteString("; ")
		} else {
			b.WriteString(", ")
		}
		b.WriteString(l.String())
	}
	return b.String()
}

// drop counts points that were dropped. The first ones of a reason are its example.
func (r *Result) drop(reason DropReason, n int, example string) {
	if n == 0 {
		return
	}
	for i := range r.Dropped {
		if d := &r.Dropped[i]; d.Reason == reason {
			d.Points += n
			return
		}
	}
	r.Dropped = append(r.Dropped, Dropped{reason, n, example})
}

// fail counts points that failed.
func (r *Result) fail(n int, why string) {
	if n == 0 {
		return
	}
	if r.Failed += n; r.Why == "" {
		r.Why = why
	}
}

// add adds what became of other points of the same text.
func (r *Result) add(o *Result) {
	r.Stored += o.Stored
	r.Hinted += o.Hinted
	for _, d := range o.Dropped {
		r.drop(d.Reason, d.Points, d.Example)
	}
	r.fail(o.Failed, o.Why)
}
