package wire

import (
	"fmt"

	"muster/raft"
	"muster/shardmap"
)

// UsageKinds is how many things of a prefix are limited: its keys, their bytes (in names and
// values), and how many keys are written in a second, in this order.
const UsageKinds = 3

// UsageOrdersMax bounds the groups that one frame tells of.
const UsageOrdersMax = int(raft.GroupMax) + 1

// UsageAmount is a number of each of the [UsageKinds]. Of what allotments come to, a rate is in thousandths, and
// a number may be below 0: on the wire that is its two's complement.
type UsageAmount [UsageKinds]uint64

// UsageLimit is a prefix with a limit, and what the cluster is known to have of it.
type UsageLimit struct {
	Prefix string
	Most   UsageAmount // 0: no limit
	Used   UsageAmount // of keys written, those of the last second
	Known  bool        // every group has said what it has; else Used is less than what is there
}

// UsageOrder is what the leader of a group in one term may add to what it has of each prefix: the sum of
// the allotments that the sender, in its own term, has ever given it.
type UsageOrder struct {
	Group raft.GroupID
	Term  uint64 // of the group; another leader's allotments are not this one's
	Given []UsageAmount
}

// Usage asks a node what the groups that it leads have of the prefixes with a limit, and says what they
// may add:
//
//	[term, round, [[prefix, [keys, bytes, rate], [keys, bytes, rate], known] …], [[group, term, [[keys, bytes, rate] …]] …]]
//
// It is sent by the leader of the meta group to every node, about once a second while there are limits. Term is that leader's,
// and Round grows within it: a node does what the newest says. With a term of 0 it
// comes from a client, which only asks for the limits: then there is nothing else in it.
type Usage struct {
	Term, Round uint64
	Limits      []UsageLimit // by prefix
	Orders      []UsageOrder // by group; each with an amount for each of Limits
}

// UsageRow is what a group has of one prefix.
type UsageRow struct {
	Counted bool        // everything; else the rest says nothing
	Used    UsageAmount // what is there, and what is on its way into the log
	// Bound is what it may come to without another allotment. What slots had that have just left
	// the group is in it.
	Bound   UsageAmount
	Ceiling UsageAmount // up to which Used may grow by writes
	Given   UsageAmount // as the sender has it of the Usage that this answers
	Wanted  UsageAmount // what writes have added, or would have, since the answer before
}

// UsageReport is what the leader of a group has of each prefix that was asked for.
type UsageReport struct {
	Group raft.GroupID
	Term  uint64
	// Fresh: the leader has not answered in this term of the group, and this one of the meta
	// group, before. What left the group shortly before that is not in Bound.
	Fresh bool
	Rows  []UsageRow
}

// UsageAnswer answers a [Usage]: with a report of each group that is led here, or, to a client, with
// the limits as this node heard of them last, and how many milliseconds ago that was.
type UsageAnswer struct {
	Term, Round uint64
	Age         uint64
	Limits      []UsageLimit
	Reports     []UsageReport
}

func (a *UsageAmount) fields(f *fields, name string) {
	f.exactly(UsageKinds, func() {
		for i, kind := range [UsageKinds]string{"keys", "bytes", "rate"} {
			number(f, name+"."+kind, &a[i])
		}
	})
}

func usageLimits(f *fields, v *[]UsageLimit) {
	list(f, "limits", v, 10, func(f *fields, l *UsageLimit) {
		f.exactly(4, func() {
			f.text("prefix", &l.Prefix)
			l.Most.fields(f, "most")
			l.Used.fields(f, "used")
			f.flag("known", &l.Known)
		})
	})
}

func (m *Usage) fields(f *fields) {
	f.exactly(4, func() {
		number(f, "term", &m.Term)
		number(f, "round", &m.Round)
		usageLimits(f, &m.Limits)
		list(f, "orders", &m.Orders, 4, func(f *fields, o *UsageOrder) {
			f.exactly(3, func() {
				number(f, "group", &o.Group)
				number(f, "term", &o.Term)
				list(f, "given", &o.Given, 4, func(f *fields, a *UsageAmount) { a.fields(f, "given") })
			})
		})
	})
}

// Append appends the body.
func (m *Usage) Append(b []byte) []byte { return appendFields(b, m) }

// Read reads the body.
func (m *Usage) Read(body []byte) error {
	if err := readFields(body, m); err != nil {
		return err
	}
	if err := checkUsageLimits(m.Limits); err != nil {
		return err
	}
	switch {
	case m.Term == 0 && (m.Round != 0 || len(m.Limits)+len(m.Orders) > 0):
		return fmt.Errorf("field term: 0, with a round, limits or orders; want none of them from a client")
	case m.Term != 0 && m.Round == 0:
		return fmt.Errorf("field round: 0; want one from 1 on")
	case len(m.Orders) > UsageOrdersMax:
		return fmt.Errorf("field orders: %d of them; want %d at most", len(m.Orders), UsageOrdersMax)
	}
	for i := range m.Orders {
		switch o := &m.Orders[i]; {
		case o.Group == 0 || o.Group > raft.GroupMax || i > 0 && m.Orders[i-1].Group >= o.Group:
			return fmt.Errorf("field orders: group %d; want 1 to %d, ascending", o.Group, raft.GroupMax)
		case len(o.Given) != len(m.Limits):
			return fmt.Errorf("field given: %d amounts for group %d; want one for each of %d limits", len(o.Given), o.Group, len(m.Limits))
		}
	}
	return nil
}

func checkUsageLimits(limits []UsageLimit) error {
	if len(limits) > shardmap.TalliesMax {
		return fmt.Errorf("field limits: %d of them; want %d at most", len(limits), shardmap.TalliesMax)
	}
	for i := range limits {
		if l := &limits[i]; len(l.Prefix) == 0 || len(l.Prefix) > shardmap.KeyMax || i > 0 && limits[i-1].Prefix >= l.Prefix {
			return fmt.Errorf("field prefix: %q; want 1 to %d bytes, ascending", l.Prefix, shardmap.KeyMax)
		}
	}
	return nil
}

func (m *UsageAnswer) fields(f *fields) {
	f.atLeast(5, func() {
		number(f, "term", &m.Term)
		number(f, "round", &m.Round)
		number(f, "age_ms", &m.Age)
		usageLimits(f, &m.Limits)
		list(f, "reports", &m.Reports, 5, func(f *fields, r *UsageReport) {
			f.exactly(4, func() {
				number(f, "group", &r.Group)
				number(f, "term", &r.Term)
				f.flag("fresh", &r.Fresh)
				list(f, "rows", &r.Rows, 22, func(f *fields, r *UsageRow) {
					f.exactly(6, func() {
						f.flag("counted", &r.Counted)
						r.Used.fields(f, "used")
						r.Bound.fields(f, "bound")
						r.Ceiling.fields(f, "ceiling")
						r.Given.fields(f, "given")
						r.Wanted.fields(f, "wanted")
					})
				})
			})
		})
	})
}

// Append appends the body.
func (m *UsageAnswer) Append(b []byte) []byte { return appendFields(b, m) }

// Read reads the body.
func (m *UsageAnswer) Read(body []byte) error {
	if err := readFields(body, m); err != nil {
		return err
	}
	if err := checkUsageLimits(m.Limits); err != nil {
		return err
	}
	if len(m.Reports) > UsageOrdersMax {
		return fmt.Errorf("field reports: %d of them; want %d at most", len(m.Reports), UsageOrdersMax)
	}
	for i := range m.Reports {
		switch r := &m.Reports[i]; {
		case r.Group == 0 || r.Group > raft.GroupMax || i > 0 && m.Reports[i-1].Group >= r.Group:
			return fmt.Errorf("field reports: group %d; want 1 to %d, ascending", r.Group, raft.GroupMax)
		case len(r.Rows) > shardmap.TalliesMax:
			return fmt.Errorf("field rows: %d of group %d; want %d at most", len(r.Rows), r.Group, shardmap.TalliesMax)
		}
	}
	return nil
}
