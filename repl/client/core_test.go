package client

import (
	"errors"
	"flag"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"muster/raft"
	"muster/repl/wire"
	"muster/shardmap"
)

var update = flag.Bool("update", false, "write what the scripts of the core print into their files")

// The core must send each call where it can be answered, try it again where
// that is safe, and end it once, with an error that tells whether it may have
// been applied. Each file in testdata is a script: lines that begin with > are
// events, the others are what the core did. Peers are named by their address.
func TestCoreScripts(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no scripts in testdata: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			got := runScript(t, string(want))
			if again := runScript(t, string(want)); again != got {
				t.Fatalf("the same events gave other actions the second time:\n%s", again)
			}
			if *update {
				if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if got != string(want) {
				t.Errorf("%s: got\n%s", file, got)
			}
		})
	}
}

// script is a core under a script.
type script struct {
	t     *testing.T
	core  *Core
	now   time.Duration
	calls map[string]*Call
	out   strings.Builder
}

func runScript(t *testing.T, text string) string {
	s := &script{t: t, calls: map[string]*Call{}}
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\n")
		switch {
		case strings.HasPrefix(line, "> "):
			s.out.WriteString(line + "\n")
			s.event(strings.Fields(line[2:]))
			s.actions()
		case strings.HasPrefix(line, "#"), line == "":
			s.out.WriteString(line + "\n")
		}
	}
	return s.out.String()
}

func (s *script) event(f []string) {
	arg := map[string]string{}
	for _, a := range f[1:] {
		k, v, _ := strings.Cut(a, "=")
		arg[k] = v
	}
	peer := func() Peer { return s.core.PeerAt(arg["peer"]) }
	call := func() *Call {
		c, ok := s.calls[arg["call"]]
		if !ok {
			s.t.Fatalf("no call %q", arg["call"])
		}
		return c
	}
	switch f[0] {
	case "core":
		forward := map[string]Forwarding{"": ForwardWhenCut, "always": ForwardAlways, "never": ForwardNever}[arg["forward"]]
		s.core = NewCore(Config{Endpoints: strings.Split(arg["endpoints"], ","), Chance: 1, Forward: forward})
	case "at":
		s.now = s.duration(f[1])
	case "submit":
		s.core.Submit(s.now, s.newCall(arg))
	case "up":
		s.core.Connected(s.now, peer(), raft.NodeID(s.number(arg["node"])), uint64(s.number(arg["cluster"])))
	case "accepted":
		s.core.Accepted(peer())
	case "down":
		s.core.Disconnected(s.now, peer(), s.cause(arg["cause"]))
	case "table":
		s.core.Table(s.now, peer(), s.table(arg))
	case "no-table":
		if arg["code"] != "" {
			s.core.TableFailed(s.now, peer(), s.refusal(arg))
			break
		}
		s.core.TableFailed(s.now, peer(), errors.New("no table"))
	case "no-answer":
		s.core.Unanswered(s.now, call(), peer())
	case "answered":
		s.core.Scouts.Answered(s.now, call(), peer())
	case "refused":
		s.core.Refused(s.now, call(), peer(), s.refusal(arg))
	case "lost":
		s.core.Lost(s.now, call(), peer(), errors.New("connection reset"))
	case "crowded":
		s.core.Crowded(s.now, call())
	case "pushed":
		s.core.Pushed(s.now, uint64(s.number(arg["number"])), s.table(arg))
	case "unfollowed":
		s.core.Unfollowed(s.now, uint64(s.number(arg["number"])))
	case "unsent":
		s.core.Unsent(s.now, call(), peer())
	case "cancel":
		fmt.Fprintf(&s.out, "  was here: %v\n", s.core.Cancel(call()))
	case "expire":
		if arg["sent"] == "yes" {
			s.core.Expire(s.now, call())
		} else {
			s.core.ExpireUnsent(s.now, call())
		}
	case "route":
		r := s.core.Routes()
		slot := s.number(arg["slot"])
		to := "nobody"
		if p := r.Peer[slot]; p != NoPeer {
			to = s.core.peers.all[p].addrs[0]
		}
		fmt.Fprintf(&s.out, "  epoch %d group %s: %s\n", r.Epoch, r.Group[slot], to)
	case "tick":
		at, ok := s.core.Wake()
		if !ok {
			s.out.WriteString("  nothing waits\n")
			return
		}
		s.now = max(s.now, at)
		fmt.Fprintf(&s.out, "  at %s\n", s.now)
		s.core.Tick(s.now)
	default:
		s.t.Fatalf("unknown event %q", f[0])
	}
}

func (s *script) newCall(arg map[string]string) *Call {
	c := &Call{Owner: arg["call"], Write: arg["kind"] == "write", place: -1, onPeer: NoPeer, Deadline: s.now + time.Minute}
	c.Slot = shardmap.Slot(s.number(arg["slot"]))
	if d, ok := arg["within"]; ok {
		c.Deadline = s.now + s.duration(d)
	}
	_, c.AnyReplica = arg["any-replica"]
	_, c.Prompt = arg["prompt"]
	c.Needs = uint32(s.number(arg["needs"]))
	if g, ok := arg["group"]; ok {
		c.Target, c.Group = ToGroup, raft.GroupID(s.number(g))
	}
	if a, ok := arg["only"]; ok {
		c.Target, c.Peer = ToPeer, s.core.PeerAt(a)
	}
	if _, ok := arg["any"]; ok {
		c.Target = ToAny
	}
	if _, ok := arg["meta"]; ok {
		c.Target = ToMeta
	}
	if e, ok := arg["epoch"]; ok {
		c.Target, c.Epoch = ToTable, uint64(s.number(e))
	}
	c.ValueBytes = s.number(arg["value"])
	s.calls[arg["call"]] = c
	return c
}

// table reads nodes=1@a,2@b groups=1:1/1+2 (group 1, leader 1, nodes 1 and 2)
// slots=0-99:1,100-4095:2.
func (s *script) table(arg map[string]string) *wire.TopologyAnswer {
	t := &wire.TopologyAnswer{Epoch: uint64(s.number(arg["epoch"])), ClusterID: uint64(s.number(arg["cluster"])), ValueMax: 1000}
	t.Index, t.Level = t.Epoch, uint32(s.number(arg["level"]))
	if at, ok := arg["index"]; ok {
		t.Index = uint64(s.number(at))
	}
	for _, n := range strings.Split(arg["nodes"], ",") {
		id, addr, _ := strings.Cut(n, "@")
		t.Nodes = append(t.Nodes, wire.TopologyNode{ID: raft.NodeID(s.number(id)), Addr: addr})
	}
	for _, g := range strings.Split(arg["groups"], ",") {
		id, rest, _ := strings.Cut(g, ":")
		leader, nodes, _ := strings.Cut(rest, "/")
		x := wire.TopologyGroup{ID: raft.GroupID(s.number(id)), Leader: raft.NodeID(s.number(leader))}
		for _, n := range strings.Split(nodes, "+") {
			x.Nodes = append(x.Nodes, raft.NodeID(s.number(n)))
		}
		t.Groups = append(t.Groups, x)
	}
	for _, r := range strings.Split(arg["slots"], ",") {
		span, g, _ := strings.Cut(r, ":")
		from, to, _ := strings.Cut(span, "-")
		t.Slots = append(t.Slots, shardmap.OwnedRange{
			SlotRange: shardmap.SlotRange{From: shardmap.Slot(s.number(from)), To: shardmap.Slot(s.number(to))}, Group: raft.GroupID(s.number(g))})
	}
	return t
}

func (s *script) refusal(arg map[string]string) *wire.Error {
	e := &wire.Error{Epoch: uint64(s.number(arg["epoch"])), RetryAfterMs: uint32(s.number(arg["after"])), Object: "x",
		Group: raft.GroupID(s.number(arg["group"])), Number: uint64(s.number(arg["number"])), Slot: shardmap.Slot(s.number(arg["slot"]))}
	for c := wire.Code(1); c.Known(); c++ {
		if c.String() == arg["code"] {
			e.Code = c
		}
	}
	if e.Code == 0 {
		s.t.Fatalf("no code %q", arg["code"])
	}
	if h, ok := arg["hint"]; ok {
		id, addr, _ := strings.Cut(h, "@")
		e.LeaderNode, e.LeaderAddr = raft.NodeID(s.number(id)), addr
	}
	return e
}

func (s *script) cause(name string) error {
	switch name {
	case "idle":
		return nil
	case "secret":
		return wire.Unauthorized("node", "its proof does not fit", "give the secret")
	case "vacant":
		return &net.OpError{Op: "dial", Err: os.NewSyscallError("connect", syscall.ECONNREFUSED)}
	case "foreign":
		return fmt.Errorf("it %w", wire.ErrForeign)
	}
	return errors.New(name)
}

// actions prints what the core did, and how many calls wait in it.
func (s *script) actions() {
	if s.core == nil {
		return
	}
	for _, a := range s.core.Take() {
		switch a.Kind {
		case ActSend:
			ask := ""
			if a.Call.Forward {
				ask = ", who is to pass it on"
			}
			fmt.Fprintf(&s.out, "  send %v to %s%s\n", a.Call.Owner, s.core.peers.all[a.Peer].addrs[0], ask)
		case ActFinish:
			text := "done"
			if a.Err != nil {
				text = a.Err.Error()
			}
			fmt.Fprintf(&s.out, "  end %v: %s\n", a.Call.Owner, text)
		case ActDial:
			fmt.Fprintf(&s.out, "  dial %s\n", a.Addr)
		case ActHangUp:
			fmt.Fprintf(&s.out, "  hang up on %s\n", s.core.peers.all[a.Peer].addrs[0])
		case ActAsk:
			fmt.Fprintf(&s.out, "  ask %s\n", s.core.peers.all[a.Peer].addrs[0])
		case ActFollow:
			fmt.Fprintf(&s.out, "  follow %s, number %d\n", s.core.peers.all[a.Peer].addrs[0], a.Number)
		}
	}
	if at, ok := s.core.parked.first(); ok {
		names := []string{}
		for _, c := range s.core.parked.heap {
			names = append(names, c.Owner.(string))
		}
		slices.Sort(names)
		fmt.Fprintf(&s.out, "  wait until %s: %s\n", at, strings.Join(names, " "))
	}
}

func (s *script) number(text string) int {
	if text == "" {
		return 0
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		s.t.Fatal(err)
	}
	return n
}

func (s *script) duration(text string) time.Duration {
	d, err := time.ParseDuration(text)
	if err != nil {
		s.t.Fatal(err)
	}
	return d
}
