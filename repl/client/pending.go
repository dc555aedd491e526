package client

// pending holds the calls that wait for an answer on one connection. A request
// number is a place in the table and how often that place was used before, so
// that a late answer never finds another call, and finding is no more than an
// index.
type pending struct {
	places []place
	free   []uint32
	open   int
	stands int // Invariant: of open, those that nobody waits for; see streamCall.standing
}

type place struct {
	call *call
	uses uint32
}

// add gives c a request number, which is never 0.
func (p *pending) add(c *call) uint64 {
	var i uint32
	if n := len(p.free); n > 0 {
		i = p.free[n-1]
		p.free = p.free[:n-1]
	} else {
		i = uint32(len(p.places))
		p.places = append(p.places, place{})
	}
	x := &p.places[i]
	x.uses++
	if x.uses == 0 {
		x.uses = 1
	}
	x.call = c
	p.open++
	return uint64(x.uses)<<32 | uint64(i)
}

// get returns the call of a request number, nil if it has none.
func (p *pending) get(request uint64) *call {
	i := request & 0xffffffff
	if i >= uint64(len(p.places)) || uint64(p.places[i].uses) != request>>32 {
		return nil
	}
	return p.places[i].call
}

// take is get, and the number is free again.
func (p *pending) take(request uint64) *call {
	c := p.get(request)
	if c == nil {
		return nil
	}
	i := uint32(request)
	p.places[i].call = nil
	p.free = append(p.free, i)
	p.open--
	return c
}

// all takes out every call.
func (p *pending) all() []*call {
	var out []*call
	for i := range p.places {
		if x := &p.places[i]; x.call != nil {
			out = append(out, p.take(uint64(x.uses)<<32|uint64(i)))
		}
	}
	return out
}
