package notary

import (
	"fmt"
	"slices"
	"time"

	"muster/repl/trust"
	"muster/repl/wire"
	"muster/shardmap"
)

// roots makes roots, and changes their states. They follow each other so:
//
//	made      by the leader: the key that wraps its key is in a file first, so that no crash leaves
//	          a root whose key nobody has
//	trusted   by an entry, unless it is the first one, which issues at once
//	issuing   once each member has said that it trusts it: a certificate under it would be a
//	          stranger's to one that does not
//	trusted   again, when the next one issues: members renew at once, users within their time
//	retired   when the last certificate under it has ended, or a person says so
func (c *Core) roots(now Now) {
	s := &c.table.Security
	issuing, ok := s.Issuing()
	if !ok {
		c.make(now, shardmap.RootIssuing)
		return
	}
	at := slices.IndexFunc(s.Roots, func(r shardmap.Root) bool { return r.State == shardmap.RootIssuing })
	switch in, ok := c.incoming(); {
	case ok:
		c.issue(now, &in)
	case c.ordered(wire.AuthorityRotate):
		c.make(now, shardmap.RootTrusted)
	}
	for _, r := range s.Roots[:at] {
		if r.State == shardmap.RootTrusted && c.over(now, &issuing) {
			c.become(now, &r, shardmap.RootRetired)
		}
	}
}

// incoming returns the root that is to issue next, if there is one: it came after the one that does.
func (c *Core) incoming() (shardmap.Root, bool) {
	roots := c.table.Security.Roots
	at := slices.IndexFunc(roots, func(r shardmap.Root) bool { return r.State == shardmap.RootIssuing })
	if last := len(roots) - 1; at >= 0 && last > at && roots[last].State == shardmap.RootTrusted {
		return roots[last], true
	}
	return shardmap.Root{}, false
}

// make has a root made and proposed.
func (c *Core) make(now Now, state shardmap.RootState) {
	if c.root != nil {
		// The same one until the table has it: of two, the first may be applied late.
		c.become(now, c.root, state)
		return
	}
	switch {
	case c.drawn == shardmap.WrapKeyID{}:
		c.begin(now, "draw", Action{Kind: Draw})
	case c.held[c.drawn] || bug("root proposed before its key is kept"):
		c.begin(now, "make root", Action{Kind: MakeRoot, WrapKey: c.drawn})
	default:
		c.begin(now, "store", Action{Kind: Store, WrapKey: c.drawn})
	}
}

// bugNeverRetired is planted to show that its test finds it: what is proposed to retire a root, the table refuses.
const bugNeverRetired = "no root ever retired"

// become proposes that a root is in a state from now on.
func (c *Core) become(now Now, r *shardmap.Root, state shardmap.RootState) {
	// The table keeps the certificate and the wrapped key of one that it has, unless that is retired: then
	// it refuses a command with a key.
	changed := shardmap.Root{ID: r.ID}
	switch _, known := c.table.Security.Root(r.ID); {
	case !known:
		changed = *r
	case bug(bugNeverRetired):
		changed.WrapKey = r.WrapKey
	}
	changed.State, changed.Since = state, now.Wall
	c.propose(now, sayRoot, must(shardmap.AppendSetRoot(nil, &shardmap.SetRoot{Root: changed})))
}

// issue lets an incoming root issue, once each member trusts it.
func (c *Core) issue(now Now, in *shardmap.Root) {
	if !c.kept(in.WrapKey) {
		return
	}
	for i := range c.table.Nodes {
		if c.told[c.table.Nodes[i].ID].index < c.first[in.ID] {
			return
		}
	}
	c.become(now, in, shardmap.RootIssuing)
}

// lateness is how far the clocks of hosts may be apart: what an earlier leader has signed is
// over by the clock of this one, and by those of all others.
const lateness = 3 * 24 * time.Hour

// over reports whether nothing is good any more that roots before the issuing one have signed.
func (c *Core) over(now Now, issuing *shardmap.Root) bool {
	return bug("root dropped before all renewed") || c.renewed(issuing) && now.Wall >= issuing.Since+int64((trust.UserLife+lateness)/time.Second)
}

// order is what a person wants to become of the roots.
type order struct {
	number uint64
	wire.Authority
	until time.Duration
}

// Order takes an order. It is answered with an [Answer] for number.
func (c *Core) Order(now Now, number uint64, q *wire.Authority) {
	switch {
	case !c.leads || c.table == nil:
		c.answer(number, notLeading())
	case len(c.orders) >= ordersMax:
		c.answer(number, wire.Busy("orders about roots", fmt.Sprintf("%d wait", ordersMax), Retry))
	default:
		c.orders = append(c.orders, &order{number: number, Authority: *q, until: now.Host + requestMax})
	}
}

// ordersMax bounds the orders that wait.
const ordersMax = 16

// ordered reports whether an order of a kind waits.
func (c *Core) ordered(a wire.AuthorityAction) bool {
	return slices.ContainsFunc(c.orders, func(o *order) bool { return o.Action == a })
}

// obey carries out orders, and answers those that are.
func (c *Core) obey(now Now) {
	c.orders = slices.DeleteFunc(c.orders, func(o *order) bool {
		root, refusal, done := c.carryOut(now, o)
		if !done && now.Host >= o.until {
			refusal, done = wire.MaybeApplied("order to "+o.Action.String(), "it took too long; see with muster ca show what became of it"), true
		}
		if done {
			c.answer(o.number, refusal)
			c.actions[len(c.actions)-1].Root = root
			return true
		}
		c.wake(o.until)
		return false
	})
}

// carryOut takes the next step of an order.
func (c *Core) carryOut(now Now, o *order) (root shardmap.RootID, refusal *wire.Error, done bool) {
	s := &c.table.Security
	object := "root " + shardmap.RootID(o.Root).String()
	if c.table.Level < shardmap.SecurityLevel {
		return root, wire.NotReady("cluster", fmt.Sprintf("it is at level %d, and has roots from level %d on", c.table.Level, shardmap.SecurityLevel), "run this release on all nodes", 0), true
	}
	issuing, issues := s.Issuing()
	switch o.Action {
	case wire.AuthorityCreate:
		if s.Mode != shardmap.SecurityOff {
			return issuing.ID, nil, true
		}
		c.propose(now, sayMode, must(shardmap.AppendSetTLSMode(nil, &shardmap.SetTLSMode{Mode: shardmap.SecurityBoth})))
	case wire.AuthorityRotate:
		if !issues {
			return root, wire.NotReady("cluster", "it has no root that issues certificates", "a cluster without TLS gets one with muster ca create", 0), true
		}
		if in, ok := c.incoming(); ok && !orphaned(c, in.WrapKey) {
			return in.ID, nil, true
		} else if ok {
			// Its key went with the disk of the leader that made it, before another one had it: it would be about to
			// issue for ever, and in the way of every other one.
			c.become(now, &in, shardmap.RootRetired)
		}
	case wire.AuthorityRetire:
		r, ok := s.Root(shardmap.RootID(o.Root))
		switch in, incoming := c.incoming(); {
		case !ok:
			return root, &wire.Error{Code: wire.CodeNotFound, Object: object, Text: "no such root", Next: "see with muster ca show which there are"}, true
		case r.State == shardmap.RootRetired:
			return r.ID, nil, true
		case r.State == shardmap.RootIssuing:
			return root, conflict(object, "it issues certificates", "have another one take its place first: muster ca rotate"), true
		case !issues || !c.renewed(&issuing):
			return root, conflict(object, "members have certificates under it", "wait until muster cert list shows the new root for all of them"), true
		case incoming && in.ID == r.ID && !orphaned(c, in.WrapKey):
			return root, conflict(object, "it is about to issue", "wait until it does"), true
		}
		c.become(now, &r, shardmap.RootRetired)
	}
	return root, nil, false
}

func conflict(object, state, next string) *wire.Error {
	return &wire.Error{Code: wire.CodeConflict, Object: object, Text: "can't be done now", State: state, Next: next}
}
