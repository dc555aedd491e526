package client

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"muster/repl/wire"
	"muster/shardmap"
	"muster/shardmap/registry"
)

// Nearby returns what [registry.PickOptions] wants as Near for instances that are where this
// client is: for each key the value of that label of the node that it reaches first, in the order
// of [Options.Endpoints]. With "zone", instances whose setting zone is the zone of that node
// come before others.
//
// It asks that node once, so a program that picks often calls it once, and again where nodes
// may have been given other labels. An error of code not-found says that the node has no such label,
// of bad-request that no label has such a key. If no endpoint answers, the error is that of the
// first one.
func (c services) Nearby(ctx context.Context, keys ...string) ([]registry.Setting, error) {
	near, err := c.nearby(ctx, keys)
	if err != nil {
		return nil, fmt.Errorf("labels of the nearest node: %w", err)
	}
	return near, nil
}

func (c services) nearby(ctx context.Context, keys []string) (near []registry.Setting, err error) {
	for _, key := range keys {
		if err := shardmap.CheckLabelKey(key); err != nil {
			return nil, wire.BadRequest("key of a label", err.Error(), "correct it")
		}
	}
	s, err := c.first(ctx)
	if err != nil {
		return nil, err
	}
	i := slices.IndexFunc(s.Nodes, func(n wire.StatusNode) bool { return n.ID == s.Self })
	if i < 0 { // it has joined a moment ago
		return nil, wire.NotFound("node "+s.Self.String(), "it does not know itself yet", "ask again")
	}
	self := &s.Nodes[i]
	for _, key := range keys {
		at := slices.IndexFunc(self.Labels, func(l shardmap.Label) bool { return l.Key == key })
		if at < 0 {
			return nil, noLabel(self, key)
		}
		near = append(near, registry.Setting{Key: key, Value: self.Labels[at].Value})
	}
	return near, nil
}

// first returns how things are as the first endpoint says that answers.
func (c services) first(ctx context.Context) (*wire.StatusAnswer, error) {
	var failed error
	for _, endpoint := range c.of.options.Endpoints {
		s, err := c.of.Status(ctx, endpoint)
		if err == nil {
			return s, nil
		}
		if failed == nil {
			failed = err
		}
		if ctx.Err() != nil {
			break
		}
	}
	return nil, failed
}

// noLabel says that a node has no label of a key, and which ones it has.
func noLabel(n *wire.StatusNode, key string) error {
	has := "it has no labels"
	if len(n.Labels) > 0 {
		var keys []string
		for _, l := range n.Labels {
			keys = append(keys, l.Key)
		}
		has = "it has " + strings.Join(keys, ", ")
	}
	return wire.NotFound(fmt.Sprintf("label %s of node %s at %s", key, n.Name, n.Addr), has, "give it one: muster node label "+n.Name+" "+key+"=VALUE; or name the value that is wanted")
}
