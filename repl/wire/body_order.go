package wire

import "fmt"

const (
	// OrderBytesMax bounds the command of an [Order]: the largest is a node's labels.
	OrderBytesMax = 64 << 10
	// OrderStepsMax bounds the steps of an [OrderAnswer]. A plan that drains a node of a
	// large cluster has a few hundred.
	OrderStepsMax = 10_000
	// OrderProblemsMax bounds its problems.
	OrderProblemsMax = 1_000
)

// Order asks the leader of the meta group to carry out a command of a person, or to say
// what would come of it:
//
//	[command, plan, index]
type Order struct {
	// Command is for the meta group, of a kind that clients may ask for: as
	// shardmap.AppendTableJob and its like make it. OrderBytesMax at most.
	Command []byte
	Plan    bool // only say what would be done
	// Index is that of the table for which the plan was shown. If it is not 0, and the
	// table has changed since, nothing happens.
	Index uint64
}

func (m *Order) fields(f *fields) {
	f.exactly(3, func() {
		f.bin("command", &m.Command)
		f.flag("plan", &m.Plan)
		number(f, "index", &m.Index)
	})
}

// Append appends the body.
func (m *Order) Append(b []byte) []byte { return appendFields(b, m) }

// Read reads the body.
func (m *Order) Read(body []byte) error {
	if err := readFields(body, m); err != nil {
		return err
	}
	if n := len(m.Command); n == 0 || n > OrderBytesMax {
		return fmt.Errorf("field command: %d bytes; want 1 to %d", n, OrderBytesMax)
	}
	return nil
}

// OrderAnswer answers an [Order].
type OrderAnswer struct {
	// Index is that of the table with what was ordered or, for a plan, of the table that
	// it was made for.
	Index    uint64
	Job      uint64      // that carries the order out; 0: none is needed, or only the plan was asked for
	Steps    []OrderStep // of a plan, in order; OrderStepsMax at most
	Problems []Problem   // of a plan: what can't be done; OrderProblemsMax at most
	Bytes    uint64      // of a plan: that new replicas are sent
}

// OrderStep is one step of a plan, for a person.
type OrderStep struct {
	Text string // what is done, and why
	Risk string // the quorum before and after, and what one more lost node would cost
}

func (m *OrderAnswer) fields(f *fields) {
	f.atLeast(5, func() {
		number(f, "index", &m.Index)
		number(f, "job", &m.Job)
		list(f, "steps", &m.Steps, 3, func(f *fields, s *OrderStep) {
			f.atLeast(2, func() {
				f.text("text", &s.Text)
				f.text("risk", &s.Risk)
			})
		})
		list(f, "problems", &m.Problems, 3, problem)
		number(f, "bytes", &m.Bytes)
	})
}

// Append appends the body.
func (m *OrderAnswer) Append(b []byte) []byte { return appendFields(b, m) }

// Read reads the body.
func (m *OrderAnswer) Read(body []byte) error { return readFields(body, m) }
