package repl

import "muster/repl/wire"

// answers is what a turn answers to the callers of its requests.
type answers struct {
	touched []Replier // get an answer in this turn
	scratch []byte
}

// add queues an answer and remembers whom to flush.
func (a *answers) add(r Reply, t wire.Type, body []byte) {
	if r.To != nil && r.To.Answer(r, t, body) {
		a.touched = append(a.touched, r.To)
	}
}

// refuse answers with an error.
func (a *answers) refuse(r Reply, err *wire.Error) {
	a.scratch = err.Append(a.scratch[:0])
	a.add(r, wire.TypeError, a.scratch)
}

// flush sends what the turn has answered.
func (a *answers) flush() {
	for i, r := range a.touched {
		r.Flush()
		a.touched[i] = nil
	}
	a.touched = a.touched[:0]
}
