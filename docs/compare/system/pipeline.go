package system

import (
	"errors"
	"strconv"
	"strings"

	"muster/docs/compare/frame"
	"muster/docs/compare/load"
)

// Pipeline is a leader and two followers that move data and promise nothing.
type Pipeline struct {
	Program string
	Keys    int // the most that it will have to hold
	group
	leader string
}

// Name is "pipeline".
func (p *Pipeline) Name() string { return "pipeline" }

// Start starts the followers and their leader.
func (p *Pipeline) Start(dir string) error {
	p.restart(dir)
	addrs, err := freeAddresses(nodes)
	if err != nil {
		return err
	}
	p.leader = addrs[0]
	keys := strconv.Itoa(p.Keys)
	for node := nodes - 1; node >= 0; node-- {
		args := []string{"-listen", addrs[node], "-dir", p.data(node), "-keys", keys}
		if node == 0 {
			args = append(args, "-followers", strings.Join(addrs[1:], ","))
		}
		if err := p.begin(node, p.Program, args...); err != nil {
			return err
		}
	}
	return await("the pipeline is not ready", func() error {
		c, err := frame.Dial(p.leader, 1, 1)
		if err != nil {
			return err
		}
		defer c.Close()
		key := make([]byte, load.KeyBytes)
		if kind, _, err := c.Do(0, frame.Get, key); err != nil || kind != frame.Missing {
			return errors.Join(errNotYet, err)
		}
		return nil
	})
}

// Open opens as many connections as there may be, or one for each caller: that
// is how its figures were always taken, and more connections make it dearer, not
// cheaper.
func (p *Pipeline) Open(callers int) (Client, error) {
	return frame.Dial(p.leader, min(callers, connectionsMax), callers)
}
