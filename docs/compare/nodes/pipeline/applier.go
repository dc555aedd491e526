package main

// applier puts batches into a table. It belongs to one goroutine.
type applier struct {
	table   *table
	pending []entry
	keys    [][]byte
}

type entry struct {
	index      uint64
	key, value []byte
}

// apply puts every entry of a batch's body into the table, in order, and calls
// done after each.
func (a *applier) apply(body []byte, done func()) error {
	a.pending = a.pending[:0]
	err := eachEntry(body, func(index uint64, key, value []byte) {
		a.pending = append(a.pending, entry{index, key, value})
	})
	if err != nil {
		return err
	}
	for rest := a.pending; len(rest) > 0; {
		n := min(len(rest), touchAhead)
		a.keys = a.keys[:0]
		for _, e := range rest[:n] {
			a.keys = append(a.keys, e.key)
		}
		a.table.touch(a.keys)
		for _, e := range rest[:n] {
			if err := a.table.put(e.index, e.key, e.value); err != nil {
				return err
			}
			done()
		}
		rest = rest[n:]
	}
	return nil
}
