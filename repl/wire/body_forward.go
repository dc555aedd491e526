package wire

import (
	"fmt"
	"math"

	"muster/shardmap"
	"muster/shardmap/pack"
)

// Forward is a client's request that its node passes on to the node that leads the
// group:
//
//	[principal, type of the request, body of the request]
//
// The body stands as the client made it, so that session, sequence and checksum are
// the client's, and a retry is applied once whatever way it takes. What is left of
// the deadline is in the frame. The answer is that of the request, under the number of
// the Forward.
//
// Whoever reads one takes the principal for what the member says of a client that the
// member has admitted.
type Forward struct {
	Principal shardmap.Principal // on whose behalf; 0: nobody in particular
	Type      Type
	Body      []byte // aliases what was read
}

const forwardFields = 3

// ForwardRoom is how many bytes a Forward adds to a request, at most.
const ForwardRoom = 1 + 9 + 3

// Forwards reports whether a node passes on requests of the type.
func (t Type) Forwards() bool {
	switch t {
	case TypeWrite, TypeGet, TypeList, TypeLeases, TypeServices, TypeHeartbeat, TypeHistory, TypePointsQuery:
		return true
	}
	return false
}

// Append appends the body.
func (f *Forward) Append(b []byte) []byte {
	b = pack.AppendArray(b, forwardFields)
	b = pack.AppendUint(b, uint64(f.Principal))
	b = pack.AppendUint(b, uint64(f.Type))
	if f.Type == TypeWrite && bug("forwarded command applied twice") {
		return appendUnderAnotherSession(b, f.Body)
	}
	return append(b, f.Body...)
}

// appendUnderAnotherSession is what a planted bug makes of a write: one that no retry
// is told to be the same as.
func appendUnderAnotherSession(b, body []byte) []byte {
	var c shardmap.Command
	bytes, err := CheckWrite(body)
	if err != nil || shardmap.ReadCommand(bytes, &c) != nil || c.Session == 0 {
		return append(b, body...)
	}
	c.Session ^= 1 << 62
	return AppendWrite(b, &c)
}

// Read reads the body. It refuses a request of a type that nobody passes on, a Forward
// in a Forward above all.
func (f *Forward) Read(body []byte) error {
	r := pack.NewReader(body)
	r.ArrayLen(forwardFields)
	f.Principal = shardmap.Principal(r.Uint())
	f.Type = Type(r.UintMax(math.MaxUint16))
	f.Body = r.Rest()
	r.Skip() // the one value that it is
	if err := r.Done(); err != nil {
		return err
	}
	if !f.Type.Forwards() {
		return fmt.Errorf("a request of type %s is not passed on", f.Type)
	}
	return nil
}

func (f *Forward) lines() []string {
	lines := []string{fmt.Sprintf("principal %d", f.Principal), fmt.Sprint(f.Type)}
	request, err := describeBody(f.Type, f.Body)
	if err != nil {
		return append(lines, err.Error())
	}
	for _, line := range request {
		lines = append(lines, "  "+line)
	}
	return lines
}
