package node

import (
	"context"
	crand "crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"path"
	"sync"
	"time"

	"muster/logstore"
	"muster/logstore/vfs"
	"muster/raft"
	"muster/repl/wire"
)

// enrolment is what this node's identity file says and, while that names no cluster, the
// founding in which the node takes part.
type enrolment struct {
	// Set once.
	cfg     *Config
	fs      vfs.FS
	log     *slog.Logger
	mark    uint64   // of this life
	addr    string   // by which others reach this node
	name    string   // that it would like to have
	level   uint32   // of commands: the newest that this build understands
	notices *notices // about what the hosts say
	ended   *sync.WaitGroup
	// ask asks a host that is named in --join, whichever node it turns out to be.
	ask func(ctx context.Context, host string, q *wire.Founding, a *wire.FoundingAnswer) error
	// askMember asks whoever is at an address to take this host in. met is called in
	// between, once that has proven to know the secret.
	askMember   func(ctx context.Context, addr string, met func(*wire.Greeting) error, q *wire.Join, a *wire.JoinAnswer) error
	invitations chan struct{} // one token: there was one. From invite, to joinCluster; never closed

	mu       sync.Mutex
	identity logstore.Identity // guarded by mu: as it is on disk
	found    *founding         // guarded by mu; nil once this node is a member, and once it ends
	joining  *joining          // guarded by mu; nil unless this host waits to join a cluster
}

// self returns this node's identity as it is on disk.
func (e *enrolment) self() logstore.Identity {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.identity
}

// set takes over an identity that is on disk.
func (e *enrolment) set(id logstore.Identity) {
	e.mu.Lock()
	e.identity = id
	e.mu.Unlock()
}

// giveUp ends a founding that is under way, because the node ends.
func (e *enrolment) giveUp() {
	e.mu.Lock()
	e.found = nil
	e.mu.Unlock()
}

// waits returns what this host waits for, to found a cluster or to join one; nil if it
// does neither.
func (e *enrolment) waits(node string) *wire.Error {
	e.mu.Lock()
	defer e.mu.Unlock()
	switch {
	case e.joining != nil:
		return e.joining.notReady(node, &e.identity)
	case e.found != nil:
		return e.found.notReady(node)
	}
	return nil
}

// answer is what this node answers to a host that founds. It is not ok while the
// node has neither a cluster nor a founding.
func (e *enrolment) answer() (a wire.FoundingAnswer, ok bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	return foundingAnswer(&e.identity, e.found)
}

// admit has the last word on a host that founds.
func (e *enrolment) admit(h *wire.Hello) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.joining != nil {
		return e.joining.notReady("node "+e.identity.Node.String(), &e.identity)
	}
	// The founder that makes the table writes its own level for all of them.
	if undecided(&e.identity) && h.Level != e.level {
		return wire.Unlike(h.Node, h.Advertise, h.Level, e.level)
	}
	return mayAsk(&e.identity, h.Node, h.Advertise)
}

// identify reads this node's identity, or makes a new one.
func (e *enrolment) identify() error {
	id, ok, err := logstore.ReadIdentity(e.fs, e.cfg.Data)
	if err != nil {
		return err
	}
	if !ok {
		files, err := e.fs.List(path.Join(e.cfg.Data, logstore.LogDir))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("look whether there is a log: %w", err) // a node that only seems new would vote again
		}
		if len(files) > 0 {
			return wire.Damaged("data directory "+e.cfg.Data, "it has a log and no identity file",
				"put the file back as it was when the node last ran; if there is no copy, "+logstore.EmptyRemedy)
		}
		id = e.newIdentity()
	}
	if r := id.Recovery; r.Plan != 0 && !r.Done {
		// Some of its replicas are of before the plan, some of after.
		return wire.NotReady("data directory "+e.cfg.Data, fmt.Sprintf("plan %016x was begun here and is not done", r.Plan),
			"muster recover apply PLAN --data "+e.cfg.Data+" --yes, with the same plan as on the other survivors", 0)
	}
	switch {
	case id.Cluster == "" && !e.cfg.AnyCluster:
		id.Cluster = e.cfg.Cluster // it is on disk below: such a host waits
	case id.Cluster != "" && e.cfg.AnyCluster:
		e.cfg.Cluster = id.Cluster
	}
	if id.Cluster != "" && id.Cluster != e.cfg.Cluster {
		return wire.WrongCluster(fmt.Sprintf("data directory %s", e.cfg.Data), fmt.Sprintf("it is of cluster %q, --cluster says %q", id.Cluster, e.cfg.Cluster),
			fmt.Sprintf("give --cluster %s, or another --data", id.Cluster))
	}
	if err := e.sameWay(&id); err != nil {
		return err
	}
	if id.Stage == logstore.StageFounding || waiting(&id) {
		// Such a host has no log yet, but tells the others from now on which of
		// its lives they hear. A member's life begins once its log is open.
		if id, err = id.Begin(0, e.mark, 0); err == nil {
			err = logstore.WriteIdentity(e.fs, e.cfg.Data, id)
		}
		if err != nil {
			return err
		}
	}
	e.mu.Lock()
	e.identity = id
	if undecided(&id) && len(e.cfg.Join) > 0 {
		// This is before the first connection is accepted, so that any host that
		// asks hears what this one waits for.
		e.found = newFounding(e.cfg.Cluster, id.Node, e.cfg.AdvertiseOn(e.cfg.Listen), e.cfg.Join)
		e.found.settings = wire.FoundingSettings{Groups: uint32(e.cfg.Groups), ValueMax: uint32(e.cfg.ValueMax)}
	}
	if waiting(&id) {
		e.beginJoining(&id)
	}
	e.mu.Unlock()
	return nil
}

// newIdentity is that of a host whose data directory is empty.
func (e *enrolment) newIdentity() logstore.Identity {
	id := logstore.Identity{Stage: logstore.StageStandby, Cluster: e.cfg.Cluster, Node: raft.NodeID(randomNumber())}
	if e.cfg.AnyCluster && e.cfg.TokenFile != "" {
		id.Cluster = "" // that of the token's root, whose members say what it is called
	}
	if e.cfg.founds() {
		id.Stage = logstore.StageFounding
		for _, a := range e.cfg.Join {
			id.Members = append(id.Members, logstore.IdentityMember{Addr: normalAddr(a)})
		}
	}
	return id
}

// sameWay refuses options that would lead the host another way than its directory has
// begun to go. Those that a member has no more use for are ignored, and it logs that.
func (e *enrolment) sameWay(id *logstore.Identity) error {
	directory := "data directory " + e.cfg.Data
	switch {
	case id.Stage == logstore.StageRemoved:
		return wire.Removed(id.Node, directory+" is of that node")
	case id.Stage == logstore.StageFounding:
		return e.sameFounding(*id)
	case waiting(id) && e.cfg.Expect > 0:
		return wire.BadRequest(directory, "its node waits to be added to a cluster, and --expect is to found one",
			"start it with --standby; to found a cluster, remove the directory first, which holds no keys")
	case waiting(id):
		return nil
	}
	if e.cfg.Standby {
		e.log.Info("--standby is ignored: the data directory belongs to a cluster", "cluster", id.Cluster, "cluster_id", fmt.Sprintf("%016x", id.ClusterID))
	}
	if len(e.cfg.Join) > 0 {
		e.log.Info("--join founds nothing: the data directory belongs to a cluster, whose members are looked for at these addresses too", "cluster", id.Cluster, "cluster_id", fmt.Sprintf("%016x", id.ClusterID), "join", joinAddrs(e.cfg.Join))
	}
	return nil
}

// sameFounding refuses to continue the directory's founding with other hosts: the
// earlier ones know its id, and may have decided to count it in.
func (e *enrolment) sameFounding(id logstore.Identity) error {
	var was, is []string
	for _, m := range id.Members {
		was = append(was, m.Addr)
	}
	for _, a := range e.cfg.Join {
		is = append(is, normalAddr(a))
	}
	if sameSet(was, is) {
		return nil
	}
	what := "alone"
	if len(was) > 0 {
		what = fmt.Sprintf("with --expect %d --join %s", len(was), joinAddrs(was))
	}
	return wire.BadRequest("data directory "+e.cfg.Data, "it began to found a cluster "+what,
		"start it so again, or remove the directory first if no other host has ever run with these options")
}

// becomeMember founds the cluster or joins one, unless the identity already names it.
func (e *enrolment) becomeMember(ctx context.Context) error {
	id := e.self()
	if waiting(&id) {
		return e.joinCluster(ctx)
	}
	if !undecided(&id) {
		return nil
	}
	if len(e.cfg.Join) == 0 {
		return e.decide([]logstore.IdentityMember{{Node: id.Node, Addr: e.addr}}, 0)
	}
	f := e.found // set by identify; only this goroutine and those that it starts change it
	if len(f.hosts) == 1 {
		return e.decide(f.members(), 0)
	}
	e.log.Info("founding", "cluster", e.cfg.Cluster, "hosts", joinAddrs(f.hosts))
	ctx, cancel := context.WithCancel(ctx)
	verdicts := make(chan error, len(f.hosts)) // from poll; each sends one at most
	for _, h := range f.hosts {
		if h != f.addr {
			e.ended.Go(func() { e.poll(ctx, h, verdicts) })
		}
	}
	defer cancel()
	select {
	case <-ctx.Done():
		return nil
	case err := <-verdicts:
		if err != nil {
			return err
		}
	}
	return nil
}

// poll asks one host again and again, until the founding is over.
func (e *enrolment) poll(ctx context.Context, host string, verdicts chan<- error) {
	said := ""
	say := func(level slog.Level, why string) {
		if why != said {
			said = why
			e.notices.waits(level, "founding", host, why)
		}
	}
	for {
		e.mu.Lock()
		f := e.found
		if f == nil {
			e.mu.Unlock()
			return
		}
		q := f.question(e.identity.Life().Number)
		e.mu.Unlock()
		var a wire.FoundingAnswer
		err := e.ask(ctx, host, &q, &a)
		if ctx.Err() != nil {
			return
		}
		if err != nil {
			if final := refusal(err); final != nil {
				verdicts <- fmt.Errorf("found a cluster with %s: %w", host, final)
				return
			}
			say(slog.LevelInfo, err.Error())
			e.mu.Lock()
			if tooLate(err) {
				var refusal *wire.Error
				errors.As(err, &refusal)
				f.leftOut(host, refusal)
			} else {
				f.silent(host, err)
			}
			e.mu.Unlock()
		} else if done, why, err := e.heard(host, a); done || err != nil {
			verdicts <- err
			return
		} else if why != "" {
			say(slog.LevelWarn, why)
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(foundingPause):
		}
	}
}

// tooLate reports whether a host refused a founding because it belongs to a cluster
// without this host. This host then waits: the other one may still be emptied.
func tooLate(err error) bool {
	var elsewhere *wire.ElsewhereError // this node's own refusal of another
	return errors.Is(err, &wire.Error{Code: wire.CodeUnknownNode}) && !errors.As(err, &elsewhere)
}

// refusal returns err if asking again can't help: the host is there, but is not one of
// ours.
func refusal(err error) error {
	var elsewhere *wire.ElsewhereError
	if errors.As(err, &elsewhere) {
		return nil // the right one may be started there
	}
	var e *wire.Error
	if errors.As(err, &e) && e.Retry() == wire.RetryNever && !tooLate(err) {
		return e
	}
	if errors.Is(err, wire.ErrForeign) {
		return err
	}
	return nil
}

// heard takes one host's answer, and does what follows from it. It reports whether the
// founding is over or, if it can't continue without an operator, why.
func (e *enrolment) heard(host string, a wire.FoundingAnswer) (done bool, why string, err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	f := e.found
	if f == nil {
		return true, "", nil
	}
	v, err := f.hear(host, a)
	if err != nil {
		return false, "", err
	}
	switch v {
	case foundDecided:
		return true, "", e.decideLocked(f.members(), 0)
	case foundAdopt:
		var members []logstore.IdentityMember
		for _, m := range a.Members {
			members = append(members, logstore.IdentityMember{Node: m.Node, Addr: m.Addr})
		}
		return true, "", e.decideLocked(members, a.ClusterID)
	case foundStandby, foundDiffer:
		return false, f.why[host], nil
	}
	return false, "", nil
}

func (e *enrolment) decide(members []logstore.IdentityMember, id uint64) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.decideLocked(members, id)
}

// decideLocked makes this node a member of the cluster of these founders, on
// disk first. id is the cluster's, if another host has said it.
func (e *enrolment) decideLocked(members []logstore.IdentityMember, id uint64) error {
	next, err := decided(e.identity, members, id)
	if err != nil {
		return err
	}
	// On disk before this node answers as a member: otherwise a crash would make it
	// undecided again, after others have adopted the decision from it.
	if err := logstore.WriteIdentity(e.fs, e.cfg.Data, next); err != nil {
		return err
	}
	e.identity = next
	e.found = nil
	e.log.Info("cluster founded", "cluster", next.Cluster, "cluster_id", fmt.Sprintf("%016x", next.ClusterID), "members", len(members))
	return nil
}

// randomNumber is never zero, and nobody can guess it.
func randomNumber() uint64 {
	var b [8]byte
	for {
		crand.Read(b[:]) // never fails (crypto/rand)
		if n := binary.LittleEndian.Uint64(b[:]); n != 0 {
			return n
		}
	}
}
