package node

import (
	"fmt"
	"slices"
	"strings"

	"muster/repl/wire"
	"muster/shardmap"
)

// checkAnnouncement returns why an announcement must not go into the meta group's log,
// or nil. Each member would keep it, and show it on terminals, so it has to meet the
// same rules as this node's own settings.
func checkAnnouncement(a *wire.Announce) error {
	switch {
	case a.Node == 0:
		return fmt.Errorf("field node: 0; want the node's own id")
	case a.Start == 0:
		return fmt.Errorf("field start: 0; want how often the node was started")
	}
	if err := checkReachable(a.Addr); err != nil {
		return fmt.Errorf("field addr: %w", err)
	}
	if err := checkName(a.Name); err != nil {
		return fmt.Errorf("field name: %w", err)
	}
	if err := checkName(a.Version); err != nil {
		return fmt.Errorf("field version: %w", err)
	}
	if len(a.Labels) > labelsMax {
		return fmt.Errorf("field labels: %d, at most %d are kept", len(a.Labels), labelsMax)
	}
	for i, l := range a.Labels {
		if err := checkLabel(l); err != nil {
			return fmt.Errorf("field labels: label %d: %w", i, err)
		}
		if slices.ContainsFunc(a.Labels[:i], func(o shardmap.Label) bool { return o.Key == l.Key }) {
			return fmt.Errorf("field labels: key %s is given twice", l.Key)
		}
	}
	return nil
}

// checkReachable refuses an address that others can't dial.
func checkReachable(addr string) error {
	host, port, err := splitAddr(addr)
	if err != nil {
		return err
	}
	if isUnspecified(host) || port == 0 {
		return fmt.Errorf("%q: nobody can reach that; want HOST:PORT", addr)
	}
	return nil
}

// checkLabel refuses a label that can't be shown in one word.
func checkLabel(l shardmap.Label) error {
	if err := checkName(l.Key); err != nil {
		return fmt.Errorf("key: %w", err)
	}
	if len(l.Value) > nameMax {
		return fmt.Errorf("value of %d bytes, at most %d are kept", len(l.Value), nameMax)
	}
	if i := strings.IndexFunc(l.Value, func(r rune) bool { return r < ' ' || r > '~' }); i >= 0 {
		return fmt.Errorf("value: byte %d is no printable ASCII", i)
	}
	return nil
}
