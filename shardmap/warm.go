package shardmap

// WarmMax is how many commands [Map.Warm] takes at once. The lines that so many
// touch, some ten for each, fit into a core's first cache.
const WarmMax = 32

// Warm brings into the processor's cache what applying commands will touch, for
// at most WarmMax of them. It changes nothing of m, and belongs to the goroutine
// that calls Apply.
//
// A command waits for memory four times in a row: for its slot, for its key's
// entry in the lookup, for its record's chunk, for the record. The waits of one
// command depend on each other, but not those of different commands: if each step
// is taken for all commands before the next, the waits overlap. The sum has no
// meaning; it keeps the compiler from removing the reads.
func (m *Map) Warm(commands []Command) (sum uint64) {
	var (
		slots   [WarmMax]*slotState
		tags    [WarmMax]uint32
		entries [WarmMax]uint64
		found   [WarmMax]*session
		blocks  [WarmMax]*sessionBlock // the first of each slot, commonly the only one
	)
	n := min(len(commands), WarmMax)
	for i := range commands[:n] {
		c := &commands[i]
		if len(c.Items) == 0 || commandRows[c.Kind].whole != nil { // whose item may be a megabyte, and no key
			continue
		}
		st := m.slot(c.Home())
		if slots[i] = st; st == nil {
			continue
		}
		c.keyHash = hashKey(c.Items[0])
		tags[i] = tagOf(c.keyHash)
		sum += uint64(len(st.records.bufs)+st.records.tail+st.records.lookup.count+len(st.sessions.blocks)) + st.last
	}
	for i, st := range slots[:n] {
		if st == nil {
			continue
		}
		entries[i] = st.records.entry(tags[i])
		if len(st.sessions.blocks) > 0 {
			blocks[i] = &st.sessions.blocks[0]
		}
	}
	for i, st := range slots[:n] {
		if e := entries[i]; e != 0 {
			sum += uint64(len(st.records.bufs[refOf(e).chunk()]))
		}
		if b := blocks[i]; b != nil {
			sum += uint64(len(b.list))
		}
	}
	for i, st := range slots[:n] {
		if e := entries[i]; e != 0 {
			sum += st.records.touch(refOf(e))
		}
		if blocks[i] == nil {
			continue
		}
		if block, at, ok := st.sessions.find(commands[i].sessionKey()); ok {
			found[i] = &st.sessions.blocks[block].list[at]
			sum += found[i].floor
		}
	}
	for _, s := range found[:n] {
		if s != nil && int(s.head) < len(s.outcomes) {
			sum += s.outcomes[s.head].sequence + s.outcomes[len(s.outcomes)-1].sequence
		}
	}
	return sum
}

// WarmKeys does for [Map.Get] what Warm does for Apply: it brings into the
// processor's cache what getting keys will touch, for at most WarmMax of them. It
// takes no lock, so it too belongs to the goroutine that calls Apply.
func (m *Map) WarmKeys(keys [][]byte) (sum uint64) {
	var (
		slots   [WarmMax]*slotState
		tags    [WarmMax]uint32
		entries [WarmMax]uint64
	)
	n := min(len(keys), WarmMax)
	for i, key := range keys[:n] {
		s, hash := locate(key)
		st := m.slot(s)
		if slots[i], tags[i] = st, tagOf(hash); st != nil {
			sum += uint64(len(st.records.bufs) + st.records.lookup.count)
		}
	}
	for i, st := range slots[:n] {
		if st != nil {
			entries[i] = st.records.entry(tags[i])
		}
	}
	for i, st := range slots[:n] {
		if e := entries[i]; e != 0 {
			sum += uint64(len(st.records.bufs[refOf(e).chunk()]))
		}
	}
	for i, st := range slots[:n] {
		if e := entries[i]; e != 0 {
			sum += st.records.touch(refOf(e))
		}
	}
	return sum
}

// entry returns what the home of a tag holds in the lookup, 0 if nothing.
func (s *store) entry(tag uint32) uint64 {
	if s.lookup.count == 0 {
		return 0
	}
	return s.lookup.entries[s.lookup.home(tag)]
}

// touch reads from the first lines of a record.
func (s *store) touch(r ref) (sum uint64) {
	const line = 64
	for rec, at := s.at(r), 0; at < min(len(rec), 4*line); at += line {
		sum += uint64(rec[at])
	}
	return sum
}
