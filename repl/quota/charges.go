package quota

import (
	"slices"
	"sort"

	"muster/shardmap"
)

// charges are what admitted commands may add until they are applied, in the order in which they stand
// in the queue and in the log.
type charges struct {
	list []charge
	last uint64 // the ticket that was given last
}

// charge is what one command may add to one prefix.
type charge struct {
	ticket uint64
	index  uint64 // of its entry; 0: it is not proposed yet
	row    *row   // nil: withdrawn
	by     shardmap.Amount
}

func (r *row) fly(by shardmap.Amount) {
	r.flight[keys] += by.Keys
	r.flight[bytes] += by.Bytes
}

// add adds a charge, under a ticket or, if that is 0, under a new one.
func (c *charges) add(ticket uint64, r *row, by shardmap.Amount) uint64 {
	if ticket == 0 {
		c.last++
		ticket = c.last
	}
	r.fly(by)
	c.list = append(c.list, charge{ticket: ticket, row: r, by: by})
	return ticket
}

// of returns the charges of a ticket.
func (c *charges) of(ticket uint64) []charge {
	from := sort.Search(len(c.list), func(i int) bool { return c.list[i].ticket >= ticket })
	to := from
	for to < len(c.list) && c.list[to].ticket == ticket {
		to++
	}
	return c.list[from:to]
}

func (a charge) settle() {
	if a.row != nil {
		a.row.fly(shardmap.Amount{Keys: -a.by.Keys, Bytes: -a.by.Bytes})
	}
}

// Proposed says at which index the command stands that was admitted under a ticket.
func (l *Leader) Proposed(ticket, index uint64) {
	of := l.charges.of(ticket)
	for i := range of {
		of[i].index = index
	}
}

// Withdrawn says that a command that was admitted is not proposed after all.
func (l *Leader) Withdrawn(ticket uint64) {
	of := l.charges.of(ticket)
	for i := range of {
		of[i].settle()
		of[i].row = nil
	}
	l.charges.drop(0)
}

// Charged reports whether anything is on its way into the log that [Leader.Applied] would tell of.
func (l *Leader) Charged() bool { return len(l.charges.list) > 0 }

// Applied says that all entries up to an index are applied: what they have added is counted.
func (l *Leader) Applied(index uint64) { l.charges.drop(index) }

// drop drops the first charges, those that are withdrawn or whose entry is at most at an index.
func (c *charges) drop(index uint64) {
	n := 0
	for n < len(c.list) && (c.list[n].row == nil || c.list[n].index != 0 && c.list[n].index <= index) {
		c.list[n].settle()
		n++
	}
	if n > 0 {
		c.list = slices.Delete(c.list, 0, n)
	}
}
