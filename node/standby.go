package node

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"muster/logstore"
	"muster/repl/wire"
)

// Pauses between two attempts of a host to be taken in. The pause doubles from the one to
// the other, and begins anew whenever there is news.
const (
	joinPauseMin = 100 * time.Millisecond
	joinPauseMax = 2 * time.Second
)

// distinctName is a node's name with a piece of its id, for hosts that share a host name,
// as copies of one image do.
func distinctName(name string, self fmt.Stringer) string {
	mark := "-" + self.String()[:nameMark]
	return name[:min(len(name), nameMax-len(mark))] + mark
}

// beginJoining makes the core of a host that is to join a cluster. e.mu is held, or
// nobody else knows e yet.
func (e *enrolment) beginJoining(id *logstore.Identity) {
	q := wire.Join{Node: id.Node, Addr: e.addr, Role: e.cfg.Role, Labels: e.cfg.Labels, Version: Version, Start: id.Life().Number, Level: e.level}
	distinct := ""
	if e.cfg.Name == "" {
		distinct = distinctName(e.name, id.Node)
	}
	e.joining = newJoining(q, e.name, distinct, e.cfg.Join)
}

// joinCluster asks members to take this host in until one does, or ctx ends. While it
// knows of none it waits to be invited.
func (e *enrolment) joinCluster(ctx context.Context) error {
	id := e.self()
	e.log.Info("standby", "addr", e.addr, "stage", id.Stage, "join", joinAddrs(e.cfg.Join), "next", "muster node add "+e.addr+" on a member")
	said, pause := "", joinPauseMin
	for {
		asked, moves, err := e.attempt(ctx)
		var over *overError
		if errors.As(err, &over) {
			return over.err
		}
		if self := e.self(); !waiting(&self) || ctx.Err() != nil {
			return nil
		}
		var due <-chan time.Time // of nobody, while there is nobody to ask
		if asked != "" {
			if moves {
				pause = joinPauseMin
			} else if why := err.Error(); why != said {
				said = why
				e.notices.waits(slog.LevelWarn, "join", asked, why)
			}
			due = time.After(pause)
			pause = min(2*pause, joinPauseMax)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-e.invitations:
			pause = joinPauseMin
		case <-due:
		}
	}
}

// overError is what the node ends with: no other attempt can do better.
type overError struct{ err error }

func (e *overError) Error() string { return e.err.Error() }

// attempt asks whoever is due to take this host in; asked is empty if there is nobody. An
// error is why it was not taken in; moves says that it is on its way all the same. The
// identity tells whether the host still waits.
func (e *enrolment) attempt(ctx context.Context) (asked string, moves bool, err error) {
	e.mu.Lock()
	addr, q := e.joining.next(&e.identity), e.joining.question()
	e.mu.Unlock()
	if addr == "" {
		return "", false, nil
	}
	err = e.askToJoin(ctx, addr, q)
	if err == nil || ctx.Err() != nil {
		return addr, false, nil
	}
	var gone *removedError
	if errors.As(err, &gone) {
		// One member has said so, and this host knows no other: nothing is noted, and another start asks again.
		err = &overError{gone}
	}
	var over *overError
	if errors.As(err, &over) {
		return addr, false, over
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	refusal, moves := e.joining.refused(addr, err)
	return addr, moves, refusal
}

// askToJoin asks the node at an address to take this host in, and returns nil once it
// has, and the identity says so.
func (e *enrolment) askToJoin(ctx context.Context, addr string, q *wire.Join) error {
	met := func(g *wire.Greeting) error { return e.met(addr, g) }
	var a wire.JoinAnswer
	if err := e.askMember(ctx, addr, met, q, &a); err != nil {
		return err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	next, refusal := taken(e.identity, &a)
	if refusal != nil {
		return refusal
	}
	// On disk before the log is begun with the replica: a crash in between finds the
	// stage founded, and begins it then.
	if err := e.write(next); err != nil {
		return err
	}
	e.joining = nil
	e.log.Info("cluster joined", "cluster", next.Cluster, "cluster_id", fmt.Sprintf("%016x", next.ClusterID), "meta_replica", next.Meta.ID, "members", len(next.Members))
	return nil
}

// bugAsksUnnoted is planted to show that its test finds it: a host asks a cluster to take
// it in before its disk says which.
const bugAsksUnnoted = "cluster asked before it is noted"

// met notes, before a host that had no cluster asks to be taken in, which cluster the
// node at an address belongs to, as that has proven by the secret.
func (e *enrolment) met(addr string, g *wire.Greeting) error {
	c := &g.Challenge
	if c.ClusterID == 0 {
		return wire.NotReady("node "+c.Node.String(), "it belongs to no cluster itself", "give the address of a member with --join, or add this host with muster node add", 0)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	next := e.identity
	if next.Cluster == "" {
		if err := checkName(c.Cluster); err != nil {
			return wire.BadRequest("node "+c.Node.String(), "the name of its cluster: "+err.Error(), "run a release of muster there")
		}
		next.Cluster = c.Cluster
	} else if next.Stage != logstore.StageStandby {
		return nil // the hello has compared the clusters
	}
	if next.Stage == logstore.StageStandby {
		next = bound(next, c.ClusterID, []wire.NodeAddr{{Node: c.Node, Addr: addr}})
	}
	if bug(bugAsksUnnoted) {
		e.identity = next
		return nil
	}
	return e.write(next)
}

// write takes over an identity once it is on disk. e.mu is held.
func (e *enrolment) write(next logstore.Identity) error {
	if err := logstore.WriteIdentity(e.fs, e.cfg.Data, next); err != nil {
		return &overError{err}
	}
	e.identity = next
	return nil
}

// invite takes an invitation into a cluster.
func (e *enrolment) invite(q *wire.Invite) (a wire.InviteAnswer, refusal *wire.Error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	a = wire.InviteAnswer{Node: e.identity.Node, Name: e.name}
	next, state, refusal := invited(e.identity, q)
	if refusal != nil {
		return a, refusal
	}
	a.State = state
	if state == wire.JoinMember {
		return a, nil
	}
	if !sameInvitation(&e.identity, &next) {
		if err := e.write(next); err != nil {
			return a, wire.Unavailable("data directory "+e.cfg.Data, err.Error())
		}
		if state == wire.JoinBegins {
			e.log.Info("invited", "cluster", next.Cluster, "cluster_id", fmt.Sprintf("%016x", next.ClusterID), "members", len(next.Members))
		}
	}
	if r := e.joining.refusal; r != nil {
		a.Why = *r
	}
	// Whatever was refused may have been mended since.
	e.joining.refusal = nil
	a.Name = e.joining.question().Name
	select {
	case e.invitations <- struct{}{}:
	default: // the host has not looked since the last one
	}
	return a, nil
}

// removedError is a member's word, once it has proven to be one, that this node was
// removed from its cluster.
type removedError struct{ refusal *wire.Error }

func (e *removedError) Error() string { return e.refusal.Error() }

func (e *removedError) Unwrap() error { return e.refusal }
