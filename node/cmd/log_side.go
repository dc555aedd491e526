package cmd

import (
	"context"
	"fmt"
	"net"
	"os"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"muster/logstore"
	"muster/node"
	"muster/raft"
	"muster/repl/wire"
)

// logSide is one of two whose logs are compared.
type logSide interface {
	name() string
	// cluster is the id of the cluster that it belongs to; 0 is not known.
	cluster() uint64
	groups(ctx context.Context) ([]raft.GroupID, error)
	logRange(ctx context.Context, q wire.LogRange) (*wire.LogRangeAnswer, error)
	close()
}

// openSides opens what the two arguments name.
func openSides(con *console, c *cli.Context) (left, right logSide, err error) {
	if left, err = openSide(con, c, c.Args().Get(0)); err != nil {
		return nil, nil, err
	}
	if right, err = openSide(con, c, c.Args().Get(1)); err != nil {
		left.close()
		return nil, nil, err
	}
	if l, r := left.cluster(), right.cluster(); l != r && l != 0 && r != 0 {
		left.close()
		right.close()
		return nil, nil, fmt.Errorf("%s is of cluster %016x, %s of %016x: their logs have nothing in common; name two of one cluster",
			left.name(), l, right.name(), r)
	}
	return left, right, nil
}

// bugDialsAnybody is planted to show that its test finds it: a request has this node dial whatever address it names.
const bugDialsAnybody = "addresses of requests are dialled"

// openSide opens a data directory, a node at an address, or one that the
// endpoints know by that name or id.
func openSide(con *console, c *cli.Context, what string) (logSide, error) {
	if con.call == nil {
		if info, err := os.Stat(what); err == nil && info.IsDir() {
			return openDirSide(what)
		}
		if strings.ContainsAny(what, "/\\") {
			return nil, checkDataDir(what)
		}
	}
	s, err := con.open(c, 1)
	if err != nil {
		return nil, err
	}
	addr := what
	// A request over HTTP names a member: else this node would dial whatever address anybody asks it to.
	if _, _, err := net.SplitHostPort(what); err != nil || con.call != nil && !bug(bugDialsAnybody) {
		if addr, err = addrOf(c.Context, s, what); err != nil {
			s.close()
			return nil, err
		}
	}
	n := &nodeSide{errand: s, addr: addr, shown: what}
	if err := n.meet(c.Context); err != nil {
		s.close()
		return nil, err
	}
	return n, nil
}

// addrOf finds a node by its name or its id.
func addrOf(ctx context.Context, s *errand, what string) (string, error) {
	a, err := s.status(ctx)
	if err != nil {
		return "", err
	}
	var found, names []string
	for _, n := range a.Nodes {
		names = append(names, n.Name)
		if n.Name == what || n.ID.String() == what {
			found = append(found, n.Addr)
		}
	}
	switch len(found) {
	case 0:
		nor := ", and no such directory"
		if s.call != nil {
			nor = "" // none is looked for
		}
		return "", withStatus(exitNotFound, "%s: no such node%s; the cluster has %s", shown([]byte(what)), nor, strings.Join(names, ", "))
	case 1:
		return found[0], nil
	}
	return "", fmt.Errorf("%s: %d nodes are called so; name one by its id, as muster node list shows it", shown([]byte(what)), len(found))
}

// nodeSide is a running node.
type nodeSide struct {
	*errand
	addr, shown string
	clusterID   uint64
}

func (n *nodeSide) name() string    { return n.shown }
func (n *nodeSide) cluster() uint64 { return n.clusterID }

// meet learns which cluster the node is of.
func (n *nodeSide) meet(ctx context.Context) error {
	return n.with(ctx, func(ctx context.Context) error {
		a, err := n.client.Status(ctx, n.addr)
		if err != nil {
			return nodeError(n.shown, err)
		}
		n.clusterID = a.ClusterID
		return nil
	})
}

func (n *nodeSide) groups(ctx context.Context) (groups []raft.GroupID, err error) {
	err = n.with(ctx, func(ctx context.Context) error {
		a, err := n.client.Doctor(ctx, n.addr)
		if err != nil {
			return nodeError(n.shown, err)
		}
		for _, g := range a.Groups {
			groups = append(groups, g.ID)
		}
		return nil
	})
	return groups, err
}

func (n *nodeSide) logRange(ctx context.Context, q wire.LogRange) (a *wire.LogRangeAnswer, err error) {
	err = n.with(ctx, func(ctx context.Context) error {
		a, err = n.client.LogRange(ctx, n.addr, q)
		return err
	})
	return a, err
}

func nodeError(name string, err error) error { return fmt.Errorf("%s: %w", name, err) }

// dirSide is a data directory.
type dirSide struct {
	dir      string
	store    *logstore.Store
	identity logstore.Identity
}

func openDirSide(dir string) (logSide, error) {
	d := &dirSide{dir: dir}
	var err error
	if d.identity, _, err = logstore.ReadIdentity(localDisk, dir); err != nil {
		return nil, err
	}
	if d.store, err = logstore.OpenToRead(localDisk, dir); err != nil {
		return nil, noLog(dir, err)
	}
	return d, nil
}

func (d *dirSide) name() string    { return d.dir }
func (d *dirSide) cluster() uint64 { return d.identity.ClusterID }
func (d *dirSide) close()          { d.store.Close() }

func (d *dirSide) groups(context.Context) ([]raft.GroupID, error) {
	var groups []raft.GroupID
	for _, r := range d.store.Replicas() {
		groups = append(groups, r.Group)
	}
	return slices.Compact(groups), nil
}

// logRange answers as a node would. Of two replicas of one group, of which the
// older one waits for its removal, the newer counts.
func (d *dirSide) logRange(_ context.Context, q wire.LogRange) (*wire.LogRangeAnswer, error) {
	var id logstore.Replica
	found := false
	for _, r := range d.store.Replicas() {
		if r.Group == q.Group {
			id, found = r, true
		}
	}
	if !found {
		return nil, withStatus(exitNotFound, "group %d: %s has no replica of it; muster log show %s shows which it has", q.Group, d.dir, d.dir)
	}
	a, err := node.ListLog(d.store, id, &q)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", d.dir, err)
	}
	a.Node = d.identity.Node
	return a, nil
}
