package trail

import (
	"net/netip"
	"time"
	"unicode/utf8"
)

// Verdict is what became of what was asked.
type Verdict string

// The verdicts.
const (
	Allowed Verdict = "allowed" // it was let in, or begun
	Refused Verdict = "refused" // it was turned away; only these are counted when there are many
	Failed  Verdict = "failed"  // it was allowed, and came to nothing
	Noted   Verdict = "noted"   // nobody asked for it: the node starts, the trail was cut
	Lost    Verdict = "lost"    // count lines are missing here
)

// Event is what a line is made of. No value of a key, secret, token or password is ever in
// one: whoever makes it sees to that.
type Event struct {
	At      time.Time // when; to the microsecond
	Who     string    // the user's name; empty: nobody has said, or proven, who it is
	User    uint64    // the user's id, which is never given again; 0: none
	From    string    // address of the other side; empty: this node itself
	Door    string    // by which way it came: client, peer, bulk, node
	Type    string    // what was asked: the name of the frame, mostly
	Object  string    // about what; a key only as far as the policy allows
	Verdict Verdict
	Why     string
	Index   uint64 // of the entry of group 0 that carries it out; 0: none
	Count   uint64 // of how many the line tells; 0: of one
}

// Bounds of what is in a line, in bytes before it is written as JSON. A text that is longer
// is cut.
const (
	nameMax   = 128
	objectMax = 256
	whyMax    = 512
)

// Bound cuts the texts of e to what a line has room for.
func (e *Event) Bound() {
	for _, text := range [...]*string{&e.Who, &e.From, &e.Door, &e.Type} {
		*text = cut(*text, nameMax)
	}
	e.Object, e.Why = cut(e.Object, objectMax), cut(e.Why, whyMax)
}

// cut returns at most limit bytes of s, whole characters of it, and a mark where some are
// missing.
func cut(s string, limit int) string {
	if len(s) <= limit {
		return s
	}
	const mark = "..."
	n := limit - len(mark)
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n] + mark
}

// source is by what refusals are counted together: the user, or for strangers the network
// that they come from. One host has many ports, and mostly a whole /64 of IPv6.
func (e *Event) source() string {
	if e.Who != "" {
		return "user " + e.Who
	}
	at, err := netip.ParseAddrPort(e.From)
	if err != nil {
		return e.From
	}
	addr := at.Addr().Unmap()
	if addr.Is4() {
		return addr.String()
	}
	network, err := addr.WithZone("").Prefix(64)
	if err != nil {
		return e.From
	}
	return network.String()
}
