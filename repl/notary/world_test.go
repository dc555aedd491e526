package notary

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"muster/raft"
	"muster/repl/trust"
	"muster/repl/wire"
	"muster/shardmap"
)

// world is a cluster around cores. Group 0's log is a table that takes commands one after the
// other; other nodes see it later. Nodes crash and lose what was not synced, the lead goes
// elsewhere between any two actions, words and answers are lost, clocks are days apart. Who has a
// certificate, and who should, is counted here, and nothing of that is asked of the cores.
type world struct {
	t     *testing.T
	rnd   *rand.Rand
	now   time.Duration
	wall  int64 // right, in Unix seconds
	table *shardmap.Table
	nodes map[raft.NodeID]*host
	lead  raft.NodeID
	calm  bool
	// later are what is under way: answers, words, commands.
	later []event
	// committing are commands that are in the leader's log, and perhaps in others'.
	committing []func()
	log        []string

	certs   map[shardmap.Serial]cert
	roots   map[shardmap.RootID]secretRoot
	serials uint64
	asks    map[uint64]*ask // by the owner's number
	askNo   uint64
	orders  int // of a new root
	issued  map[shardmap.RootID]bool
	grants  map[uint64]map[shardmap.KeyID]bool // by token: keys that got a certificate by it
	tokens  map[uint64]*right
	left    map[raft.NodeID]bool
	rows    map[raft.NodeID]map[trust.Host]bool // that the table ever had an address of
	moves   int
	answers int
}

type cert struct {
	node     raft.NodeID
	user     string
	key      shardmap.KeyID
	root     shardmap.RootID
	host     trust.Host
	notAfter int64
	issued   int64
}

type secretRoot struct{ private, wrap []byte }

type right struct {
	uses    int
	expires int64
}

// host is a node, and its disk.
type host struct {
	id     raft.NodeID
	up     bool
	skew   int64 // of its wall clock, in seconds
	core   *Core
	bearer *Bearer
	seen   *shardmap.Table // its copy
	// The cores are called as their owner calls them: when there is news, or at the time that they
	// named themselves.
	news         bool
	next, bearAt time.Duration
	drawn        map[shardmap.WrapKeyID]bool
	// On disk.
	key    shardmap.KeyID
	own    shardmap.Serial
	wraps  map[shardmap.WrapKeyID]bool
	token  uint64 // that it joins by
	joined bool
	wish   bool
}

// ask is a request that was handed to a core.
type ask struct {
	Request
	to     *host
	from   *host
	last   shardmap.Serial // signed last
	answer func(c shardmap.Serial, refusal *wire.Error)
}

type event struct {
	at time.Duration
	do func()
}

// broken is what a world ends with that finds something wrong.
type broken string

func (w *world) note(format string, args ...any) {
	w.log = append(w.log, fmt.Sprintf("%8.3f ", w.now.Seconds())+fmt.Sprintf(format, args...))
}

func (w *world) fail(format string, args ...any) { panic(broken(fmt.Sprintf(format, args...))) }

const worldStart = 1_800_000_000

func newWorld(t *testing.T, seed uint64, nodes int) *world {
	w := &world{t: t, rnd: rand.New(rand.NewPCG(seed, 31)), wall: worldStart, nodes: map[raft.NodeID]*host{}, certs: map[shardmap.Serial]cert{}, roots: map[shardmap.RootID]secretRoot{}, asks: map[uint64]*ask{}, issued: map[shardmap.RootID]bool{}, grants: map[uint64]map[shardmap.KeyID]bool{}, tokens: map[uint64]*right{}, left: map[raft.NodeID]bool{}, rows: map[raft.NodeID]map[trust.Host]bool{}}
	f := shardmap.Found{Cluster: "w", ClusterID: 1, Level: shardmap.Level, ValueMax: 1 << 20, Groups: 1, Mode: shardmap.SecurityBoth}
	for i := range nodes {
		id := raft.NodeID(i + 1)
		f.Nodes = append(f.Nodes, shardmap.FoundNode{ID: id, Name: fmt.Sprintf("n%d", id), Addr: fmt.Sprintf("n%d:1", id), Role: shardmap.NodeServer, Level: shardmap.Level})
		h := w.addHost(id)
		h.joined, h.wish = true, true
		w.start(h)
	}
	m := shardmap.NewTableMachine()
	if _, err := m.Apply(raft.LogID{Term: 1, Index: 1}, must(shardmap.AppendFound(nil, &f))); err != nil {
		t.Fatal(err)
	}
	w.table = m.Table()
	w.looks(w.table.Security.Mode)
	return w
}

func (w *world) addHost(id raft.NodeID) *host {
	h := &host{id: id, skew: w.rnd.Int64N(2*2*24*3600) - 2*24*3600, wraps: map[shardmap.WrapKeyID]bool{}}
	binary.LittleEndian.PutUint64(h.key[:], uint64(id)<<32|w.rnd.Uint64()&0xffffffff)
	w.nodes[id] = h
	return h
}

// start begins a life of a host: what is not on its disk is gone.
func (w *world) start(h *host) {
	h.up, h.drawn, h.seen = true, map[shardmap.WrapKeyID]bool{}, nil
	h.core, h.bearer, h.news = New(h.id), NewBearer(h.id, h.key, h.wish), true
	w.held(h)
	w.owns(h)
	if w.table != nil {
		w.show(h)
	}
}

func (w *world) held(h *host) {
	var all []shardmap.WrapKeyID
	for k := range h.wraps {
		all = append(all, k)
	}
	h.core.Held(all)
	h.news = true
}

func (w *world) owns(h *host) {
	c, ok := w.certs[h.own]
	if !ok {
		return
	}
	h.news = true
	h.bearer.Own(Own{Serial: h.own, Root: c.root, Host: c.host, RenewAt: c.notAfter - int64(trust.NodeLife/time.Second)/3})
}

// show brings the newest table to a host.
func (w *world) show(h *host) {
	if w.left[h.id] && h.seen != nil {
		return // nobody tells it anything any more
	}
	h.seen, h.news = w.table, true
	h.core.Table(w.table)
	h.bearer.Table(w.table)
}

func (w *world) clock(h *host) Now { return Now{Host: w.now, Wall: w.wall + h.skew} }

func (w *world) chance(percent int) bool { return !w.calm && w.rnd.IntN(100) < percent }

// soon has something happen after a while, or never.
func (w *world) soon(do func()) {
	if w.chance(15) {
		return
	}
	w.later = append(w.later, event{w.now + time.Duration(1+w.rnd.IntN(400))*time.Millisecond, do})
	if w.chance(5) {
		w.later = append(w.later, event{w.now + time.Duration(1+w.rnd.IntN(3000))*time.Millisecond, do})
	}
}

// apply has group 0's log take a command.
func (w *world) apply(payload []byte) error {
	next, err := w.table.Try(payload)
	if err != nil {
		w.note("refused: %v", err)
		return err
	}
	was := w.table.Security.Mode
	w.table = next
	w.looks(was)
	return nil
}

// looks checks what must hold of every table.
func (w *world) looks(was shardmap.TLSMode) {
	s := &w.table.Security
	for i := range w.table.Nodes {
		row := &w.table.Nodes[i]
		if w.rows[row.ID] == nil {
			w.rows[row.ID] = map[trust.Host]bool{}
		}
		w.rows[row.ID][trust.HostOf(row.Addr)] = true
	}
	for i := range s.Roots {
		if r := &s.Roots[i]; r.State == shardmap.RootIssuing && !w.issued[r.ID] {
			w.issued[r.ID] = true
			w.note("root %s issues", r.ID)
			if len(w.issued) > 1+w.orders {
				w.fail("%d roots have issued, and %d were asked for", len(w.issued), 1+w.orders)
			}
			if !slices.ContainsFunc(w.hosts(), func(h *host) bool { return h.wraps[r.WrapKey] }) {
				w.fail("root %s issues, and the key that wraps its key is in no file", r.ID)
			}
		}
	}
	if s.Mode == was {
		return
	}
	w.note("mode %s", s.Mode)
	if s.Mode != shardmap.SecurityOnly {
		return
	}
	for i := range w.table.Nodes {
		h := w.nodes[w.table.Nodes[i].ID]
		pin, ok := s.Pin(h.id)
		c, has := w.certs[h.own]
		if !ok || !has || c.key != pin.Key || c.root != pin.Root {
			w.fail("the secret opens the cluster no longer, and n%d has no certificate", h.id)
		}
	}
}

func (w *world) hosts() (all []*host) {
	for _, h := range w.nodes {
		all = append(all, h)
	}
	slices.SortFunc(all, func(a, b *host) int { return int(a.id) - int(b.id) })
	return all
}

// propose has a command reach the log while its leader leads, or be lost.
func (w *world) propose(h *host, a Action) {
	for id, r := range w.roots {
		if bytes.Contains(a.Payload, r.private) || bytes.Contains(a.Payload, r.wrap) {
			w.fail("a command has a key of root %s in it", id)
		}
	}
	core, done := h.core, false
	take := func() {
		if done {
			return
		}
		done = true
		err := w.apply(a.Payload)
		if refusal := (*shardmap.Refusal)(nil); errors.As(err, &refusal) {
			err = &wire.Error{Code: wire.CodeConflict, Object: refusal.Object, Text: refusal.Found}
		}
		if h.core == core && h.up {
			w.show(h)
		}
		w.soon(func() { w.ended(h, core, a.Number, Result{Err: err}) })
	}
	at := w.now + time.Duration(1+w.rnd.IntN(300))*time.Millisecond
	if w.chance(10) {
		at += time.Duration(w.rnd.IntN(8000)) * time.Millisecond // it waits for a majority
	}
	w.later = append(w.later, event{at, func() {
		if w.lead == h.id && h.core == core {
			take()
		}
	}})
	w.committing = append(w.committing, take)
}

func (w *world) ended(h *host, core *Core, number uint64, r Result) {
	if h.up && h.core == core {
		core.Ended(w.clock(h), number, r)
		h.news = true
	}
}

// act carries out an action of a core.
func (w *world) act(h *host, a Action) {
	core := h.core
	end := func(r Result) { w.ended(h, core, a.Number, r) }
	alive := func() bool { return h.up && h.core == core }
	switch a.Kind {
	case Propose:
		w.propose(h, a)
	case Draw:
		var k shardmap.WrapKeyID
		binary.LittleEndian.PutUint64(k[:], w.rnd.Uint64()|1)
		h.drawn[k] = true
		w.soon(func() { end(Result{WrapKey: k}) })
	case Store:
		w.soon(func() {
			if alive() {
				if !h.drawn[a.WrapKey] {
					w.fail("n%d stores a key that it has not drawn", h.id)
				}
				h.wraps[a.WrapKey] = true
				w.held(h)
				end(Result{})
			}
		})
	case MakeRoot:
		w.soon(func() {
			if alive() && (h.drawn[a.WrapKey] || h.wraps[a.WrapKey]) {
				end(Result{Root: w.makeRoot(a.WrapKey)})
			}
		})
	case Hand, Fetch:
		other := w.nodes[a.Node]
		w.soon(func() {
			switch {
			case !alive() || other == nil || !other.up:
			case a.Kind == Hand:
				if !h.wraps[a.WrapKey] {
					w.fail("n%d hands over a key that it does not hold", h.id)
				}
				other.wraps[a.WrapKey] = true
				w.held(other)
				w.soon(func() { end(Result{}) })
			case other.wraps[a.WrapKey]:
				h.wraps[a.WrapKey] = true
				w.held(h)
				end(Result{})
			default:
				end(Result{Err: errors.New("it does not hold it")})
			}
		})
	case Sign:
		q := w.asks[a.Request]
		if q == nil || q.to != h {
			return
		}
		row, _ := w.table.Security.Root(a.Root)
		if !h.wraps[row.WrapKey] {
			w.fail("n%d signs under a root whose key it can't open", h.id)
		}
		w.serials++
		var serial shardmap.Serial
		binary.LittleEndian.PutUint64(serial[:], w.serials)
		c := cert{node: q.Node, user: q.User, key: q.Key, root: a.Root, host: a.Host, issued: w.clock(h).Wall, notAfter: w.clock(h).Wall + int64(q.Life()/time.Second)}
		w.certs[serial] = c
		w.soon(func() {
			if alive() {
				q.last = serial
				end(Result{Serial: serial, NotAfter: c.notAfter})
			}
		})
	case Answer:
		w.answer(h, a)
	}
}

func (w *world) makeRoot(k shardmap.WrapKeyID) shardmap.Root {
	var id shardmap.RootID
	binary.LittleEndian.PutUint64(id[:], w.rnd.Uint64()|1)
	private := binary.LittleEndian.AppendUint64([]byte("private"), w.rnd.Uint64())
	w.roots[id] = secretRoot{private: private, wrap: []byte("never in a command")}
	der := append([]byte("root "), id[:]...)
	return shardmap.Root{ID: shardmap.RootID(trust.RootIDOf(der)), DER: der, Wrapped: []byte("sealed"), WrapKey: k}
}

// answer checks each certificate that leaves.
func (w *world) answer(h *host, a Action) {
	q := w.asks[a.Request]
	if q == nil {
		return // an order
	}
	if a.Refusal != nil {
		w.soon(func() { q.answer(shardmap.Serial{}, a.Refusal) })
		return
	}
	w.answers++
	c := w.certs[q.last]
	if q.last == (shardmap.Serial{}) {
		w.fail("an answer without a certificate")
	}
	if c.user == "" || q.By != ByWish && q.By != ByUser {
		pin, ok := w.table.Security.Pin(c.node)
		if !ok || pin.Key != c.key || pin.Serial != q.last {
			w.fail("a certificate for n%d leaves, and the table does not pin it", c.node)
		}
		_, member := w.table.Node(c.node)
		if w.left[c.node] || !member && q.By != ByToken {
			w.fail("n%d gets a certificate, and is no member", c.node)
		}
		if c.host != "" && !w.rows[c.node][c.host] {
			w.fail("a certificate for n%d names %s, where no table has it", c.node, c.host)
		}
		if q.By == ByToken {
			t := w.tokens[q.Token]
			if w.grants[q.Token] == nil {
				w.grants[q.Token] = map[shardmap.KeyID]bool{}
			}
			w.grants[q.Token][c.key] = true
			if len(w.grants[q.Token]) > t.uses {
				w.fail("token %d of %d uses has let %d hosts in", q.Token, t.uses, len(w.grants[q.Token]))
			}
		}
	}
	w.soon(func() { q.answer(q.last, nil) })
}

// request has a host ask the leader for a certificate.
func (w *world) request(from *host, q Request, answer func(shardmap.Serial, *wire.Error)) {
	w.soon(func() {
		to := w.nodes[w.lead]
		if to == nil || !to.up {
			return
		}
		// The leader goes by its own copy of the table.
		s := &w.table.Security
		if q.By == ByMember || q.By == BySecret {
			pin, pinned := s.Pin(from.id)
			switch {
			case w.left[from.id]:
				q.By = ByMember // over a connection of before it left
			case pinned && pin.Key == from.key && (from.own != shardmap.Serial{} || s.Mode == shardmap.SecurityOnly):
				q.By = ByMember
			case s.Mode == shardmap.SecurityBoth:
				q.By = BySecret
			default:
				return
			}
		}
		w.askNo++
		q.Number = w.askNo
		w.asks[q.Number] = &ask{Request: q, to: to, from: from, answer: answer}
		to.core.Ask(w.clock(to), q)
		to.news = true
	})
}

// bear carries out an action of a host's bearer.
func (w *world) bear(h *host, a Action) {
	b := h.bearer
	end := func(err error) {
		if h.up && h.bearer == b {
			b.Ended(w.clock(h), a.Number, err)
			h.news = true
		}
	}
	switch a.Kind {
	case Renew:
		w.request(h, Request{By: ByMember, Node: h.id, Key: h.key}, func(serial shardmap.Serial, refusal *wire.Error) {
			if !h.up || h.bearer != b {
				return
			}
			if refusal != nil {
				w.note("n%d gets no certificate: %v", h.id, refusal)
				end(refusal)
				return
			}
			h.own = serial
			w.owns(h)
			end(nil)
		})
	case Wish:
		w.request(h, Request{By: ByWish, Node: h.id, User: fmt.Sprintf("u%d", h.id), Key: h.key}, func(serial shardmap.Serial, refusal *wire.Error) {
			if refusal != nil {
				w.note("n%d gets no certificate: %v", h.id, refusal)
				end(refusal)
				return
			}
			h.wish = false
			end(nil)
		})
	case Tell:
		w.soon(func() {
			if to := w.nodes[a.Node]; to != nil && to.up {
				to.core.Told(h.id, a.Serial, a.Index)
				to.news = true
				w.soon(func() { end(nil) })
			}
		})
	}
}

// elect gives the lead to a voter that is up, or to nobody.
func (w *world) elect() {
	if old := w.nodes[w.lead]; old != nil && old.up {
		old.core.Lead(false)
		old.news = true
	}
	var able []*host
	voters := 0
	for _, r := range w.table.Meta.Replicas {
		if r.Role != shardmap.ReplicaVoter {
			continue
		}
		voters++
		if h := w.nodes[r.Node]; h.up {
			able = append(able, h)
		}
	}
	// The entries of the last leader are applied before the next one acts, or never.
	for _, take := range w.committing {
		if w.rnd.IntN(2) == 0 {
			take()
		}
	}
	w.committing = nil
	w.lead = 0
	if 2*len(able) <= voters {
		return
	}
	h := able[w.rnd.IntN(len(able))]
	w.lead = h.id
	w.show(h)
	h.core.Lead(true)
	for _, o := range w.hosts() {
		o.news = true // they hear of it
	}
	w.note("n%d leads", h.id)
}

// step is a tenth of a second.
func (w *world) step() {
	const tenth = 100 * time.Millisecond
	w.now += tenth
	if int64(w.now/tenth)%10 == 0 {
		w.wall++
	}
	for i := 0; i < len(w.later); i++ {
		if w.later[i].at <= w.now {
			do := w.later[i].do
			w.later = slices.Delete(w.later, i, i+1)
			i--
			do()
		}
	}
	for _, h := range w.hosts() {
		switch {
		case !h.up && (w.calm || w.chance(4)):
			w.start(h)
			w.note("n%d is back", h.id)
		case h.up && w.chance(1) && w.chance(60):
			w.crash(h)
		}
	}
	if h := w.nodes[w.lead]; h == nil || !h.up || w.chance(1) {
		w.elect()
	}
	for _, h := range w.hosts() {
		if !h.up {
			continue
		}
		if h.seen != w.table && (w.lead == h.id || w.calm || w.chance(30)) {
			w.show(h)
		}
		news := h.news
		h.news = false
		if news || w.now >= h.next {
			var actions []Action
			actions, h.next = h.core.Turn(w.clock(h))
			for _, a := range actions {
				w.act(h, a)
			}
		}
		if !h.joined {
			w.enrol(h)
			continue
		}
		if h.bearer.Leader(w.lead); news || w.now >= h.bearAt {
			var a Action
			var ok bool
			if a, ok, h.bearAt = h.bearer.Turn(w.clock(h)); ok {
				w.bear(h, a)
			}
		}
	}
}

func (w *world) crash(h *host) {
	w.note("n%d crashes", h.id)
	h.up, h.core, h.bearer = false, nil, nil
	if w.lead == h.id {
		w.lead = 0
	}
}

// makeToken has a person make a token.
func (w *world) makeToken(uses int, ttl int64) uint64 {
	at := w.wall
	var public [32]byte
	binary.LittleEndian.PutUint64(public[:], w.rnd.Uint64())
	if w.apply(must(shardmap.AppendNewToken(nil, &shardmap.NewToken{Public: public, Role: shardmap.NodeServer, Uses: uint32(uses), Expires: at + ttl, At: at}))) != nil {
		return 0
	}
	id := w.table.Index
	w.tokens[id] = &right{uses: uses, expires: at + ttl}
	return id
}

// enrol has a host that is no member ask for its first certificate, and join once it has it.
func (w *world) enrol(h *host) {
	if h.token == 0 || w.rnd.IntN(20) > 0 {
		return
	}
	if c, ok := w.certs[h.own]; ok {
		pin, pinned := w.table.Security.Pin(h.id)
		if pinned && pin.Key == c.key {
			if _, member := w.table.Node(h.id); member {
				h.joined = true
				w.show(h)
				return
			}
			_ = w.apply(must(shardmap.AppendJoin(nil, &shardmap.Join{Node: shardmap.TableNode{ID: h.id, Name: fmt.Sprintf("n%d", h.id), Addr: fmt.Sprintf("n%d:1", h.id), Role: shardmap.NodeServer, Level: shardmap.Level}})))
			return
		}
	}
	up := h.core
	w.request(h, Request{By: ByToken, Node: h.id, Key: h.key, Token: h.token}, func(serial shardmap.Serial, refusal *wire.Error) {
		if h.up && h.core == up && refusal == nil {
			h.own = serial
			w.owns(h)
		}
	})
}
