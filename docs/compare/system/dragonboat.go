package system

import (
	"fmt"
	"strconv"
	"strings"

	"muster/docs/compare/frame"
)

// Dragonboat is three nodes around the library, each behind a front.
type Dragonboat struct {
	Program string
	group
	fronts []string // addresses, by node
}

// Name is "dragonboat".
func (d *Dragonboat) Name() string { return "dragonboat" }

// Start starts three nodes and waits for a leader.
func (d *Dragonboat) Start(dir string) error {
	d.restart(dir)
	addrs, err := freeAddresses(2 * nodes)
	if err != nil {
		return err
	}
	d.fronts = addrs[:nodes]
	for node := range nodes {
		err := d.begin(node, d.Program, "-node", strconv.Itoa(node), "-raft", strings.Join(addrs[nodes:], ","),
			"-front", d.fronts[node], "-dir", d.data(node))
		if err != nil {
			return err
		}
	}
	_, err = d.leader()
	return err
}

func (d *Dragonboat) leader() (leader int, err error) {
	err = await("dragonboat has no leader", func() error {
		c, err := frame.Dial(d.fronts[0], 1, 1)
		if err != nil {
			return err
		}
		defer c.Close()
		kind, body, err := c.Do(0, frame.WhoLeads)
		if err == nil && (kind != frame.Leads || len(body) != 1 || int(body[0]) >= nodes) {
			err = fmt.Errorf("asked who leads, got kind %d with %x", kind, body)
		}
		if err == nil {
			leader = int(body[0])
		}
		return err
	})
	return leader, err
}

// Open opens connections to the leader's front.
func (d *Dragonboat) Open(callers int) (Client, error) {
	leader, err := d.leader()
	if err != nil {
		return nil, err
	}
	return frame.Dial(d.fronts[leader], connections(callers), callers)
}
